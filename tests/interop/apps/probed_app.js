// An Express application to put probes into, under an unmodified dd-trace. Prints the port it got.
'use strict'

const { createRequire } = require('node:module')
const path = require('node:path')

const installed = createRequire(path.join(process.env.MODULES, 'package.json'))
installed('dd-trace').init()
const express = installed('express')

const prices = { wax: 9.5, ring: 49, pigeon: 129 }

const app = express()

function sell (sku, count) {
  const order = { sku, count, password: 'do not tell', lines: [] }
  for (let number = 0; number < count; number++) order.lines.push({ sku, price: prices[sku] || 1 })
  const total = order.lines.reduce((sum, line) => sum + line.price, 0)
  return total // here: order and total are known
}

class Line {
  constructor (sku, price) {
    this.sku = sku
    this.price = price
  }
}

class Sold {
  constructor () {
    this.id = 7
    this.total = 12.5
    this.lines = [new Line('a-1', 2.5), new Line('b-2', 10)]
    this.note = null
  }
}

// Variables of every kind, for expressions to read.
function allSorts () {
  const n = 2
  const f = 1.5
  const b = true
  const none = null
  const s = 'hello wörld'
  const empty = ''
  const l = [1, 2, 3]
  const words = ['ab', 'b', '']
  const noneYet = []
  const none_yet = noneYet // eslint-disable-line camelcase
  const d = { k: 1, z: null, w: 'text' }
  const order = new Sold()
  const rows = [{ p: 1 }, { p: 20 }]
  const known = [n, f, b, none, s, empty, l, words, none_yet, d, order, rows]
  return known.length // here: all sorts are known
}

app.get('/sorts', (req, res) => res.json({ count: allSorts() }))

app.get('/', (req, res) => res.send('welcome'))

app.get('/order', (req, res) => res.json({ total: sell(req.query.sku || 'wax', Number(req.query.count || 1)) }))

const server = app.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port} pid ${process.pid}`)
})

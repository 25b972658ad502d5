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

app.get('/', (req, res) => res.send('welcome'))

app.get('/order', (req, res) => res.json({ total: sell(req.query.sku || 'wax', Number(req.query.count || 1)) }))

const server = app.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port} pid ${process.pid}`)
})

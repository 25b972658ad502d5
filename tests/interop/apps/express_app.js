// The same small shop on Express, under an unmodified dd-trace. Prints the port it got.
'use strict'

const { createRequire } = require('node:module')
const path = require('node:path')

const installed = createRequire(path.join(process.env.MODULES, 'package.json'))
const tracer = installed('dd-trace').init()
const express = installed('express')

const app = express()

app.get('/', (req, res) => res.send('welcome'))

app.get('/user/:id', (req, res) => {
  const user = { id: req.params.id }
  tracer.setUser(user)
  if (tracer.appsec.isUserBlocked(user)) {
    tracer.appsec.blockRequest(req, res)
    return
  }
  res.send(`hello ${req.params.id}`)
})

app.get('/search', (req, res) => res.type('text').send(`results for ${req.query.q}`))

app.post('/login', express.urlencoded({ extended: false }), (req, res) => {
  const { login, password } = req.body
  if (password !== 'letters') {
    tracer.appsec.eventTrackingV2.trackUserLoginFailure(login, true)
    res.status(401).send('not the password')
    return
  }
  const user = { id: login }
  tracer.appsec.eventTrackingV2.trackUserLoginSuccess(login, user)
  if (tracer.appsec.isUserBlocked(user)) {
    tracer.appsec.blockRequest(req, res)
    return
  }
  res.send(`hello ${login}`)
})

app.get('/headers', (req, res) => res.json({ headers: req.headers }))

// What the tracer goes by at this moment, seen in a trace of its own: rate, decision maker, tags.
app.get('/effective', (req, res) => {
  const span = tracer.startSpan('effective')
  const carrier = {}
  tracer.inject(span, 'text_map', carrier)
  const context = span.context()
  const decided = /_dd\.p\.dm=(-\d+)/.exec(carrier['x-datadog-tags'] || '')
  res.json({
    rate: context._trace['_dd.rule_psr'] ?? null,
    decision: decided && decided[1],
    tags: typeof context.getTags === 'function' ? context.getTags() : context._tags,
    dynamic_instrumentation: null
  })
  span.finish()
})

const server = app.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port} pid ${process.pid}`)
})

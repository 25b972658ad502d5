'use strict'
// Reads expressions of probes as JSON, one list on standard input; says what dd-trace makes of each. dd-trace
// compiles them in a worker of its own, so this file is that worker too. Captured values are written here in the
// form in which dd-trace sends them.

const fs = require('node:fs')
const path = require('node:path')
const { types } = require('node:util')
const { Worker, MessageChannel, isMainThread, workerData } = require('node:worker_threads')

const modules = process.argv[2] || (workerData && workerData.modules)

if (isMainThread) {
  const { port1 } = new MessageChannel()
  const worker = new Worker(__filename, {
    workerData: {
      modules,
      asked: fs.readFileSync(0, 'utf8'),
      parentThreadId: 0,
      configPort: port1,
      config: {
        url: 'http://127.0.0.1:1/',
        dynamicInstrumentation: {
          DD_DYNAMIC_INSTRUMENTATION_CAPTURE_TIMEOUT_MS: 15,
          DD_DYNAMIC_INSTRUMENTATION_EVALUATION_TIMEOUT_MS: 15,
          DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS: [],
          DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS: []
        }
      }
    },
    transferList: [port1]
  })
  worker.on('message', (said) => process.stdout.write(said, () => process.exit(0)))
  worker.on('error', (error) => { throw error })
} else {
  globalThis[Symbol.for('dd-trace')] = { utilTypes: types }
  const { compile } = require(path.join(
    modules, 'node_modules/dd-trace/packages/dd-trace/src/debugger/devtools_client/condition.js'
  ))

  class Line { constructor (sku, price) { this.sku = sku; this.price = price } }
  class Order {
    constructor () {
      this.id = 7
      this.total = 12.5
      this.lines = [new Line('a-1', 2.5), new Line('b-2', 10)]
      this.note = null
    }
  }

  const variables = {
    n: 2,
    f: 1.5,
    b: true,
    none: null,
    u: undefined,
    s: 'hello wörld',
    empty: '',
    l: [1, 2, 3],
    words: ['ab', 'b', ''],
    none_yet: [],
    d: { k: 1, z: null, w: 'text' },
    st: new Set([1, 2]),
    m: new Map([['k', 1]]),
    order: new Order(),
    rows: [{ p: 1 }, { p: 20 }]
  }

  const captured = (value) => {
    if (value === null) return { type: 'null', isNull: true }
    if (typeof value !== 'object') {
      return value === undefined ? { type: 'undefined' } : { type: typeof value, value: String(value) }
    }
    const type = value.constructor.name
    if (Array.isArray(value) || value instanceof Set) return { type, elements: [...value].map(captured) }
    if (value instanceof Map) return { type, entries: [...value].map((pair) => pair.map(captured)) }
    return { type, fields: Object.fromEntries(Object.entries(value).map(([key, each]) => [key, captured(each)])) }
  }

  const verdict = (expression) => {
    let source
    try {
      source = compile(expression)
    } catch (error) {
      return { refused: `${error.name}: ${error.message}` }
    }
    try {
      const value = new Function(...Object.keys(variables), `return (${source})`)(...Object.values(variables))
      return { value: captured(value), holds: Boolean(value) }
    } catch (error) {
      return { error: `${error.name}: ${error.message}` }
    }
  }

  const all = Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, captured(value)]))
  const verdicts = JSON.parse(workerData.asked).expressions.map(verdict)
  require('node:worker_threads').parentPort.postMessage(JSON.stringify({ captured: all, verdicts }))
}

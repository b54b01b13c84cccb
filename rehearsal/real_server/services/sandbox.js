// Stands for fastgpt-sandbox: runs a code node's JavaScript, answers in Nest's envelope
// (docs/facts/fastgpt.md §1). Beside the real one it lacks isolation: it runs our own code only.
const http = require('http')
const vm = require('vm')

function run({ code, variables }) {
  const log = []
  const console = { log: (...values) => log.push(values.join(' ')) }
  const main = vm.runInNewContext(`${code}; main`, { console }, { timeout: 10000 })
  return Promise.resolve(main(variables)).then(codeReturn => ({ codeReturn, log: log.join('\n') }))
}

http.createServer((request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  if (request.method !== 'POST' || request.url !== '/sandbox/js') {
    return answer(404, { statusCode: 404, message: `Cannot ${request.method} ${request.url}` })
  }
  const parts = []
  request.on('data', part => parts.push(part)).on('end', () => {
    Promise.resolve().then(() => run(JSON.parse(Buffer.concat(parts)))).then(
      data => answer(201, { success: true, data }),
      error => answer(500, { statusCode: 500, message: String(error) })
    )
  })
}).listen(3000)
for (const sign of ['SIGTERM', 'SIGINT']) process.on(sign, () => process.exit(0))

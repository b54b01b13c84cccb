// Stands for fastgpt-code-sandbox, of which the lab asks its health alone.
const http = require('http')

http.createServer((request, response) => {
  response.writeHead(request.url === '/health' ? 200 : 404, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify({ status: 'ok' }))
}).listen(3000)
for (const sign of ['SIGTERM', 'SIGINT']) process.on(sign, () => process.exit(0))

// Stands for mongosh: runs the script of `--eval` with what our scripts use of `db` and `rs`, each
// of which asks mongod.js.
const { spawnSync } = require('child_process')
const vm = require('vm')

const DIAL = `
  let said = ''
  process.stdin.on('data', part => { said += part }).on('end', () => {
    const socket = require('net').connect(27017, '127.0.0.1', () => socket.write(said))
    socket.on('error', error => { console.error(error.message); process.exit(1) })
    socket.pipe(process.stdout)
  })`
const login = {}

// A script of mongosh waits for each answer where it stands.
function ask(operation, more) {
  const input = JSON.stringify({ operation, ...login, ...more }) + '\n'
  const asked = spawnSync(process.execPath, ['-e', DIAL], { input, encoding: 'utf8' })
  if (asked.status !== 0) throw new Error(`MongoNetworkError: ${asked.stderr.trim()}`)
  const { it, error, codeName } = JSON.parse(asked.stdout)
  if (error) throw Object.assign(new Error(`MongoServerError: ${error}`), { codeName })
  return it
}

const admin = {
  auth(user, password) {
    ask('auth', { user, password })
    Object.assign(login, { user, password })
  },
  changeUserPassword: (name, pwd) => ask('changeUserPassword', { name, pwd })
}
const db = { getSiblingDB: () => admin, hello: () => ask('hello') }
const rs = { status: () => ask('status'), initiate: config => ask('initiate', { config }) }
const script = process.argv[process.argv.indexOf('--eval') + 1]
try {
  vm.runInNewContext(script, { db, rs, process, quit: code => process.exit(code), print: console.log })
} catch (error) {
  console.error(error.message)
  process.exit(1)
}

// Stands for mongod, which no registry reached here has: users, their passwords and the replica set
// in a file of the data folder, and what it refuses (docs/facts/fastgpt.md §9). It keeps no data.
// Asked by mongosh.js, a JSON object a line: {operation, user, password, ...}.
const dns = require('dns').promises
const fs = require('fs')
const net = require('net')
const os = require('os')

const STATE = '/data/db/state.json'
const PORT = 27017
const option = name => process.argv[process.argv.indexOf(name) + 1]
const log = text => console.log(JSON.stringify({ t: new Date(), msg: text }))
const refuse = (codeName, text) => { throw Object.assign(new Error(text), { codeName }) }

const keyFile = option('--keyFile')
const { mode, uid } = fs.statSync(keyFile)
if (mode & 0o077 || uid !== process.getuid()) {
  log(`permissions on ${keyFile} are too open`)
  process.exit(1)
}

if (!fs.existsSync(STATE)) {
  const { MONGO_INITDB_ROOT_USERNAME: user, MONGO_INITDB_ROOT_PASSWORD: password } = process.env
  fs.writeFileSync(STATE, JSON.stringify({ users: { [user]: password }, replicaSet: null }))
}
const state = JSON.parse(fs.readFileSync(STATE))

function change() {
  fs.writeFileSync(`${STATE}.new`, JSON.stringify(state))
  fs.renameSync(`${STATE}.new`, STATE)
}

const operations = {
  auth: () => 1,
  status() {
    if (!state.replicaSet) refuse('NotYetInitialized', 'no replset config has been received')
    return state.replicaSet
  },
  async initiate({ config }) {
    if (state.replicaSet) refuse('AlreadyInitialized', 'already initialized')
    if (config._id !== option('--replSet')) refuse('InvalidReplicaSetConfig', 'another set name')
    const [host, port] = config.members[0].host.split(':')
    const { address } = await dns.lookup(host).catch(() => ({}))
    const ours = Object.values(os.networkInterfaces()).flat().map(one => one.address)
    if (!ours.includes(address) || Number(port) !== PORT) {
      refuse('InvalidReplicaSetConfig', 'No host described in new configuration maps to this node')
    }
    state.replicaSet = config
    change()
    return { ok: 1 }
  },
  changeUserPassword({ name, pwd }) {
    if (!(name in state.users)) refuse('UserNotFound', `User ${name}@admin not found`)
    state.users[name] = pwd
    change()
    return { ok: 1 }
  }
}

async function answer(request) {
  const { operation, user, password } = request
  if (operation === 'hello') return { isWritablePrimary: state.replicaSet !== null }
  if (user === undefined) refuse('Unauthorized', `command ${operation} requires authentication`)
  if (state.users[user] !== password) refuse('AuthenticationFailed', 'Authentication failed.')
  return operations[operation](request)
}

net.createServer(socket => {
  let text = ''
  socket.on('error', () => {}).on('data', part => {
    text += part
    if (!text.endsWith('\n')) return
    answer(JSON.parse(text)).then(
      it => socket.end(JSON.stringify({ it })),
      error => socket.end(JSON.stringify({ error: error.message, codeName: error.codeName }))
    )
  })
}).listen(PORT, () => log('Waiting for connections'))
process.on('SIGTERM', () => process.exit(0))

"""The health checks: each must fail when its service cannot do its work.

They run inside the containers, with the containers' own environment; none holds a password.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """A health check; it must fail when the service cannot do its work.

    Attributes:
        tests: in Docker's own form: `CMD` and a command's words, or `CMD-SHELL` and a line for the
            container's shell.
        start_minutes: how long failing probes do not count after the start.
        timeout: of one probe, in Docker's own form (`10s`).
    """

    tests: tuple[str, ...]
    start_minutes: int = 2
    timeout: str = "10s"


# Initiates the replica set where there is none yet, so that a new volume heals by itself.
# FastGPT's transactions need a writable primary (docs/facts/fastgpt.md §9).
_MONGO_HEALTH = """
const admin = db.getSiblingDB('admin');
admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD);
try { rs.status() } catch (error) {
  rs.initiate({_id: 'rs0', members: [{_id: 0, host: 'mongo:27017'}]})
}
if (!db.hello().isWritablePrimary) quit(1)
"""

_SANDBOX_HEALTH = (
    "fetch('http://127.0.0.1:3000/sandbox/js',{method:'POST',"
    "headers:{'Content-Type':'application/json'},"
    "body:JSON.stringify({code:'function main(){return {ok:1}}',variables:{}})})"
    ".then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"
)

# By TCP: while the image initialises, a temporary server answers on the socket only.
PG = Health(
    (
        "CMD-SHELL",
        "PGPASSWORD=\"$POSTGRES_PASSWORD\" psql -h 127.0.0.1 -U fastgpt -d fastgpt -c 'SELECT 1'",
    )
)
MONGO = Health(("CMD-SHELL", f"mongosh --quiet --eval {shlex.quote(_MONGO_HEALTH)}"), timeout="20s")
# A query, not a ping: mysqladmin ping succeeds with the password refused.
MYSQL = Health(
    (
        "CMD-SHELL",
        'MYSQL_PWD="$MYSQL_PASSWORD" mysql -h 127.0.0.1 -u oneapi -e "SELECT 1" oneapi',
    )
)
SANDBOX = Health(("CMD", "node", "-e", _SANDBOX_HEALTH))
# /api/status stays green without its database; a token has to be looked up in it.
ONEAPI = Health(
    (
        "CMD-SHELL",
        'wget -q -O - --header "Authorization: Bearer sk-$INITIAL_ROOT_TOKEN" '
        'http://127.0.0.1:3000/v1/models | grep -q \'"object":"list"\'',
    )
)
XINFERENCE = Health(
    (
        *("CMD", "python3", "-c"),
        "import urllib.request as r; r.urlopen('http://127.0.0.1:9997/status', timeout=8).read()",
    ),
    start_minutes=10,
)
# Nothing that answers without a login notices that PostgreSQL is away (docs/facts/measured.md §1
# F3); this counts the team's vectors in it. No secret on a command line: the script reads it from
# the environment.
_FASTGPT_HEALTH = """
const ask = (path, options) => fetch('http://127.0.0.1:3000/api/support/user/' + path, options)
  .then(answer => answer.json())
  .then(answer => { if (answer.code !== 200) throw answer.message; return answer.data })
const password = require('crypto').createHash('sha256').update(process.env.DEFAULT_ROOT_PSW)
ask('account/loginByPassword', {
  method: 'POST',
  headers: {'Content-Type': 'application/json'},
  body: JSON.stringify({username: 'root', password: password.digest('hex')})
}).then(user => ask('team/plan/getTeamPlanStatus', {headers: {token: user.token}}))
  .then(() => process.exit(0), error => { console.error(error); process.exit(1) })
"""
FASTGPT = Health(("CMD", "node", "-e", _FASTGPT_HEALTH), start_minutes=5)

"""The lab's own containers (provisioning/containers.yaml) on a real engine, databases for real.

Doubles cannot hold what is asked here: whether psql, mysql and Docker mean by our health checks and
our change of a password what we mean, and whether who comes from outside finds the visitors' door
that tests/contract/test_visitors_door.py tries before a stand-in.
"""

import contextlib
import json
import re
import shlex
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from provisioning import remote
from provisioning.host import VOCABULARY_FOLDER
from provisioning.plan import Plan
from provisioning.ports import (
    FASTGPT_PORT,
    ONEAPI_PORT,
    PUBLISHED,
    SHARE_PORT,
    XINFERENCE_PORT,
    tls_ports,
)
from provisioning.tunnel import SshServer
from provisioning.vocabulary import VOCABULARY_NAME, vocabulary_file
from rehearsal.real_server.server import Grounds
from tests.matrix import reached
from tests.server.conftest import Rented
from tests.server.door import Door
from tests.server.lab import Lab
from tests.server.shell import until
from tests.unit.plans import cases

pytestmark = pytest.mark.timeout(1800)

ACTORS_PORT = 41234
BURST = 60
VISITORS = cases("visitors_door.yaml")
OPERATORS = tls_ports("current")[FASTGPT_PORT]
REFUSED = (403, b"")
QUESTION = "POST /api/v2/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "When does the library open?"}]}


@pytest.fixture(scope="module")
def lab(rented: Rented, seeds_plan: Plan) -> Lab:
    """All containers, healthy, and the sandbox that a lab of the seeds has."""
    rented.prepare()
    lab = Lab(rented)
    vocabulary = vocabulary_file().read_text()
    place = f"/root/{VOCABULARY_FOLDER}"
    lab.out(f"mkdir -p {place} && cat >{place}/{VOCABULARY_NAME}", vocabulary)
    for name, container in rented.plan.containers.items():
        internal = "" if container.online else "--internal"
        lab.out(f"docker network create {internal} ai-lab-{name}")
    for name in lab.names:
        lab.run(name)
    sandbox = seeds_plan.containers["sandbox"]
    lab.out(f"docker pull {sandbox.image} && docker network create --internal ai-lab-sandbox")
    lab.run("sandbox", sandbox)
    return lab


ALTER_PG = "docker exec -u postgres pg psql -U fastgpt -d postgres -c 'ALTER DATABASE fastgpt "
ALTER_MYSQL = (
    'docker exec mysql sh -c \'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql -u root -e '
    '"ALTER USER oneapi@\\`%\\` ACCOUNT '
)
HANGING = {"pg": "-x postgres", "mongo": "-f mongod.js", "sandbox": "-f main.js"}
HANGING |= {"xinference": "-f doubles.xinference", "redis": "-x redis-server", "minio": "-f s3.py"}
BROKEN = {
    "pg-database": (f"{ALTER_PG}ALLOW_CONNECTIONS {allowed}'" for allowed in ("false", "true")),
    "mysql-user": (f"{ALTER_MYSQL}{what}\"'" for what in ("LOCK", "UNLOCK")),
    "oneapi-database": ("docker stop mysql", "docker start mysql"),
    **{f"{name}-hangs": (f"pkill -STOP {it}", f"pkill -CONT {it}") for name, it in HANGING.items()},
}


@pytest.mark.parametrize(
    ("name", "broken", "mended"),
    [(case.partition("-")[0], *commands) for case, commands in BROKEN.items()],
    ids=BROKEN,
)
def test_a_service_that_cannot_do_its_work_is_unhealthy(
    lab: Lab, name: str, broken: str, mended: str
) -> None:
    lab.out(broken)
    try:
        lab.becomes(name, "unhealthy")
    finally:
        lab.out(mended)
    lab.becomes(name, "healthy")


def test_vectors_can_be_kept(lab: Lab) -> None:
    lab.sql("pg", "CREATE EXTENSION IF NOT EXISTS vector; CREATE TABLE v (it vector(3))")
    lab.sql("pg", "INSERT INTO v VALUES ('[1,2,3]'), ('[9,9,9]')")
    assert lab.sql("pg", "SELECT it FROM v ORDER BY it <#> '[1,1,1]' LIMIT 1") == "[9,9,9]"


def test_mongos_password_is_followed(lab: Lab) -> None:
    """And its volume, not its environment, says which one opens it."""
    step = lab.rented.steps["db-password-mongo"]
    changed = {**lab.secrets, "mongo": f"new{lab.secrets['mongo']}"}
    first, again = lab.rented.shell.step(step, changed), lab.rented.shell.step(step, changed)
    assert first.said.strip().endswith("mongo has its new password")
    assert again.said.strip().endswith("mongo has its password")
    lab.becomes("mongo", "unhealthy")
    lab.secrets = changed
    lab.replace("mongo")


@pytest.mark.parametrize("name", ["pg", "mysql"])
def test_a_changed_password_is_followed(lab: Lab, name: str) -> None:
    """On the standing database, then by its new container; OneAPI's is made anew with it."""
    before = lab.secrets[name]
    changed = {**lab.secrets, name: f"new{before}", "mysql_root": f"new{lab.secrets['mysql_root']}"}
    step = lab.rented.steps[f"db-password-{name}"]
    first = lab.rented.shell.step(step, changed)
    assert first.code == 0, first.said
    assert first.said.strip().endswith(f"{name} has its new password")
    assert before not in first.said
    again = lab.rented.shell.step(step, changed)
    assert again.said.strip().endswith(f"{name} has its password")

    assert lab.sql(name, "SELECT 1;", changed[name]) == "1"
    with pytest.raises(AssertionError, match=r"(?i)password authentication failed|access denied"):
        lab.sql(name, "SELECT 1;", before)
    lab.secrets = changed
    lab.replace(name)
    if name == "mysql":
        lab.replace("oneapi")


def test_data_survive_a_containers_replacement(lab: Lab) -> None:
    """Nor has the database to recover: it was given time to end."""
    lab.sql("pg", "CREATE TABLE survives AS SELECT 42 AS it")
    lab.replace("pg")
    assert lab.sql("pg", "SELECT it FROM survives") == "42"
    said = lab.out("docker logs pg 2>&1")
    assert "database system was shut down at" in said
    assert "interrupted" not in said


def test_nobody_reaches_what_it_has_no_business_with(lab: Lab) -> None:
    """The matrix of docs/security.md, tried from each container at every port of every other."""
    # As Xinference's actors, each of which listens at one more port, everywhere.
    lab.out(f"docker exec --detach xinference python3 -m http.server {ACTORS_PORT}")
    until(lambda: any(f"/{ACTORS_PORT}" in place for place in lab.places("xinference")), "a port")
    places = {place: name for name in lab.names for place in lab.places(name)}
    places |= {f"{ip}/22": "the server itself" for ip in lab.addresses()}
    tries = "; ".join(
        f"(timeout 3 bash -c '</dev/tcp/{place}' 2>/dev/null && echo {place}) &" for place in places
    ).replace("&;", "&")
    found = {}
    for name in lab.names:
        reached_places = lab.inside(name, f"bash -c {shlex.quote(f'{tries} wait')}").split()
        found[name] = {places[place] for place in reached_places} - {name}
    lab.out("pkill -f http.server")
    assert found == reached(lab.rented.plan.containers)


def test_only_three_have_a_way_out(lab: Lab) -> None:
    ways = {name for name in lab.names if "default" in lab.inside(name, "ip route")}
    assert ways == {"fastgpt", "oneapi", "xinference", "caddy"}


def test_the_sandbox_can_change_nothing(lab: Lab) -> None:
    ran = lab.rented.shell.run("docker exec sandbox sh -c 'id -u; touch /tmp/a; touch /app/b'")
    assert ran.said.startswith("1000\n")
    assert "/app/b': Read-only file system" in ran.said
    assert "/tmp/a" not in ran.said
    status = lab.out("docker exec sandbox cat /proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


@pytest.mark.parametrize(("name", "user"), [("redis", "999")])
def test_what_todays_fastgpt_needs_is_without_power(lab: Lab, name: str, user: str) -> None:
    status = lab.out(f"docker exec {name} cat /proc/1/status")
    assert f"Uid:\t{user}\t" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_redis_opens_with_its_password_alone_and_keeps_what_it_has(lab: Lab) -> None:
    lab.out("docker exec redis redis-cli SET kept 42")
    lab.replace("redis")
    assert lab.out("docker exec redis redis-cli GET kept").strip() == "42"
    without = lab.out("docker exec --env REDISCLI_AUTH= redis redis-cli GET kept")
    assert "NOAUTH" in without
    assert lab.secrets["redis"] not in lab.out("ps -eo args")


def test_only_what_is_published_listens(lab: Lab) -> None:
    listening = lab.out("ss -Hltn | awk '{print $4}'").split()
    outside = {place.rpartition(":")[2] for place in listening if not place.startswith("127.")}
    assert outside == {"22", *map(str, PUBLISHED)}


def test_xinference_serves_a_model_on_the_servers_card(lab: Lab) -> None:
    """Its package was mended at the start, and the card reached it through Docker."""
    key = f"Authorization: Bearer {lab.secrets['xinference_key']}"
    api = f"curl -sS --json @- --header '{key}' http://127.0.0.1:{XINFERENCE_PORT}/v1"
    wanted = {"model_name": "m3e-base", "model_type": "embedding", "model_uid": "m3e-base"}
    launched = lab.out(f"{api}/models", json.dumps({**wanted, "n_gpu": 1}))
    assert json.loads(launched) == {"model_uid": "m3e-base"}
    told = json.loads(lab.out(f"{api}/embeddings", '{"model": "m3e-base", "input": "hello"}'))
    assert len(told["data"][0]["embedding"]) == 768


@pytest.fixture(scope="module")
def door(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The lab has a domain from now on."""
    with contextlib.closing(Door(lab, tmp_path_factory.mktemp("door"))) as found:
        yield found


def test_a_domain_is_served_by_tls(lab: Lab, door: Door) -> None:
    """By Caddy as it is in the lab, with the operator's own certificate."""
    whole = tls_ports(door.settings.edition)
    for port, call, status in (
        (SHARE_PORT, "GET /chat/share", 200),
        (whole[FASTGPT_PORT], "GET /api/common/system/getInitData", 200),
        (whole[ONEAPI_PORT], "GET /api/status", 200),
        (whole[XINFERENCE_PORT], "GET /", 401),
    ):
        assert door.ask(call, port=port)[0] == status, call
    assert "127.0.0.1:9997" in lab.out("docker port caddy 9997")


def test_visitors_get_what_a_share_link_needs(door: Door) -> None:
    """From FastGPT and MinIO themselves: the same as operators get."""
    before = door.passed_on()
    for call in VISITORS["passes"]:
        answer = door.ask(call)
        assert answer != REFUSED, call
        assert answer[0] == door.ask(call, port=OPERATORS)[0], call
    assert door.passed_on() >= before + 2 * len(VISITORS["passes"])


def test_nothing_else_of_theirs_goes_further_than_caddy(door: Door) -> None:
    before = door.passed_on()
    for call in VISITORS["refused"]:
        # Of another host Caddy serves nothing, and says so by an empty answer.
        assert door.ask(call) == ((200, b"") if "http://fastgpt" in call else REFUSED), call
    assert door.ask("POST /api/v2/chat/stop", bytes(65537))[0] == 413
    assert door.ask(QUESTION, bytes(262145))[0] == 413
    assert door.ask(QUESTION, iter([b"{}"]), Transfer_Encoding="chunked")[0] == 411
    assert door.passed_on() == before


def test_a_visitors_answer_begins_before_it_ends(lab: Lab, door: Door) -> None:
    """FastGPT says what it does while its model says nothing."""
    visitor = {"outLinkAuthData": {"shareId": door.link, "outLinkUid": "v"}, "chatId": "c"}
    told = {name: v if name == "chatId" else json.dumps(v) for name, v in visitor.items()}
    init = f"GET /api/core/chat/outLink/init?{urlencode(told)}"
    assert json.loads(door.ask(init)[1])["data"]["appId"] == door.app
    asked = json.dumps({**visitor, **ASKED, "stream": True, "detail": True}).encode()
    with contextlib.closing(door.connection()) as opened:
        lab.out("docker pause oneapi")
        try:
            answer = opened.ask(*QUESTION.split(), asked, Content_Type="application/json")
            first = answer.readline()
        finally:
            lab.out("docker unpause oneapi")
        rest = answer.read().decode()
    assert first.startswith(b"event: ")
    pieces = re.findall(r'"content": "([^"]+)"', rest)
    assert "nine" in "".join(pieces)
    assert len(pieces) > 1
    assert rest.rstrip().endswith("data: [DONE]")
    assert json.loads(door.ask(init)[1])["data"]["title"] == ASKED["messages"][0]["content"][:20]


def test_what_opens_more_is_left_at_the_door(door: Door) -> None:
    """Root's session and an app's key, which count where operators go in."""
    page = "GET /api/common/system/getInitData"
    for session in ({"Token": door.token}, {"Cookie": f"fastgpt_token={door.token}"}):
        assert b"systemVersion" in door.ask(page, port=OPERATORS, **session)[1]
        assert b"systemVersion" not in door.ask(page, **session)[1]
    asked = json.dumps({**ASKED, "appId": door.app}).encode()
    key = {"Authorization": f"Bearer {door.key}", "Content_Type": "application/json"}
    assert b"nine" in door.ask(QUESTION, asked, OPERATORS, **key)[1]
    assert b"unAuthorization" in door.ask(QUESTION, asked, **key)[1]


def test_each_address_is_counted_for_itself_at_the_visitors_door_alone(
    lab: Lab, door: Door, grounds: Grounds
) -> None:
    """Before Docker sends the connections on to Caddy; of two machines beside the server."""
    address, rule = lab.out("hostname -i"), "iptables -t mangle -nvxL PREROUTING"

    def opened(port: int) -> int:
        # A SYN that is dropped is sent again after a second.
        knock = f"timeout 0.9 bash -c '</dev/tcp/{address}/{port}' && echo opened"
        many = f"seq 100 | xargs -P 8 -I_ sh -c {shlex.quote(knock)} 2>/dev/null"
        return int(grounds.mirror.exec_run(["sh", "-c", many]).output.count(b"opened"))

    began = time.monotonic()
    found = opened(SHARE_PORT)
    assert BURST <= found <= BURST + time.monotonic() - began + 1
    assert found < 100
    assert opened(OPERATORS) == 100
    dropped = lab.out(f"{rule} | awk '/ai-lab-door/ {{print $1}}'")
    for _ in range(10):
        with contextlib.closing(door.connection()) as other:
            assert other.ask("GET", "/chat/share").status == 200
    assert lab.out(f"{rule} | awk '/ai-lab-door/ {{print $1}}'") == dropped


def test_containers_find_each_other_by_name(lab: Lab) -> None:
    """Those that they reach, and no others."""
    for name, found in (("mysql", True), ("caddy", True), ("pg", False), ("xinference", False)):
        ran = lab.rented.shell.run(f"docker exec oneapi getent hosts {name}")
        assert (name in ran.said) == found, name


def test_a_container_gets_no_more_memory_than_its_limit(lab: Lab) -> None:
    image = lab.rented.plan.containers["pg"].image
    limits = "--memory 64m --memory-swap 64m"
    ran = lab.rented.shell.run(f"docker run --name eater {limits} {image} tail /dev/zero")
    assert ran.code == 137
    assert lab.out("docker inspect --format '{{.State.OOMKilled}}' eater") == "true"
    lab.out("docker rm eater")


@pytest.mark.fault("FastGPT started without Redis")
def test_a_start_that_fails_is_told_with_its_cause(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every `pulumi up` reads it off what the real Docker shows and keeps of a container."""
    monkeypatch.setattr(remote, "run", lambda server, command: lab.out(command))
    server = SshServer(host="here", port=22, user="root", host_key="")
    causes = {"fastgpt": "it does not reach Redis", "plugin": "an end with code 0 misses Redis"}
    lab.out("docker stop redis && docker restart plugin fastgpt")
    try:
        for name, why in causes.items():
            until(
                lambda name=name, why=why: why in str(*remote.containers(server, [name])),
                f"the cause of {name}",
                seen=lambda name=name: lab.out(f"docker ps -a; docker logs --tail 20 {name} 2>&1"),
            )
    finally:
        lab.out("docker start redis")
    for name in causes:
        lab.becomes(name, "healthy")


@pytest.mark.fault("MySQL slow")
def test_oneapi_lives_through_a_database_that_starts_later(lab: Lab) -> None:
    restarts = "docker inspect --format '{{.RestartCount}}' oneapi"
    lab.out("docker stop mysql && docker restart oneapi")
    until(lambda: lab.out(restarts).strip() != "0", "OneAPI to give up once")
    lab.out("docker start mysql")
    for name in ("mysql", "oneapi"):
        lab.becomes(name, "healthy")


@pytest.mark.fault("MongoDB without its set")
def test_a_replica_set_that_is_gone_is_made_again(lab: Lab) -> None:
    state = "/data/db/state.json"
    lab.out(f"""docker exec mongo sed -i 's/"replicaSet":{{.*/"replicaSet":null}}/' {state}""")
    lab.out("docker restart mongo")
    lab.becomes("mongo", "healthy")
    assert "rs0" in lab.out(f"docker exec mongo cat {state}")


def test_all_come_back_after_a_reboot(lab: Lab, door: Door) -> None:
    """`unless-stopped`, and OneAPI lives through a database that starts later than it."""
    lab.rented.machine.reboot()
    for name in lab.names:
        lab.becomes(name, "healthy")
    assert "-A INPUT -i br-+ -m conntrack --ctstate NEW -j DROP" in lab.out("iptables -S INPUT")
    assert lab.out("iptables -t mangle -S PREROUTING").count("--hashlimit-name ai-lab-door") == 1
    with contextlib.closing(door.connection()) as again:
        assert again.ask("GET", "/chat/share").status == 200

"""The lab's own containers (provisioning/containers.yaml) on a real engine, databases for real.

Doubles cannot hold what is asked here: whether psql, mysql and Docker mean by our health checks and
our change of a password what we mean.
"""

import json
import shlex

import pytest

from provisioning.containers import Container
from provisioning.host import VOCABULARY_FOLDER
from provisioning.ports import ONEAPI_PORT, XINFERENCE_PORT
from provisioning.vocabulary import VOCABULARY_NAME, vocabulary_file
from tests.server.conftest import SECRETS, Rented
from tests.server.shell import until

pytestmark = pytest.mark.timeout(1800)

NAMES = ("pg", "mongo", "mysql", "sandbox", "oneapi", "xinference")


class Lab:
    """Containers on a rented server."""

    def __init__(self, rented: Rented) -> None:
        self.rented = rented
        self.secrets = {**SECRETS, "oneapi_session": "session1secret", "relay_token": "r" * 48}
        self.out = rented.shell.out

    def run(self, name: str) -> None:
        """Make the container as the program does, and wait until it is healthy."""
        container = self.rented.plan.containers[name]
        words = ["docker", "run", "--detach", "--name", name, *_options(container)]
        words += [f"--volume=ai-lab-{name}:{data}" for data in [container.data] if data]
        words += [
            f"--env={key}={value.format(**self.secrets)}"
            for key, value in container.environment.items()
        ]
        self.out(shlex.join([*words, container.image, *container.command]))
        self.becomes(name, "healthy")

    def replace(self, name: str) -> None:
        """End the container and make it anew, as the program does."""
        self.out(f"docker stop {name} && docker rm {name}")
        self.run(name)

    def becomes(self, name: str, state: str) -> None:
        """Wait until a container's health is this."""
        asked = f"docker inspect --format '{{{{.State.Health.Status}}}}' {name}"
        until(
            lambda: self.rented.shell.run(asked).said.strip() == state,
            f"{name} to be {state}",
            seen=lambda: self.out(
                f"docker inspect --format '{{{{json .State.Health}}}}' {name};"
                f"docker logs --tail 20 {name} 2>&1"
            ),
        )

    def sql(self, name: str, statement: str, password: str | None = None) -> str:
        """Run a statement as the lab's user, over the network and with a password."""
        secret = password or self.secrets[name]
        image = self.rented.plan.containers[name].image
        client = {
            "pg": f"PGPASSWORD={secret} psql -h pg -U fastgpt -d fastgpt -tA -v ON_ERROR_STOP=1",
            "mysql": f"MYSQL_PWD={secret} mysql -h mysql -u oneapi -N oneapi",
        }[name]
        command = shlex.join(["sh", "-c", client])
        return self.out(f"docker run --rm -i --network ai-lab {image} {command}", statement)


def _options(container: Container) -> list[str]:
    kind, *rest = container.health.tests
    limited = [f"={mib}m" for mib in [container.memory_mib] if mib]
    return [
        *("--network", "ai-lab", "--restart", "unless-stopped"),
        f"--stop-timeout={container.grace_seconds or 10}",
        *(f"--publish={out}:{inside}" for out, inside in container.published.items()),
        *(f"--volume={there}:{here}:ro" for there, here in container.mounts.items()),
        *(f"--{limit}{mib}" for limit in ("memory", "memory-swap") for mib in limited),
        *(["--gpus=all"] if container.gpu else []),
        *("--health-cmd", rest[0] if kind == "CMD-SHELL" else shlex.join(rest)),
        *("--health-timeout", container.health.timeout, "--health-retries", "3"),
        # More often than the lab's, so that a test need not wait for ten seconds three times.
        *("--health-interval", "1s", "--health-start-interval", "1s"),
        *("--health-start-period", f"{container.health.start_minutes}m"),
    ]


@pytest.fixture(scope="module")
def lab(rented: Rented) -> Lab:
    """Databases and OneAPI, healthy."""
    rented.prepare()
    lab = Lab(rented)
    vocabulary = vocabulary_file().read_text()
    place = f"/root/{VOCABULARY_FOLDER}"
    lab.out(f"mkdir -p {place} && cat >{place}/{VOCABULARY_NAME}", vocabulary)
    lab.out("docker network create ai-lab")
    for name in NAMES:
        lab.run(name)
    return lab


@pytest.mark.parametrize(
    ("name", "broken", "mended"),
    [
        pytest.param(
            "pg",
            "docker exec -u postgres pg psql -U fastgpt -d postgres -c "
            "'ALTER DATABASE fastgpt ALLOW_CONNECTIONS false'",
            "docker exec -u postgres pg psql -U fastgpt -d postgres -c "
            "'ALTER DATABASE fastgpt ALLOW_CONNECTIONS true'",
            id="pg-database",
        ),
        pytest.param(
            "pg",
            "pkill -STOP -x postgres",
            "pkill -CONT -x postgres",
            id="pg-hangs",
        ),
        pytest.param(
            "mysql",
            'docker exec mysql sh -c \'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql -u root -e '
            '"ALTER USER oneapi@\\`%\\` ACCOUNT LOCK"\'',
            'docker exec mysql sh -c \'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql -u root -e '
            '"ALTER USER oneapi@\\`%\\` ACCOUNT UNLOCK"\'',
            id="mysql-user",
        ),
        pytest.param("mongo", "pkill -STOP -f mongod.js", "pkill -CONT -f mongod.js", id="mongo"),
        pytest.param("sandbox", "pkill -STOP -f main.js", "pkill -CONT -f main.js", id="sandbox"),
        pytest.param(
            "xinference",
            "pkill -STOP -f doubles.xinference",
            "pkill -CONT -f doubles.xinference",
            id="xinference",
        ),
        pytest.param("oneapi", "docker stop mysql", "docker start mysql", id="oneapi-database"),
    ],
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
    lab.sql("pg", "CREATE TABLE kept AS SELECT 42 AS it")
    lab.replace("pg")
    assert lab.sql("pg", "SELECT it FROM kept") == "42"
    said = lab.out("docker logs pg 2>&1")
    assert "database system was shut down at" in said
    assert "interrupted" not in said


def test_only_what_is_published_listens(lab: Lab) -> None:
    listening = lab.out("ss -Hltn | awk '{print $4}'").split()
    outside = {place.rpartition(":")[2] for place in listening if not place.startswith("127.")}
    assert outside == {"22", str(ONEAPI_PORT), str(XINFERENCE_PORT)}


def test_xinference_serves_a_model_on_the_servers_card(lab: Lab) -> None:
    """Its package was mended at the start, and the card reached it through Docker."""
    api = f"curl -sS --json @- http://127.0.0.1:{XINFERENCE_PORT}/v1"
    wanted = {"model_name": "m3e-base", "model_type": "embedding", "model_uid": "m3e-base"}
    launched = lab.out(f"{api}/models", json.dumps({**wanted, "n_gpu": 1}))
    assert json.loads(launched) == {"model_uid": "m3e-base"}
    told = json.loads(lab.out(f"{api}/embeddings", '{"model": "m3e-base", "input": "hello"}'))
    assert len(told["data"][0]["embedding"]) == 768


def test_containers_find_each_other_by_name(lab: Lab) -> None:
    for name in ("pg", "mysql"):
        assert name in lab.out(f"docker exec oneapi getent hosts {name}")


def test_a_container_gets_no_more_memory_than_its_limit(lab: Lab) -> None:
    image = lab.rented.plan.containers["pg"].image
    limits = "--memory 64m --memory-swap 64m"
    ran = lab.rented.shell.run(f"docker run --name eater {limits} {image} tail /dev/zero")
    assert ran.code == 137
    assert lab.out("docker inspect --format '{{.State.OOMKilled}}' eater") == "true"
    lab.out("docker rm eater")


def test_all_come_back_after_a_reboot(lab: Lab) -> None:
    """`unless-stopped`, and OneAPI lives through a database that starts later than it."""
    lab.rented.machine.reboot()
    for name in NAMES:
        lab.becomes(name, "healthy")

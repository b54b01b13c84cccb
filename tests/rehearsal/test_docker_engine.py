"""The Docker engine of a rehearsed server, through the `docker` command and published ports."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from rehearsal import images
from rehearsal.addresses import claim_block
from rehearsal.containers.logs import Log
from rehearsal.containers.rooted import rooted
from rehearsal.docker import durations
from tests.rehearsal.servers import SSH_PORT, WITH_DOCKER, Login, ServerMaker, asynchronously, until

WEB = "registry.cn-hangzhou.aliyuncs.com/test/web:1"
PG = "registry.cn-hangzhou.aliyuncs.com/fastgpt/pgvector:v0.7.0"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    web = images.Image(
        name="web",
        homes=frozenset({"registry.cn-hangzhou.aliyuncs.com/test/web"}),
        tags="1",
        size_mib=10,
        programs={"web": ("tests.rehearsal.stand_in",)},
        command=("web",),
    )
    before, images.CATALOGUE = images.CATALOGUE, (*images.CATALOGUE, web)
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()
    images.CATALOGUE = before


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    return servers(WITH_DOCKER)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        login: Login = request.getfixturevalue("server")
        login.out("docker ps -aq | xargs -r docker rm -f")


def get(address: str, port: int, path: str, source: str = "") -> tuple[int, str]:
    here = (source, 0) if source else None
    connection = http.client.HTTPConnection(address, port, timeout=2, source_address=here)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def answers(address: str, port: int) -> bool:
    try:
        return get(address, port, "/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_names_resolve_only_within_their_network(server: Login) -> None:
    address = server.machine.address
    server.out("docker network create front; docker network create back")
    server.out(f"docker run -d --name one --network front -p 3000:8080 {WEB}")
    server.out(f"docker run -d --name two --network front {WEB}")
    server.out(f"docker run -d --name three --network back {WEB}")
    until(lambda: answers(address, 3000), "the container to answer")
    other = get(address, 3000, "/resolve?two")
    assert other[0] == 200
    assert other[1].startswith(address.rpartition(".")[0])
    assert get(address, 3000, "/resolve?three")[0] == 404
    assert get(address, 3000, "/resolve?example.com")[0] == 404
    # Docker's resolver knows running containers only.
    server.out("docker stop two")
    assert get(address, 3000, "/resolve?two")[0] == 404
    server.out("docker rm -f one two three; docker network rm front back")


def test_the_default_network_has_no_names(server: Login) -> None:
    server.out(f"docker run -d --name one -p 3000:8080 {WEB}; docker run -d --name two {WEB}")
    until(lambda: answers(server.machine.address, 3000), "the container to answer")
    assert get(server.machine.address, 3000, "/resolve?two")[0] == 404


def test_a_published_port_obeys_the_firewall(server: Login) -> None:
    address = server.machine.address
    server.out(f"docker run -d --name one -p 3000:8080 {WEB}")
    until(lambda: answers(address, 3000), "the container to answer")
    before, server.allowed = server.allowed, lambda port, source: port == SSH_PORT
    try:
        with pytest.raises(TimeoutError):
            get(address, 3000, "/health")
        # From the server itself it does not count: `curl` there, and a tunnel to it.
        assert server.out("curl -fsS -o /dev/null -w '%{http_code}' 127.0.0.1:3000/health") == "200"
        assert asynchronously(_through_a_tunnel(server)).startswith(b"HTTP/1.0 200")
    finally:
        server.allowed = before


async def _through_a_tunnel(server: Login) -> bytes:
    async with server.connect() as connection:
        reader, writer = await connection.open_connection("127.0.0.1", 3000)
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        found: bytes = await reader.read()
        return found


def test_a_port_published_on_localhost_is_the_server_s_own(server: Login) -> None:
    server.out(f"docker run -d --name one -p 127.0.0.1:3000:8080 {WEB}")
    curl = "curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:3000/health"
    until(lambda: server.run(curl).stdout == "200", "the container to answer")
    with pytest.raises(TimeoutError):
        get(server.machine.address, 3000, "/health")


def restarts(server: Login, name: str) -> int:
    return int(server.out(f"docker inspect -f '{{{{.RestartCount}}}}' {name}"))


def state(server: Login, name: str) -> str:
    return server.out(
        f"docker inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' {name}"
    ).strip()


def test_restart_policies(server: Login) -> None:
    run = f"docker run -d --restart POLICY --name NAME {WEB} sh -c 'exit CODE'"
    for name, policy, code in (
        ("no", "no", 1),
        ("fails", "on-failure:2", 1),
        ("ends", "on-failure", 0),
    ):
        filled = run.replace("POLICY", policy).replace("NAME", name).replace("CODE", str(code))
        server.out(filled)
        server.out(f"docker wait {name}")
    assert (state(server, "no"), restarts(server, "no")) == ("exited 1", 0)
    assert (state(server, "fails"), restarts(server, "fails")) == ("exited 1", 2)
    assert (state(server, "ends"), restarts(server, "ends")) == ("exited 0", 0)
    server.out(run.replace("POLICY", "always").replace("NAME", "loop").replace("CODE", "0"))
    until(lambda: restarts(server, "loop") >= 2, "the container to be started again")
    server.out("docker stop loop")
    count = restarts(server, "loop")
    assert state(server, "loop").startswith("exited")
    assert restarts(server, "loop") == count


def test_a_crash_is_healed_by_policy(server: Login) -> None:
    address = server.machine.address
    server.out(f"docker run -d --name one --restart unless-stopped -p 3000:8080 {WEB}")
    until(lambda: answers(address, 3000), "the container to answer")
    get(address, 3000, "/exit?7")
    until(lambda: restarts(server, "one") == 1, "the container to be started again")
    until(lambda: answers(address, 3000), "the container to answer again")


def test_containers_come_back_after_a_reboot_by_policy(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    run = "docker run -d --restart POLICY --name NAME " + WEB
    for name, policy in (("up", "unless-stopped"), ("held", "unless-stopped"), ("no", "no")):
        server.out(run.replace("POLICY", policy).replace("NAME", name))
    server.out("docker volume create kept; docker stop held")
    server.machine.reboot()
    server.wait_until_up()
    until(lambda: state(server, "up").startswith("running"), "the container to come back")
    assert state(server, "held").startswith("exited")
    assert state(server, "no").startswith("exited")
    assert server.out("docker volume ls -q").strip() == "kept"


def test_live_restore_keeps_containers_while_the_engine_restarts(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    pid = "docker inspect -f '{{.State.Pid}}' one"
    server.out(f"docker run -d --name one --restart always {WEB}")
    first = server.out(pid)
    server.out("systemctl restart docker")
    until(lambda: state(server, "one").startswith("running"), "the container to come back")
    assert server.out(pid) != first
    server.out('echo \'{"live-restore": true}\' > "$LAB_ROOT/etc/docker/daemon.json"')
    server.out("systemctl restart docker")
    until(lambda: state(server, "one").startswith("running"), "the container to come back")
    second = server.out(pid)
    server.out("systemctl restart docker")
    assert server.out(pid) == second


def test_a_gpu_needs_the_toolkit_and_the_driver(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    prove = f"docker run --rm --gpus all {PG} nvidia-smi -L"
    assert "NVIDIA A10" in server.out(prove)
    assert server.run(f"docker run --rm {PG} nvidia-smi").exit_status == 127
    server.out("modprobe -r nvidia")
    assert "driver not loaded" in str(server.run(prove).stderr)
    server.out(
        "modprobe nvidia && apt-get -o DPkg::Lock::Timeout=60 remove -y nvidia-container-toolkit"
    )
    refused = server.run(prove)
    assert refused.exit_status == 125
    assert 'could not select device driver "" with capabilities: [[gpu]]' in str(refused.stderr)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("nobody/nothing:1", "Client.Timeout exceeded"),
        ("docker.nju.edu.cn/library/mysql:8.0.36", "pull access denied"),
        ("ghcr.io/labring/fastgpt:v4.8.8-fix2", "TLS handshake timeout"),
        ("registry-vpc.cn-beijing.aliyuncs.com/fastgpt/mysql:8.0.36", "no such host"),
        ("registry.cn-hangzhou.aliyuncs.com/fastgpt/nothing:1", "pull access denied"),
        ("registry.cn-hangzhou.aliyuncs.com/fastgpt/mysql:1.2.3", "manifest unknown"),
        ("Registry/UPPER:1", "invalid reference format"),
    ],
)
def test_what_cannot_be_pulled_on_the_mainland(server: Login, reference: str, said: str) -> None:
    ran = server.run(f"docker pull {reference}")
    assert ran.exit_status == 1
    assert said in str(ran.stderr)


def test_docker_hub_is_reached_through_the_first_mirror_that_lives(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    pull = "docker pull xprobe/xinference:v2.12.0"
    assert server.run(pull).exit_status == 1
    for mirrors, works in (
        (["https://dockerproxy.com", "https://docker.nju.edu.cn"], False),
        (["https://dockerproxy.com", "https://docker.1ms.run"], True),
    ):
        server.out(
            'cat > "$LAB_ROOT/etc/docker/daemon.json"', json.dumps({"registry-mirrors": mirrors})
        )
        server.out("systemctl restart docker")
        assert (server.run(pull).exit_status == 0) is works
    # What no mirror has is asked of the Hub in the end, and its silence is all that is said.
    wrong = server.run("docker pull xprobe/xinference:v99")
    assert "registry-1.docker.io" in str(wrong.stderr)
    assert "Client.Timeout exceeded" in str(wrong.stderr)
    asked = "docker manifest inspect docker.1ms.run/xprobe/xinference"
    assert server.run(f"{asked}:v2.12.0").exit_status == 0
    assert "no such manifest" in str(server.run(f"{asked}:v99").stderr)
    dead = server.run("docker manifest inspect dockerproxy.com/xprobe/xinference:v99")
    assert "no such host" in str(dead.stderr)


def test_a_container_s_paths_are_its_own(server: Login) -> None:
    text = "mkdir -p /data && echo kept > /data/note && chmod 400 /data/note && cat /data/note"
    server.out(f"docker run -d --name one -v books:/data {WEB} sh -c '{text}; exec sleep 60'")
    until(lambda: server.out("docker logs one").strip() == "kept", "the container's log")
    note = server.machine.root / "var/lib/docker/volumes/books/_data/note"
    assert note.read_text() == "kept\n"
    assert server.out("docker exec one cat /data/note").strip() == "kept"
    assert server.out("docker exec -i one sh -c 'cat > /data/more; wc -c < /data/more'", "four")
    assert server.run("docker exec one nonsense").exit_status == 127


def test_exec_has_the_container_s_environment(server: Login) -> None:
    server.out(f"docker run -d --name one -e A=1 {WEB} sleep 60")
    shown = server.out("docker exec -e B=2 one sh -c 'echo $A $B $HOSTNAME'").split()
    assert shown == ["1", "2", server.out("docker ps -q").strip()]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"docker run --rm {WEB} nonsense", "executable file not found in $PATH"),
        ("docker inspect nobody", "No such object: nobody"),
        ("docker start nobody", "No such container: nobody"),
        ("docker frobnicate", "unknown command"),
        ("docker ps --nonsense", "unknown flag: --nonsense"),
        ("docker ps --filter nonsense=1", "invalid filter"),
        ("docker volume rm nobody", "no such volume"),
        ("docker network rm nobody", "network nobody not found"),
        ("docker ps --format '{{.Nonsense}}'; docker info --format '{{.Nonsense}}'", "no entry"),
    ],
)
def test_what_docker_refuses(server: Login, command: str, said: str) -> None:
    ran = server.run(command)
    assert ran.exit_status != 0
    assert said in str(ran.stderr)


def test_a_stopped_server_takes_its_containers_along(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    server.out(f"docker run -d --name one -p 3000:8080 --restart always {WEB}")
    until(lambda: answers(server.machine.address, 3000), "the container to answer")
    server.machine.stop()
    for port in (3000, SSH_PORT):
        with socket.socket() as probe:
            assert probe.connect_ex((server.machine.address, port)) != 0
    server.machine.start()
    until(lambda: answers(server.machine.address, 3000), "the container to come back")


def test_a_log_is_rotated(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("log") / "log"
    log = Log(place, "json-file", {"max-size": "1k", "max-file": "2"})
    for number in range(100):
        log.write("stdout", f"{number}\n")
    kept = [int(text) for _, text in log.read()]
    assert kept[-1] == 99
    assert kept == list(range(kept[0], 100))
    assert sum(p.stat().st_size for p in place.parent.iterdir()) <= 2048


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("60s", "1m0s"),
        ("1m", "1m0s"),
        ("90m", "1h30m0s"),
        ("1.5s", "1.5s"),
        ("200ms", "200ms"),
        ("0", "0s"),
    ],
)
def test_durations_in_go_s_form(given: str, shown: str) -> None:
    assert durations.canonical(durations.parse(given)) == shown


def test_shell_texts_are_moved_into_the_tree(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    text = "cp /a/b /etc/c>/dev/null; wget http://x/y -O '/d'; /bin/sh -c \"cat </e\" x/y a=/f"
    assert rooted(text, root) == (
        f"cp {root}/a/b {root}/etc/c>/dev/null; wget http://x/y -O '{root}/d'; "
        f'sh -c "cat <{root}/e" x/y a={root}/f'
    )

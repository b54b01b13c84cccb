"""The host scripts run for real, on a stage; most cases are in tests/cases/host.yaml."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.host import script
from tests.unit.host_stage import Server
from tests.unit.program import PROJECT

TABLE = yaml.safe_load((PROJECT / "tests/cases/host.yaml").read_text())
CASES = {case["id"]: case for case in TABLE["cases"]}
SMI = TABLE["common"]["smi"]
DRIVER = TABLE["common"]["driver"]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(server: Server, case: dict[str, Any]) -> None:
    for path, text in case.get("given", {}).items():
        server.write(path, text)
    server.fake(**case.get("fakes", {}))
    for _ in range(2 if "again" in case else 1):
        ran = server.run(*case["run"])
        assert case.get("passes", case.get("fails")) in ran.stdout
        assert ran.returncode == ("fails" in case), ran.stdout
    wanted = case.get("calls", {})
    if "fails" in case and "installs" not in case:
        wanted |= {"apt-get": [], "systemctl reload": []}
    assert {start: server.calls(start) for start in wanted} == wanted
    files = case.get("files", {})
    assert {path: server.read(path) for path in files} == files


@pytest.mark.parametrize(
    ("script_text", "said"),
    [
        ("secret=hidden\nfalse $secret", 'error: "false $secret" ended with 1'),
        ("found=$(exit 3)", "ended with 3"),
        ("work() { false; }\nwork", 'error: "false" ended with 1'),
        ("fail 'told already'", "error: told already"),
        ("kill -TERM $$", "did not end within its time limit"),
    ],
)
def test_no_script_ends_without_a_word(server: Server, script_text: str, said: str) -> None:
    (server.home / "case.sh").write_text(script("toolkit").partition("# Installs")[0] + script_text)
    run = server.start("case.sh")
    assert run.returncode != 0
    assert said in run.stdout
    assert run.stdout.count("error:") == 1
    assert "hidden" not in run.stdout


def test_base_sets_mirror_and_logins_once(server: Server) -> None:
    server.fake(**{"dpkg-query": "printf 'ii '"})
    path, other = "etc/apt/sources.list", "deb https://other.example/ubuntu jammy main\n"
    for host in ("cn.archive", "security"):
        server.write(path, f"deb http://{host}.ubuntu.com/ubuntu/ jammy main\n{other}")
        server.passes("base", "http://m.example/ubuntu")
        assert server.read(path) == f"deb http://m.example/ubuntu/ jammy main\n{other}"
    written = (server.root / path).stat()
    server.passes("base", "http://m.example/ubuntu")
    assert (server.root / path).stat().st_ino == written.st_ino, "a second run writes nothing"
    assert server.read("etc/ssh/sshd_config.d/10-ai-lab.conf") == "MaxStartups 200:30:400\n"
    assert server.calls("systemctl reload") == ["systemctl reload ssh.service"]


# --- driver


def _apt_brings_driver(server: Server, body: str) -> None:
    made = f"printf '%s\\n' '#!/bin/bash' '{body}' >$PATH/nvidia-smi; chmod +x $PATH/nvidia-smi"
    server.fake(**{"apt-get": f'case "$*" in *nvidia-driver*) {made} ;; esac'})


def test_a_missing_driver_is_installed_without_a_reboot(server: Server) -> None:
    _apt_brings_driver(server, SMI)
    server.passes(*DRIVER)
    _, install = server.calls("apt-get")
    assert install.endswith(
        "install --no-install-recommends linux-headers-5.15.0-1 nvidia-driver-580-server"
    )
    assert server.calls("reboot") == []
    server.passes("driver-ready", "575")


def test_a_driver_that_does_not_load_costs_a_reboot(server: Server) -> None:
    _apt_brings_driver(server, "echo has failed; exit 9")
    server.fake(modprobe="exit 1", sleep="exit 0")
    server.passes(*DRIVER)
    # No new session may come in between: it would die with the server.
    assert "systemctl stop ssh.service" in server.calls("systemctl")
    deadline = time.monotonic() + 20
    while not server.calls("reboot"):
        assert time.monotonic() < deadline, "the server was never rebooted"
        time.sleep(0.05)
    # A server that has not rebooted is not waited for.
    assert "reboot it in the cloud's console" in server.fails("driver-ready", "575")


# --- daemon

RUNTIMES = '{"nvidia":{"path":"nvidia-container-runtime"},"runc":{}}'
CONFIG = "etc/docker/daemon.json"


@pytest.fixture
def daemon(server: Server) -> Server:
    docker = f"case \"$*\" in *Runtimes*) echo '{RUNTIMES}' ;; *) echo 29 ;; esac"
    server.fake(**{"dockerd": "exit 0", "docker": docker, "dpkg-query": "echo 1.20.0"})
    (server.home / "daemon.json").write_text('{"live-restore": true}\n')
    return server


def _restarts(daemon: Server, runs: int) -> int:
    for _ in range(runs):
        daemon.passes("daemon", "daemon.json", "nvidia")
    return len(daemon.calls("systemctl restart docker"))


def test_docker_is_restarted_only_when_something_changed(daemon: Server) -> None:
    assert _restarts(daemon, runs=2) == 1
    (daemon.home / "daemon.json").write_text("{}\n")
    assert _restarts(daemon, runs=2) == 2
    # Docker looks for the toolkit only when it starts.
    daemon.fake(**{"dpkg-query": "echo 1.21.0"})
    assert _restarts(daemon, runs=2) == 3
    assert daemon.read(CONFIG) == "{}\n"
    daemon.fake(systemctl="exit 1")
    (daemon.home / "daemon.json").write_text("[]\n")
    assert "Docker does not restart" in daemon.fails("daemon", "daemon.json", "none")
    daemon.fake(systemctl="exit 0")
    assert _restarts(daemon, runs=2) == 5, "a restart that failed is tried again"


def test_an_edit_by_hand_is_mended_and_the_images_own_file_kept(daemon: Server) -> None:
    for restarts, text in enumerate(("of the image", "by hand"), start=1):
        daemon.write(CONFIG, text)
        assert _restarts(daemon, runs=1) == restarts
        assert daemon.read(CONFIG) == '{"live-restore": true}\n'
    assert daemon.read(f"{CONFIG}.before-ai-lab") == "of the image"


# --- MongoDB's key


def test_the_key_is_in_place_and_nobody_else_can_read_it(server: Server) -> None:
    for _ in range(2):
        told = server.passes("mongo-keyfile", stdin="c2VjcmV0a2V5\n")
        assert "c2VjcmV0a2V5" not in told
    keyfile = server.home / "ai-lab/mongo/keyfile"
    assert keyfile.read_text() == "c2VjcmV0a2V5\n"
    assert keyfile.stat().st_mode & 0o777 == 0o400
    if os.getuid() == 0:
        assert (keyfile.stat().st_uid, keyfile.stat().st_gid) == (999, 999)
    assert [path.name for path in keyfile.parent.iterdir()] == ["keyfile"]


@pytest.mark.parametrize("key", ["", "abc", "with-dash-es", "a" * 1025])
def test_a_key_that_mongodb_would_refuse_never_gets_in(server: Server, key: str) -> None:
    told = server.fails("mongo-keyfile", stdin=key)
    assert "base64" in told
    assert not key or key not in told
    assert list((server.home / "ai-lab/mongo").iterdir()) == []


# --- pull


@pytest.mark.parametrize(
    ("answers", "pulls", "said"),
    [
        (["unexpected EOF", "net/http: TLS handshake timeout", ""], 3, "attempt 3 of 5"),
        (["error: connection reset by peer"] * 4 + [""], 5, "attempt 5 of 5"),
        (["502 Bad Gateway", ""], 2, "attempt 2"),
        # What will not come is not tried again.
        (["manifest for a/b:1 not found: manifest unknown"], 1, "name and tag in the setting"),
        (["pull access denied for a/b"], 1, "cannot be had"),
        (["lookup r.example: no such host"], 1, "does not resolve"),
        (["write /var/lib: no space left on device"], 1, "larger diskSizeGiB"),
        (["something nobody has seen"], 1, "something nobody has seen"),
        (["unexpected EOF"] * 5, 5, "did not come in 5 attempts: unexpected EOF"),
    ],
)
@pytest.mark.fault("pull cut for good")
def test_pull(server: Server, answers: list[str], pulls: int, said: str) -> None:
    """Each pull ends with the next answer; an empty one succeeds."""
    cases = "\n".join(
        f"{turn}) {f'echo {line!r} >&2; exit 1' if line else 'exit 0'} ;;"
        for turn, line in enumerate(answers, start=1)
    )
    docker = f"""[ "$1" = pull ] || exit 1
        case "$(grep -c '^docker pull' $PATH/../calls)" in
        {cases}
        esac"""
    server.fake(docker=docker, sleep="exit 0")
    assert said in (server.fails if answers[-1] else server.passes)("pull", "a/b:1")
    assert len(server.calls("docker pull")) == pulls


# Seen on Docker 20.10 with a dead mirror and one that has no such tag: the Hub is asked in the end.
FELL_THROUGH = (
    'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'
)
DEAD = "failed to configure transport: connect: connection refused"
UNKNOWN_TAG = "no such manifest: m/library/mysql:1.2.3"
WRONG_TAG, WRONG_WAY = "no registry mirror knows", "name does not resolve"


@pytest.mark.parametrize(
    ("image", "mirrors", "asked", "said"),
    [
        ("mysql:1", {"a.example": DEAD, "b.example": UNKNOWN_TAG}, "library/mysql:1", WRONG_TAG),
        ("a/b:1", {"b.example": "manifest unknown"}, "a/b:1", "name and tag in the setting images"),
        # A mirror has it, or none answered: then it is the way that is wrong.
        ("mysql:1", {"a.example": UNKNOWN_TAG, "b.example": ""}, "library/mysql:1", WRONG_WAY),
        ("mysql:1", {"a.example": DEAD}, "library/mysql:1", WRONG_WAY),
        ("mysql:1", {}, "", WRONG_WAY),
        # Mirrors stand for Docker Hub only.
        ("r.example/a/b:1", {"a.example": UNKNOWN_TAG}, "", WRONG_WAY),
    ],
)
@pytest.mark.fault("every mirror dead")
def test_a_wrong_tag_is_called_that_whichever_mirror_answered(
    server: Server, image: str, mirrors: dict[str, str], asked: str, said: str
) -> None:
    """What each mirror says of any manifest, "" where it has it; they are asked by full name."""
    listed = ",".join(f'"https://{host}/"' for host in mirrors)
    cases = "\n".join(
        f"'manifest inspect {host}/'*) {f'echo {said!r} >&2; exit 1' if said else 'exit 0'} ;;"
        for host, said in mirrors.items()
    )
    docker = f"""case "$*" in
        info*) echo '[{listed}]' ;;
        {cases}
        pull*) echo '{FELL_THROUGH}' >&2; exit 1 ;;
        *) exit 1 ;;
        esac"""
    server.fake(docker=docker)
    assert said in server.fails("pull", image)
    assert len(server.calls("docker pull")) == 1
    asked_mirrors = [f"docker manifest inspect {host}/{asked}" for host in mirrors if asked]
    assert server.calls("docker manifest") == asked_mirrors

"""The commands of a rehearsed server: what Ubuntu's would do, failures included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import faults
from rehearsal.addresses import claim_block
from rehearsal.server.commands.go_template import TemplateError, render
from rehearsal.server.outside import Reach, reach
from tests.rehearsal.servers import WITH_DOCKER, Login, ServerMaker

DOCKER_KEY = "https://mirrors.aliyun.com/docker-ce/linux/ubuntu/gpg"
DOCKER_REPOSITORY = "http://mirrors.cloud.aliyuncs.com/docker-ce/linux/ubuntu"
KEYRING = "/etc/apt/keyrings/docker.asc"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerMaker]:
    maker = ServerMaker(tmp_path_factory.mktemp("servers"), claim_block())
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def server(servers: ServerMaker) -> Login:
    return quiet(servers)


@pytest.fixture
def fresh(servers: ServerMaker) -> Login:
    return quiet(servers)


def quiet(servers: ServerMaker) -> Login:
    """A server whose package database nobody holds."""
    server = servers()
    server.out("systemctl stop unattended-upgrades")
    return server


def test_docker_comes_only_with_its_repository_and_key(fresh: Login) -> None:
    fresh.out("apt-get update")
    missing = fresh.run("apt-get install -y docker-ce")
    assert missing.exit_status == 100
    assert "E: Unable to locate package docker-ce" in str(missing.stderr)
    source = f"deb [arch=amd64 signed-by={KEYRING}] {DOCKER_REPOSITORY} jammy stable"
    fresh.out(f'echo "{source}" > "$LAB_ROOT/etc/apt/sources.list.d/docker.list"')
    unsigned = fresh.run("apt-get update")
    assert unsigned.exit_status == 100
    assert "NO_PUBKEY 7EA0A9C3F273FCD8" in str(unsigned.stderr)
    fresh.out(f'curl -fsSL {DOCKER_KEY} -o "$LAB_ROOT{KEYRING}" && apt-get update')
    fresh.out("DEBIAN_FRONTEND=noninteractive apt-get install -y docker-ce docker-ce-cli")
    assert fresh.out("docker version --format '{{.Server.Version}}'").strip() == "29.8.0"
    assert fresh.run("systemctl is-active docker").exit_status == 0


def test_a_key_in_the_wrong_form_is_no_key(server: Login) -> None:
    source = f"deb [signed-by=/etc/apt/keyrings/d.gpg] {DOCKER_REPOSITORY} jammy stable"
    key = '"$LAB_ROOT/etc/apt/keyrings/d.gpg"'
    server.out(f'echo "{source}" > "$LAB_ROOT/etc/apt/sources.list.d/d.list"')
    server.out(f"curl -fsSL {DOCKER_KEY} -o {key}")
    assert server.run("apt-get update").exit_status == 100
    server.out(f"curl -fsSL {DOCKER_KEY} | gpg --dearmor --yes -o {key}")
    server.out("apt-get update")
    server.out('rm "$LAB_ROOT/etc/apt/sources.list.d/d.list"')


def test_the_lock_at_boot_is_waited_for_only_when_asked(servers: ServerMaker) -> None:
    booting = servers(pace=0.5)
    locked = booting.run("apt-get install -y git")
    assert locked.exit_status == 100
    assert "Could not get lock /var/lib/dpkg/lock-frontend" in str(locked.stderr)
    assert booting.run('fuser "$LAB_ROOT/var/lib/dpkg/lock-frontend"').exit_status == 0
    booting.out("apt-get update && apt-get -o DPkg::Lock::Timeout=60 install -y git")


def test_what_nobody_confirms_is_not_installed(server: Login) -> None:
    server.out("apt-get update")
    asked = server.run("apt-get install git")
    assert asked.exit_status == 1
    assert "Abort." in str(asked.stdout)
    assert server.run("dpkg -s git").exit_status == 1


def test_the_driver_works_once_its_module_is_loaded(fresh: Login) -> None:
    assert fresh.run("nvidia-smi").exit_status == 127
    fresh.out("apt-get update && apt-get install -y nvidia-driver-580-server")
    assert "couldn't communicate" in str(fresh.run("nvidia-smi").stderr)
    # Without the running kernel's headers no module was built.
    assert "not found in directory" in str(fresh.run("modprobe nvidia").stderr)
    fresh.out('apt-get install -y "linux-headers-$(uname -r)" && modprobe nvidia')
    query = "nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits"
    assert fresh.out(query).strip() == "NVIDIA A10, 23028, 580.126.09"


def test_a_reboot_loads_the_driver(servers: ServerMaker) -> None:
    server = quiet(servers)
    server.out("apt-get update")
    server.out('apt-get install -y nvidia-driver-580-server "linux-headers-$(uname -r)"')
    assert server.run("nvidia-smi").exit_status == 9
    server.machine.reboot()
    server.wait_until_up()
    server.out("nvidia-smi")


def test_a_mismatch_of_driver_and_library_is_a_fault(
    servers: ServerMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers(WITH_DOCKER)
    place = tmp_path / "faults.json"
    monkeypatch.setenv("REHEARSAL_FAULTS", str(place))
    faults.switch_on(place, "host.driver_mismatch", "nvidia-smi")
    ran = server.run("nvidia-smi")
    assert ran.exit_status == 18
    assert "Driver/library version mismatch" in str(ran.stderr)


def test_docker_s_configuration_is_checked(servers: ServerMaker) -> None:
    server = servers(WITH_DOCKER)
    write = 'cat > "$LAB_ROOT/etc/docker/daemon.json"'
    validate = 'dockerd --validate --config-file "$LAB_ROOT/etc/docker/daemon.json"'
    for config, complaint in (
        ('{"log-opts": {"max-file": 3}}', "cannot unmarshal number"),
        ('{"log-optss": {}}', "don't match any configuration option"),
        ('{"log-opts": {', "invalid character"),
        ('{"registry-mirrors": ["docker.m.daocloud.io"]}', "invalid mirror"),
    ):
        server.out(write, config)
        ran = server.run(validate)
        assert ran.exit_status == 1
        assert complaint in str(ran.stderr)
        assert server.run("systemctl restart docker").exit_status == 1
        assert server.run("systemctl is-active docker").exit_status == 3
    server.out(write, '{"log-opts": {"max-file": "3"}}')
    server.out("nvidia-ctk runtime configure --runtime=docker")
    config = json.loads((server.machine.root / "etc/docker/daemon.json").read_text())
    assert config["log-opts"] == {"max-file": "3"}
    assert config["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    server.out(f"{validate} && systemctl restart docker")
    assert '"nvidia"' in server.out("docker info --format '{{json .Runtimes}}'")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("apt-get --nonsense update", 100, "not understood"),
        ("systemctl frobnicate docker", 1, "Unknown command verb"),
        ("systemctl restart nothing", 5, "Unit nothing.service not found"),
        ("curl --nonsense http://x", 2, "is unknown"),
        ("curl -fsSL https://download.docker.com/linux/ubuntu/gpg", 28, "Connection timed out"),
        ("curl -fsSL https://dockerproxy.com/", 6, "Could not resolve host"),
        ("curl -fsSL https://mirrors.aliyun.com/nothing", 22, "error: 404"),
        ("curl -fsSL https://mirrors.cloud.aliyuncs.com/ubuntu/", 28, "timed out"),
        ("curl -fsS http://100.100.100.200/latest/meta-data/region-id", 22, "error: 403"),
        ("gpg --dearmor", 2, "no valid OpenPGP data"),
        ("nvidia-smi", 127, "not found"),
        ("docker ps", 127, "not found"),
        ("useradd someone", 127, "not found"),
    ],
)
def test_what_fails_says_so(server: Login, command: str, code: int, said: str) -> None:
    ran = server.run(command)
    assert ran.exit_status == code
    assert said in str(ran.stderr)


def test_mirrors_are_known_by_a_401(server: Login) -> None:
    probe = "curl -s -o /dev/null -w '%{http_code}' https://HOST/v2/"
    assert server.out(probe.replace("HOST", "docker.m.daocloud.io")) == "401"
    assert server.out(probe.replace("HOST", "docker.nju.edu.cn")) == "403"


@pytest.mark.parametrize(
    ("host", "region", "expected"),
    [
        ("registry-1.docker.io", "cn-hangzhou", Reach.TIMEOUT),
        ("registry-1.docker.io", "cn-hongkong", Reach.OK),
        ("nvidia.github.io", "cn-beijing", Reach.TIMEOUT),
        ("ghcr.io", "cn-shanghai", Reach.RESET),
        ("ghcr.io", "ap-southeast-1", Reach.OK),
        ("registry.cn-hangzhou.aliyuncs.com", "us-west-1", Reach.OK),
        ("registry-vpc.cn-hangzhou.aliyuncs.com", "cn-hangzhou", Reach.OK),
        ("registry-vpc.cn-hangzhou.aliyuncs.com", "cn-beijing", Reach.NO_SUCH_HOST),
        ("docker.nju.edu.cn", "cn-hangzhou", Reach.REFUSES_HUB),
    ],
)
def test_who_reaches_what(host: str, region: str, expected: Reach) -> None:
    assert reach(host, region) is expected


DATA = {"State": {"Health": {"Status": "healthy"}, "Running": True}, "Names": ["a", "b"], "N": None}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.State.Health.Status}}", "healthy"),
        ("{{json .Names}} {{len .Names}}", '["a","b"] 2'),
        ("{{if .State.Running}}yes{{else}}no{{end}}", "yes"),
        ("{{if .N}}yes{{else}}no{{end}}!", "no!"),
        ("{{range .Names}}<{{.}}>{{end}}", "<a><b>"),
        ('{{index .Names 1}} {{if eq .State.Health.Status "healthy"}}ok{{end}}', "b ok"),
        ("{{range .N}}{{if .}}x{{end}}{{end}}", ""),
        ("{{.State.Running}}\\t{{.N}}", "true\t<nil>"),
        ("{{.Names | json}}", '["a","b"]'),
    ],
)
def test_go_templates(template: str, expected: str) -> None:
    assert render(template, DATA) == expected


@pytest.mark.parametrize(
    "template", ["{{.Nothing}}", "{{nonsense .Names}}", "{{if .N}}", "{{end}}"]
)
def test_go_templates_that_are_wrong(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, DATA)

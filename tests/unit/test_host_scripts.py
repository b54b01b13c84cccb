"""The host scripts run for real, on a stage: boot, system, driver, Docker, MongoDB's key."""

import os
import time
from pathlib import Path

import pytest

from provisioning.host import script
from tests.unit.host_stage import KEY, SMI, Server


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


# --- all


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


# --- what is refused before anything is changed

DRIVER = ("driver", "nvidia-driver-580-server", "575")
DOCKER = ("docker", "http://m.example/docker", "https://m.example/gpg")
OLD_DOCKER = {"dockerd": "exit 0", "docker": "echo 24.0.7"}
# A question of needrestart would wait for an answer for ever, so a silent one is asked for.
SILENT = """[ "$NEEDRESTART_MODE" = a ] && [ "$DEBIAN_FRONTEND" = noninteractive ] || exit 1
case "$*" in *install*) exit 100 ;; esac"""

# The commands that are not as they should be, what runs, and what it says.
REFUSED: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "a boot that failed": (
        {"cloud-init": "exit 1"},
        ("wait-for-boot",),
        "cloud-init status --long",
    ),
    "another processor": ({"dpkg": "echo arm64"}, ("base", ""), "for amd64"),
    "a configuration that sshd refuses": (
        {"dpkg-query": "printf 'ii '", "sshd": "exit 255"},
        ("base", ""),
        "sshd refuses its configuration",
    ),
    "a driver that is too old": (
        {"nvidia-smi": SMI.format(version="550.127.08")},
        DRIVER,
        "550.127.08 and 575 or later",
    ),
    "an error page for a key": ({"curl": "echo '<html>login</html>'"}, DOCKER, "is no signing key"),
    "no key": ({"curl": "exit 22"}, DOCKER, "cannot fetch"),
    "a failing installation": (
        {"apt-get": SILENT},
        DOCKER,
        "could not install docker-ce",
    ),
    "a Docker that stays old": (OLD_DOCKER, DOCKER, "25 or later is needed"),
}


@pytest.mark.parametrize(("fakes", "step", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(server: Server, fakes: dict[str, str], step: tuple[str, ...], said: str) -> None:
    for name, body in fakes.items():
        server.fake(name, body)
    assert said in server.fails(*step)
    assert server.calls("systemctl reload") == []
    installs = "docker" in fakes or "apt-get" in fakes
    assert installs or server.calls("apt-get") == []
    assert installs or not list((server.root / "etc").rglob("docker.asc"))


@pytest.mark.parametrize(
    ("release", "said"),
    [("VERSION_CODENAME=focal\n", "22.04 (jammy) and 24.04 (noble)"), ("", "unknown")],
)
def test_another_release_is_refused(server: Server, release: str, said: str) -> None:
    (server.root / "etc/os-release").write_text(release)
    assert said in server.fails("base", "")


# --- wait-for-boot


@pytest.mark.parametrize("code", [0, 2])
def test_cloud_init_may_end_with_recoverable_errors(server: Server, code: int) -> None:
    server.fake("cloud-init", f"exit {code}")
    server.passes("wait-for-boot")


def test_it_waits_for_the_package_database(server: Server) -> None:
    # Held at the first two looks.
    server.fake("fuser", f'[ "$(grep -c ^fuser {server.calls_file})" -le 2 ]')
    server.passes("wait-for-boot")
    assert len(server.calls("fuser")) == 3
    assert "lists/lock" in server.calls("fuser")[0]


# --- base


def test_base_keeps_the_system_as_it_is(server: Server) -> None:
    server.fake(
        "dpkg-query",
        """case "$*" in
        *linux-image*) echo 'ii  linux-image-5.15.0-1'; echo 'rc  linux-image-5.15.0-0' ;;
        *) printf 'ii ' ;;
        esac""",
    )
    server.passes("base", "")
    assert server.calls("apt-mark") == ["apt-mark hold linux-image-5.15.0-1"]
    assert "systemctl disable apt-daily-upgrade.timer" in server.calls("systemctl")
    assert "systemctl stop unattended-upgrades.service" in server.calls("systemctl")
    assert "Unattended-Upgrade" in (server.root / "etc/apt/apt.conf.d/90ai-lab").read_text()
    assert server.calls("apt-get") == [], "everything is there"


def test_base_sets_mirror_and_logins_once(server: Server) -> None:
    server.fake("dpkg-query", "printf 'ii '")
    sources = server.root / "etc/apt/sources.list"
    sources.parent.mkdir()
    other = "deb https://other.example/ubuntu jammy main\n"
    for host in ("cn.archive", "security"):
        sources.write_text(f"deb http://{host}.ubuntu.com/ubuntu/ jammy main\n{other}")
        server.passes("base", "http://m.example/ubuntu")
        assert sources.read_text() == f"deb http://m.example/ubuntu/ jammy main\n{other}"
    written = sources.stat()
    server.passes("base", "http://m.example/ubuntu")
    assert sources.stat().st_ino == written.st_ino, "a second run writes nothing"
    limit = (server.root / "etc/ssh/sshd_config.d/10-ai-lab.conf").read_text()
    assert limit == "MaxStartups 200:30:400\n"
    assert server.calls("systemctl reload") == ["systemctl reload ssh.service"]


# --- driver


def test_a_driver_of_the_image_is_kept(server: Server) -> None:
    server.fake("nvidia-smi", SMI.format(version="580.126.09"))
    server.passes(*DRIVER)
    assert server.calls("apt-get") == []


def _apt_brings_driver(server: Server, works: bool) -> None:
    body = SMI.format(version="580.126.09") if works else "echo has failed; exit 9"
    smi = server.bin / "nvidia-smi"
    server.fake(
        "apt-get",
        f"""case "$*" in *nvidia-driver*)
        printf '%s\\n' '#!/bin/bash' '{body}' >{smi}; chmod +x {smi} ;;
        esac""",
    )


def test_a_missing_driver_is_installed_without_a_reboot(server: Server) -> None:
    _apt_brings_driver(server, works=True)
    server.passes(*DRIVER)
    installs = [call for call in server.calls("apt-get") if " install " in call]
    assert "linux-headers-5.15.0-1 nvidia-driver-580-server" in installs[0]
    assert "DPkg::Lock::Timeout=600" in installs[0]
    assert "Acquire::https::Timeout=20" in installs[0]
    assert server.calls("reboot") == []
    server.passes("driver-ready", "575")


def test_a_driver_that_does_not_load_costs_a_reboot(server: Server) -> None:
    _apt_brings_driver(server, works=False)
    server.fake("modprobe", "exit 1")
    server.fake("sleep", "exit 0")
    server.passes(*DRIVER)
    # No new session may come in between: it would die with the server.
    assert "systemctl stop ssh.service" in server.calls("systemctl")
    deadline = time.monotonic() + 20
    while not server.calls("reboot"):
        assert time.monotonic() < deadline, "the server was never rebooted"
        time.sleep(0.05)
    # A server that has not rebooted is not waited for.
    assert "reboot it in the cloud's console" in server.fails("driver-ready", "575")


# --- docker and toolkit


def test_docker_is_installed_from_the_mirror(server: Server) -> None:
    server.fake("apt-get", f"cp {server.bin}/systemctl {server.bin}/dockerd")
    server.fake("docker", "echo 29.8.0")
    for _ in range(2):
        server.passes(*DOCKER)
    line = (server.root / "etc/apt/sources.list.d/docker.list").read_text()
    assert line == (
        "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] "
        "http://m.example/docker jammy stable\n"
    )
    assert KEY in (server.root / "etc/apt/keyrings/docker.asc").read_text()
    assert len([call for call in server.calls("apt-get") if "docker-ce" in call]) == 1


def test_an_images_old_docker_gives_way(server: Server) -> None:
    """Before 25 Docker refuses a container whose health check has a start interval."""
    server.fake("dockerd", "exit 0")
    server.fake("docker", "echo 24.0.7")
    newer = f"printf '#!/bin/bash\\necho 29.8.0\\n' >{server.bin}/docker"
    server.fake("apt-get", f'case "$*" in *docker-ce*) {newer} ;; esac')
    assert server.passes(*DOCKER).endswith("Docker 29.8.0 answers\n")


# As systemd does it: docker.service starts only with a file that Docker takes.
SYSTEMCTL = """case "$*" in
    *'restart docker'|'start docker') ! grep -qs broken "$LAB_ROOT/etc/docker/daemon.json" ;;
esac"""


def test_docker_that_does_not_start_with_its_file_is_started_without(server: Server) -> None:
    """The lab's own file comes with the next step."""
    server.fake("dockerd", "exit 0")
    server.fake("docker", "echo 29.8.0")
    server.fake("systemctl", SYSTEMCTL)
    config = server.root / "etc/docker/daemon.json"
    config.parent.mkdir()
    config.write_text("broken")
    assert "daemon.json.refused" in server.passes(*DOCKER)
    assert not config.exists()
    assert config.with_name("daemon.json.refused").read_text() == "broken"
    # Failed starts use up systemd's patience.
    assert "systemctl reset-failed docker" in server.calls("systemctl")


@pytest.mark.parametrize("config", [None, "fine"])
def test_docker_that_does_not_start_at_all_is_named(server: Server, config: str | None) -> None:
    server.fake("dockerd", "exit 0")
    server.fake("systemctl", 'case "$*" in "start docker") exit 1 ;; esac')
    place = server.root / "etc/docker/daemon.json"
    if config:
        place.parent.mkdir()
        place.write_text(config)
    told = server.fails(*DOCKER)
    assert "Docker does not start" in told
    assert "journalctl -u docker" in told
    assert not config or place.read_text() == config


def test_the_toolkit_comes_from_the_mirror_alone(server: Server) -> None:
    server.fake("apt-get", f"cp {server.bin}/systemctl {server.bin}/nvidia-ctk")
    server.passes("toolkit", "https://m.example/nv")
    listed = (server.root / "etc/apt/sources.list.d/nvidia-container-toolkit.list").read_text()
    assert listed.endswith("https://m.example/nv/stable/deb/amd64 /\n")
    assert "nvidia.github.io" not in listed
    assert "https://m.example/nv/gpgkey" in server.calls("curl")[0]


# --- daemon

RUNTIMES = '{"nvidia":{"path":"nvidia-container-runtime"},"runc":{}}'


@pytest.fixture
def daemon(server: Server) -> Server:
    server.fake("dockerd", "exit 0")
    server.fake("docker", f"case \"$*\" in *Runtimes*) echo '{RUNTIMES}' ;; *) echo 29 ;; esac")
    server.fake("dpkg-query", "echo 1.20.0")
    (server.home / "daemon.json").write_text('{"live-restore": true}\n')
    return server


def _restarts(server: Server) -> int:
    return len(server.calls("systemctl restart docker"))


def test_docker_is_restarted_only_when_something_changed(daemon: Server) -> None:
    def restarts_after_two_runs() -> int:
        for _ in range(2):
            daemon.passes("daemon", "daemon.json", "nvidia")
        return _restarts(daemon)

    assert restarts_after_two_runs() == 1
    (daemon.home / "daemon.json").write_text("{}\n")
    assert restarts_after_two_runs() == 2
    # Docker looks for the toolkit only when it starts.
    daemon.fake("dpkg-query", "echo 1.21.0")
    assert restarts_after_two_runs() == 3
    assert (daemon.root / "etc/docker/daemon.json").read_text() == "{}\n"


def test_an_edit_by_hand_is_mended_and_the_images_own_file_kept(daemon: Server) -> None:
    config = daemon.root / "etc/docker/daemon.json"
    config.parent.mkdir()
    config.write_text("of the image")
    daemon.run("daemon", "daemon.json", "none")
    config.write_text("by hand")
    daemon.run("daemon", "daemon.json", "none")
    assert config.read_text() == '{"live-restore": true}\n'
    assert _restarts(daemon) == 2
    kept = config.with_name("daemon.json.before-ai-lab")
    assert kept.read_text() == "of the image"


def test_a_file_that_docker_refuses_never_gets_in(daemon: Server) -> None:
    daemon.fake("dockerd", "echo unknown option >&2; exit 1")
    daemon.fails("daemon", "daemon.json", "none")
    assert not (daemon.root / "etc/docker/daemon.json").exists()
    assert _restarts(daemon) == 0


def test_a_restart_that_failed_is_tried_again(daemon: Server) -> None:
    daemon.fake("systemctl", "exit 1")
    daemon.fails("daemon", "daemon.json", "none")
    daemon.fake("systemctl", "exit 0")
    daemon.passes("daemon", "daemon.json", "none")
    assert _restarts(daemon) == 2


def test_a_runtime_that_docker_does_not_know_is_an_error(daemon: Server) -> None:
    daemon.fake("docker", 'case "$*" in *Runtimes*) echo \'{"runc":{}}\' ;; *) echo 29 ;; esac')
    said = daemon.fails("daemon", "daemon.json", "nvidia")
    assert "does not know the runtime nvidia" in said


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

"""The host scripts run for real, in a tree of their own, against commands that a case sets up.

Only the commands linked into that tree are on PATH, so nothing of this machine is touched or seen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from provisioning.host import script

# What a server brings. Everything else is a fake of the case, or missing.
TOOLS = [
    "awk", "bash", "basename", "cat", "chmod", "chown", "cmp", "cp", "cut", "dirname", "env",
    "grep", "head", "id", "mkdir", "mktemp", "mv", "nohup", "rm", "sed", "sha256sum", "sleep",
    "stat", "tail", "tee", "timeout", "tr", "wc",
]  # fmt: skip

UBUNTU = 'NAME="Ubuntu"\nVERSION_CODENAME=jammy\n'


class Server:
    """A login's home, a system tree, and the commands on PATH."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root, self.bin = folder / "home", folder / "root", folder / "bin"
        for path in (self.home, self.root / "etc", self.bin):
            path.mkdir(parents=True)
        (self.root / "etc/os-release").write_text(UBUNTU)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"this machine has no {tool}"
            (self.bin / tool).symlink_to(found)
        self.calls_file = folder / "calls"
        self.fake("dpkg", "echo amd64")
        self.fake("dpkg-query", "exit 1")
        self.fake("uname", "echo 5.15.0-1")
        self.fake("systemctl", "exit 0")
        self.fake("sshd", "exit 0")
        self.fake("apt-mark", "exit 0")

    def fake(self, name: str, body: str) -> None:
        """A command that notes its call and then does what the case says."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"{self.calls_file}"\n{body}\n')
        path.chmod(0o755)

    def remove(self, name: str) -> None:
        (self.bin / name).unlink()

    def run(self, name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a script as the step does; what it says and its errors come back in one text."""
        (self.home / f"{name}.sh").write_text(script(name))
        return self.start(f"{name}.sh", *arguments, stdin=stdin)

    def start(
        self, file: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script that lies in the login's home."""
        return subprocess.run(
            ["bash", file, *arguments],
            cwd=self.home,
            env={"PATH": str(self.bin), "LAB_ROOT": str(self.root), "HOME": str(self.home)},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, start: str) -> list[str]:
        """The calls so far that begin like this."""
        if not self.calls_file.exists():
            return []
        return [line for line in self.calls_file.read_text().splitlines() if line.startswith(start)]


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


# --- wait-for-boot


@pytest.mark.parametrize(("code", "accepted"), [(0, True), (2, True), (1, False)])
def test_cloud_init_may_end_with_recoverable_errors(
    server: Server, code: int, accepted: bool
) -> None:
    server.fake("cloud-init", f"exit {code}")
    run = server.run("wait-for-boot")
    assert (run.returncode == 0) is accepted, run.stdout
    assert accepted or "cloud-init status --long" in run.stdout


def test_it_waits_for_the_package_database(server: Server) -> None:
    # Held at the first two looks.
    server.fake("fuser", f'[ "$(grep -c ^fuser {server.calls_file})" -le 2 ]')
    assert server.run("wait-for-boot").returncode == 0
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
    assert server.run("base", "").returncode == 0
    assert server.calls("apt-mark") == ["apt-mark hold linux-image-5.15.0-1"]
    assert "systemctl disable apt-daily-upgrade.timer" in server.calls("systemctl")
    assert "systemctl stop unattended-upgrades.service" in server.calls("systemctl")
    assert "Unattended-Upgrade" in (server.root / "etc/apt/apt.conf.d/90ai-lab").read_text()
    assert server.calls("apt-get") == [], "everything is there"


def test_base_lets_many_log_in_at_once(server: Server) -> None:
    server.fake("dpkg-query", "printf 'ii '")
    for _ in range(2):
        assert server.run("base", "").returncode == 0
    limit = (server.root / "etc/ssh/sshd_config.d/10-ai-lab.conf").read_text()
    assert limit == "MaxStartups 200:30:400\n"
    assert server.calls("systemctl reload") == ["systemctl reload ssh.service"]


def test_base_does_not_load_what_sshd_refuses(server: Server) -> None:
    server.fake("dpkg-query", "printf 'ii '")
    server.fake("sshd", "exit 255")
    run = server.run("base", "")
    assert run.returncode == 1
    assert "sshd refuses its configuration" in run.stdout
    assert server.calls("systemctl reload") == []


def test_base_sets_the_mirror_once(server: Server) -> None:
    server.fake("dpkg-query", "printf 'ii '")
    sources = server.root / "etc/apt/sources.list"
    sources.parent.mkdir()
    sources.write_text(
        "deb http://cn.archive.ubuntu.com/ubuntu/ jammy main\n"
        "deb http://security.ubuntu.com/ubuntu jammy-security main\n"
        "deb https://other.example/ubuntu jammy main\n"
    )
    assert server.run("base", "http://m.example/ubuntu").returncode == 0
    assert sources.read_text() == (
        "deb http://m.example/ubuntu/ jammy main\n"
        "deb http://m.example/ubuntu/ jammy-security main\n"
        "deb https://other.example/ubuntu jammy main\n"
    )
    written = sources.stat()
    assert server.run("base", "http://m.example/ubuntu").returncode == 0
    assert sources.stat().st_ino == written.st_ino, "a second run writes nothing"


@pytest.mark.parametrize(
    ("release", "architecture", "said"),
    [
        ("VERSION_CODENAME=focal\n", "amd64", "22.04 (jammy) and 24.04 (noble)"),
        ("", "amd64", "unknown"),
        (UBUNTU, "arm64", "for amd64"),
    ],
)
def test_base_refuses_what_the_lab_does_not_know(
    server: Server, release: str, architecture: str, said: str
) -> None:
    (server.root / "etc/os-release").write_text(release)
    server.fake("dpkg", f"echo {architecture}")
    run = server.run("base", "")
    assert run.returncode == 1
    assert said in run.stdout


# --- driver

SMI = 'case "$*" in *driver_version*) echo {version} ;; *name*) echo "NVIDIA A10, 22731" ;; esac'


def test_a_driver_of_the_image_is_kept(server: Server) -> None:
    server.fake("nvidia-smi", SMI.format(version="580.126.09"))
    run = server.run("driver", "nvidia-driver-580-server", "575")
    assert run.returncode == 0, run.stdout
    assert server.calls("apt-get") == []


def test_a_driver_that_is_too_old_is_refused(server: Server) -> None:
    server.fake("nvidia-smi", SMI.format(version="550.127.08"))
    run = server.run("driver", "nvidia-driver-580-server", "575")
    assert run.returncode == 1
    assert "550.127.08 and 575 or later" in run.stdout
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
    server.fake("modprobe", "exit 0")
    server.fake("reboot", "exit 0")
    run = server.run("driver", "nvidia-driver-580-server", "575")
    assert run.returncode == 0, run.stdout
    installs = [call for call in server.calls("apt-get") if " install " in call]
    assert "linux-headers-5.15.0-1 nvidia-driver-580-server" in installs[0]
    assert "DPkg::Lock::Timeout=600" in installs[0]
    assert "Acquire::https::Timeout=20" in installs[0]
    assert server.calls("reboot") == []
    assert server.run("driver-ready", "575").returncode == 0


def test_a_driver_that_does_not_load_costs_a_reboot(server: Server) -> None:
    _apt_brings_driver(server, works=False)
    server.fake("modprobe", "exit 1")
    server.fake("reboot", "exit 0")
    server.remove("sleep")
    server.fake("sleep", "exit 0")
    run = server.run("driver", "nvidia-driver-580-server", "575")
    assert run.returncode == 0, run.stdout
    # No new session may come in between: it would die with the server.
    assert "systemctl stop ssh.service" in server.calls("systemctl")
    deadline = time.monotonic() + 20
    while not server.calls("reboot"):
        assert time.monotonic() < deadline, "the server was never rebooted"
        time.sleep(0.05)
    # A server that has not rebooted is not waited for.
    refused = server.run("driver-ready", "575")
    assert refused.returncode == 1
    assert "reboot it in the cloud's console" in refused.stdout


# --- docker and toolkit

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


def test_docker_is_installed_from_the_mirror(server: Server) -> None:
    server.fake("curl", f"echo '{KEY}'")
    server.fake("apt-get", f"cp {server.bin}/systemctl {server.bin}/dockerd")
    server.fake("docker", "echo 29.8.0")
    for _ in range(2):
        run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
        assert run.returncode == 0, run.stdout
    line = (server.root / "etc/apt/sources.list.d/docker.list").read_text()
    assert line == (
        "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] "
        "http://m.example/docker jammy stable\n"
    )
    assert KEY in (server.root / "etc/apt/keyrings/docker.asc").read_text()
    assert len([call for call in server.calls("apt-get") if "docker-ce" in call]) == 1


@pytest.mark.parametrize(
    ("curl", "said"),
    [("echo '<html>login</html>'", "is no signing key"), ("exit 22", "cannot fetch")],
)
def test_an_error_page_is_no_key(server: Server, curl: str, said: str) -> None:
    server.fake("curl", curl)
    server.fake("apt-get", "exit 0")
    run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
    assert run.returncode == 1
    assert said in run.stdout
    assert server.calls("apt-get") == []
    assert not (server.root / "etc/apt/keyrings/docker.asc").exists()


def test_a_failing_installation_stops_the_step(server: Server) -> None:
    server.fake("curl", f"echo '{KEY}'")
    # A question of needrestart would wait for an answer for ever, so a silent one is asked for.
    server.fake(
        "apt-get",
        """[ "$NEEDRESTART_MODE" = a ] && [ "$DEBIAN_FRONTEND" = noninteractive ] || exit 1
        case "$*" in *install*) exit 100 ;; esac""",
    )
    run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
    assert run.returncode == 1
    assert "could not install docker-ce" in run.stdout


def test_an_images_old_docker_gives_way(server: Server) -> None:
    """Before 25 Docker refuses a container whose health check has a start interval."""
    server.fake("curl", f"echo '{KEY}'")
    server.fake("dockerd", "exit 0")
    server.fake("docker", "echo 24.0.7")
    newer = f"printf '#!/bin/bash\\necho 29.8.0\\n' >{server.bin}/docker"
    server.fake("apt-get", f'case "$*" in *docker-ce*) {newer} ;; esac')
    run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
    assert run.returncode == 0, run.stdout
    assert run.stdout.endswith("Docker 29.8.0 answers\n")


def test_a_docker_that_stays_old_is_refused(server: Server) -> None:
    server.fake("curl", f"echo '{KEY}'")
    server.fake("dockerd", "exit 0")
    server.fake("docker", "echo 24.0.7")
    server.fake("apt-get", "exit 0")
    run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
    assert run.returncode == 1
    assert "25 or later is needed" in run.stdout


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
    run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
    assert run.returncode == 0, run.stdout
    assert "daemon.json.refused" in run.stdout
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
    run = server.run("docker", "http://m.example/docker", "https://m.example/gpg")
    assert run.returncode == 1
    assert "Docker does not start" in run.stdout
    assert "journalctl -u docker" in run.stdout
    assert not config or place.read_text() == config


def test_the_toolkit_comes_from_the_mirror_alone(server: Server) -> None:
    server.fake("curl", f"echo '{KEY}'")
    server.fake("apt-get", f"cp {server.bin}/systemctl {server.bin}/nvidia-ctk")
    run = server.run("toolkit", "https://m.example/nv")
    assert run.returncode == 0, run.stdout
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
    def once() -> None:
        run = daemon.run("daemon", "daemon.json", "nvidia")
        assert run.returncode == 0, run.stdout

    once()
    once()
    assert _restarts(daemon) == 1
    (daemon.home / "daemon.json").write_text("{}\n")
    once()
    assert _restarts(daemon) == 2
    # Docker looks for the toolkit only when it starts.
    daemon.fake("dpkg-query", "echo 1.21.0")
    once()
    assert _restarts(daemon) == 3
    once()
    assert _restarts(daemon) == 3
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
    run = daemon.run("daemon", "daemon.json", "none")
    assert run.returncode == 1
    assert not (daemon.root / "etc/docker/daemon.json").exists()
    assert _restarts(daemon) == 0


def test_a_restart_that_failed_is_tried_again(daemon: Server) -> None:
    daemon.fake("systemctl", "exit 1")
    assert daemon.run("daemon", "daemon.json", "none").returncode == 1
    daemon.fake("systemctl", "exit 0")
    assert daemon.run("daemon", "daemon.json", "none").returncode == 0
    assert _restarts(daemon) == 2


def test_a_runtime_that_docker_does_not_know_is_an_error(daemon: Server) -> None:
    daemon.fake("docker", 'case "$*" in *Runtimes*) echo \'{"runc":{}}\' ;; *) echo 29 ;; esac')
    run = daemon.run("daemon", "daemon.json", "nvidia")
    assert run.returncode == 1
    assert "does not know the runtime nvidia" in run.stdout


# --- pull


@pytest.fixture
def puller(server: Server) -> Server:
    server.remove("sleep")
    server.fake("sleep", "exit 0")
    return server


def _docker_pull(server: Server, *lines: str) -> None:
    """Each pull ends with the next line; an empty one succeeds."""
    answers = "\n".join(
        f"{turn}) {f'echo {line!r} >&2; exit 1' if line else 'exit 0'} ;;"
        for turn, line in enumerate(lines, start=1)
    )
    server.fake(
        "docker",
        f"""[ "$1" = pull ] || exit 1
        case "$(grep -c '^docker pull' {server.calls_file})" in
        {answers}
        esac""",
    )


@pytest.mark.parametrize(
    ("answers", "pulls", "said"),
    [
        (["unexpected EOF", "net/http: TLS handshake timeout", ""], 3, "attempt 3 of 5"),
        (["error: connection reset by peer"] * 4 + [""], 5, "attempt 5 of 5"),
        (["502 Bad Gateway", ""], 2, "attempt 2"),
    ],
)
def test_an_interrupted_pull_is_taken_up_again(
    puller: Server, answers: list[str], pulls: int, said: str
) -> None:
    _docker_pull(puller, *answers)
    run = puller.run("pull", "a/b:1")
    assert run.returncode == 0, run.stdout
    assert len(puller.calls("docker pull")) == pulls
    assert said in run.stdout


@pytest.mark.parametrize(
    ("answer", "pulls", "said"),
    [
        ("manifest for a/b:1 not found: manifest unknown", 1, "name and tag in the setting images"),
        ("pull access denied for a/b", 1, "cannot be had"),
        ("lookup r.example: no such host", 1, "does not resolve"),
        ("write /var/lib: no space left on device", 1, "larger diskSizeGiB"),
        ("something nobody has seen", 1, "something nobody has seen"),
        ("unexpected EOF", 5, "did not come in 5 attempts: unexpected EOF"),
    ],
)
def test_what_will_not_come_is_not_tried_again(
    puller: Server, answer: str, pulls: int, said: str
) -> None:
    _docker_pull(puller, *[answer] * 5)
    run = puller.run("pull", "a/b:1")
    assert run.returncode == 1
    assert len(puller.calls("docker pull")) == pulls
    assert said in run.stdout


# Seen on Docker 20.10 with a dead mirror and one that has no such tag: the Hub is asked in the end.
FELL_THROUGH = (
    'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'
)


def _mirrors(server: Server, answers: dict[str, str]) -> None:
    """Docker with these mirrors; what each of them says of any manifest, "" where it has it."""
    listed = ",".join(f'"https://{host}/"' for host in answers)
    cases = "\n".join(
        f"'manifest inspect {host}/'*) {f'echo {said!r} >&2; exit 1' if said else 'exit 0'} ;;"
        for host, said in answers.items()
    )
    server.fake(
        "docker",
        f"""case "$*" in
        info*) echo '[{listed}]' ;;
        {cases}
        pull*) echo '{FELL_THROUGH}' >&2; exit 1 ;;
        *) exit 1 ;;
        esac""",
    )


DEAD = "failed to configure transport: connect: connection refused"
UNKNOWN_TAG = "no such manifest: m/library/mysql:1.2.3"


@pytest.mark.parametrize(
    ("image", "mirrors", "said"),
    [
        ("mysql:1.2.3", {"a.example": DEAD, "b.example": UNKNOWN_TAG}, "no registry mirror knows"),
        ("a/b:1.2.3", {"b.example": "manifest unknown"}, "name and tag in the setting images"),
        # A mirror has it, or none answered: then it is the way that is wrong.
        ("mysql:1.2.3", {"a.example": UNKNOWN_TAG, "b.example": ""}, "name does not resolve"),
        ("mysql:1.2.3", {"a.example": DEAD}, "name does not resolve"),
        ("mysql:1.2.3", {}, "name does not resolve"),
        # Mirrors stand for Docker Hub only.
        ("r.example/a/b:1", {"a.example": UNKNOWN_TAG}, "name does not resolve"),
    ],
)
def test_a_wrong_tag_is_called_that_whichever_mirror_answered(
    puller: Server, image: str, mirrors: dict[str, str], said: str
) -> None:
    _mirrors(puller, mirrors)
    run = puller.run("pull", image)
    assert run.returncode == 1
    assert said in run.stdout
    assert len(puller.calls("docker pull")) == 1


def test_a_mirror_is_asked_by_the_hub_s_full_name(puller: Server) -> None:
    _mirrors(puller, {"m.example": UNKNOWN_TAG})
    puller.run("pull", "mysql:1.2.3")
    puller.run("pull", "a/b:1")
    assert puller.calls("docker manifest") == [
        "docker manifest inspect m.example/library/mysql:1.2.3",
        "docker manifest inspect m.example/a/b:1",
    ]


def test_an_image_that_is_there_is_not_pulled(puller: Server) -> None:
    puller.fake("docker", "exit 0")
    assert puller.run("pull", "a/b:1").returncode == 0
    assert puller.calls("docker") == ["docker image inspect a/b:1"]


# --- prove


def test_the_proof_is_a_container_that_sees_the_gpu(server: Server) -> None:
    server.fake("nvidia-smi", SMI.format(version="580.126.09"))
    server.fake("docker", 'case "$1" in version) echo 29.8.0 ;; esac')
    run = server.run("prove", "575", "pg:1")
    assert run.returncode == 0, run.stdout
    assert server.calls("docker run") == [
        "docker run --rm --name ai-lab-proof --gpus all pg:1 nvidia-smi"
    ]


@pytest.mark.parametrize(
    ("version", "run", "said"),
    [
        ("550.1", "exit 0", "575 or later is needed"),
        ("580.1", "echo 'could not select device driver' >&2; exit 125", "could not select device"),
        ("580.1", "exit 3", "nvidia-smi said nothing and ended with 3"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_an_error(
    server: Server, version: str, run: str, said: str
) -> None:
    server.fake("nvidia-smi", SMI.format(version=version))
    server.fake("docker", f'case "$1" in version) echo 29.8.0 ;; run) {run} ;; esac')
    proof = server.run("prove", "575", "pg:1")
    assert proof.returncode == 1
    assert said in proof.stdout


@pytest.mark.parametrize(("said", "last"), [("", "nothing"), ("echo pulling", "pulling")])
def test_a_proof_that_takes_too_long_says_what_it_waited_for(
    server: Server, said: str, last: str
) -> None:
    """At the limit `timeout` ends the command, and it is the only one that says so."""
    server.fake("nvidia-smi", SMI.format(version="580.1"))
    server.fake("docker", f'case "$1" in version) echo 29.8.0 ;; run) {said} ;; esac')
    server.remove("timeout")
    server.fake("timeout", 'shift; "$@"; exit 124')
    proof = server.run("prove", "575", "pg:1")
    assert proof.returncode == 1
    limit = server.calls("timeout")[0].split()[1]
    assert f"waited {limit} s for a container to see the GPU; last seen: {last};" in proof.stdout
    assert "docker ps -a" in proof.stdout
    # Nothing is left running.
    assert server.calls("docker rm")[-1] == "docker rm -f ai-lab-proof"


def test_a_server_without_gpu_proves_docker_only(server: Server) -> None:
    server.fake("docker", "echo 29.8.0")
    run = server.run("prove", "none", "pg:1")
    assert run.returncode == 0, run.stdout
    assert server.calls("docker run") == []


# --- MongoDB's key


def test_the_key_is_in_place_and_nobody_else_can_read_it(server: Server) -> None:
    for _ in range(2):
        run = server.run("mongo-keyfile", stdin="c2VjcmV0a2V5\n")
        assert run.returncode == 0, run.stdout
        assert "c2VjcmV0a2V5" not in run.stdout
    keyfile = server.home / "ai-lab/mongo/keyfile"
    assert keyfile.read_text() == "c2VjcmV0a2V5\n"
    assert keyfile.stat().st_mode & 0o777 == 0o400
    if os.getuid() == 0:
        assert (keyfile.stat().st_uid, keyfile.stat().st_gid) == (999, 999)
    assert [path.name for path in keyfile.parent.iterdir()] == ["keyfile"]


@pytest.mark.parametrize("key", ["", "abc", "with-dash-es", "a" * 1025])
def test_a_key_that_mongodb_would_refuse_never_gets_in(server: Server, key: str) -> None:
    run = server.run("mongo-keyfile", stdin=key)
    assert run.returncode == 1
    assert "base64" in run.stdout
    assert not key or key not in run.stdout
    assert list((server.home / "ai-lab/mongo").iterdir()) == []

"""The host's steps on a real server: apt, dpkg, systemd, sshd and Docker judge them.

The cheaper tests of the scripts (tests/unit/test_host_scripts.py) run them against answers that we
have written; only here does a real one say whether it takes what they ask.
"""

import json

import pytest

from tests.server.conftest import SECRETS, OnMirror, Rented
from tests.server.shell import Ran, until

pytestmark = pytest.mark.timeout(1800)

LOCK = "/run/hold"


@pytest.fixture(scope="module")
def prepared(rented: Rented) -> dict[str, Ran]:
    """What each step said when the server was new."""
    return rented.prepare()


def test_docker_is_installed_by_our_step(rented: Rented, prepared: dict[str, Ran]) -> None:
    sources = rented.shell.out("cat /etc/apt/sources.list.d/docker.list")
    assert rented.plan.region.docker_apt in sources
    assert "install ok installed" in rented.shell.out("dpkg -s docker-ce | grep Status")
    assert rented.shell.out("systemctl is-enabled docker") == "enabled"
    assert prepared["docker"].said.strip().endswith("answers")


def test_the_driver_was_loaded_by_a_reboot(rented: Rented, prepared: dict[str, Ran]) -> None:
    assert "rebooting: the driver needs it" in prepared["driver"].said
    assert "driver 580.126.09 answers" in prepared["driver-ready"].said
    assert "a container sees the GPU" in prepared["prove"].said


def test_nothing_upgrades_by_itself(rented: Rented, prepared: dict[str, Ran]) -> None:
    enabled = rented.shell.run("systemctl is-enabled apt-daily.timer apt-daily-upgrade.timer")
    assert enabled.said.split() == ["disabled", "disabled"]
    assert rented.shell.out("sshd -T | grep ^maxstartups") == "maxstartups 200:30:400"


def test_dockers_configuration_is_in_force(rented: Rented, prepared: dict[str, Ran]) -> None:
    info = json.loads(rented.shell.out("docker info --format '{{json .}}'"))
    assert info["LoggingDriver"] == "json-file"
    assert info["LiveRestoreEnabled"] is True
    assert "nvidia" in info["Runtimes"]
    mirrors = [address.rstrip("/") for address in info["RegistryConfig"]["Mirrors"]]
    assert mirrors == list(rented.plan.region.registry_mirrors)


def test_logs_are_rotated(rented: Rented, prepared: dict[str, Ran]) -> None:
    """200 MB of log leave three files of at most 50 MB."""
    image = rented.plan.containers["pg"].image
    lines = "yes $(printf %01000d 0) | head -n 200000"
    rented.shell.out(f"docker run --name talker {image} sh -c {lines!r} >/dev/null")
    log = rented.shell.out("docker inspect --format '{{.LogPath}}' talker")
    sizes = [int(size) for size in rented.shell.out(f"stat -c %s {log}*").split()]
    rented.shell.out("docker rm talker")
    assert len(sizes) == 3
    assert max(sizes) < 51_000_000


def test_a_second_run_changes_and_restarts_nothing(
    rented: Rented, prepared: dict[str, Ran]
) -> None:
    image = rented.plan.containers["pg"].image
    rented.shell.out(f"docker run -d --name witness {image} sleep infinity")
    before = _traces(rented)
    rented.prepare()
    after = _traces(rented)
    rented.shell.out("docker rm -f witness")
    assert after == before


@pytest.mark.fault("apt locked")
def test_a_locked_package_database_is_waited_for(rented: Rented, prepared: dict[str, Ran]) -> None:
    rented.shell.out(f"touch {LOCK}")
    hold = f"DPkg::Pre-Invoke::=while [ -e {LOCK} ]; do sleep 0.2; done"
    holder = rented.shell.begin(f"apt-get -y -o {hold!r} install tree")
    until(
        lambda: rented.shell.run("fuser /var/lib/dpkg/lock-frontend").code == 0,
        "apt to hold its lock",
        seen=lambda: holder.said,
    )
    waiting = rented.shell.begin_step(rented.steps["wait-for-boot"])
    waiting.wait_for("waiting for the package database to be free")
    assert waiting.runs
    rented.shell.out(f"rm {LOCK}")
    assert waiting.end().code == 0
    assert holder.end().code == 0


def test_a_configuration_that_docker_refuses_changes_nothing(
    rented: Rented, prepared: dict[str, Ran]
) -> None:
    before = _traces(rented)
    path = "ai-lab/host/daemon.json"
    step = rented.steps["daemon"]
    rented.shell.upload(step)
    rented.shell.out(f"cat >{path}", '{"log-driver": "json-file", "no-such-setting": true}')
    ran = rented.shell.run(step.command)
    assert ran.code != 0
    assert f"Docker refuses {path}" in ran.said
    rented.shell.upload(step)
    assert _traces(rented) == before


@pytest.mark.fault("Docker kept down by a bad file")
def test_a_docker_that_a_bad_file_keeps_down_is_healed(
    rented: Rented, prepared: dict[str, Ran]
) -> None:
    rented.shell.out("echo '{\"no-such-setting\": true}' >/etc/docker/daemon.json")
    assert rented.shell.run("systemctl restart docker").code != 0
    ran = rented.shell.step(rented.steps["docker"])
    assert ran.code == 0, ran.said
    assert "kept as daemon.json.refused" in ran.said
    assert rented.shell.step(rented.steps["daemon"]).code == 0
    test_dockers_configuration_is_in_force(rented, prepared)


@pytest.mark.fault("pull cut once")
def test_a_pull_that_is_cut_goes_on(
    rented: Rented, prepared: dict[str, Ran], on_mirror: OnMirror
) -> None:
    _forget_images(rented)
    on_mirror("touch /run/slow")
    pulling = rented.shell.begin_step(rented.steps["pull-fastgpt"])
    pulling.wait_for("Pulling fs layer")
    on_mirror("rm /run/slow")
    on_mirror("pkill -KILL -f 'nginx: worker'")
    ran = pulling.end()
    assert ran.code == 0, ran.said
    assert "Retrying" in ran.said or "attempt 2 of 5" in ran.said


@pytest.mark.fault("mirror dead for a while")
def test_a_registry_that_is_away_is_asked_again(
    rented: Rented, prepared: dict[str, Ran], on_mirror: OnMirror
) -> None:
    _forget_images(rented)
    on_mirror("pkill -STOP docker-registry")
    try:
        pulling = rented.shell.begin_step(rented.steps["pull-fastgpt"])
        pulling.wait_for("attempt 2 of 5")
    finally:
        on_mirror("pkill -CONT docker-registry")
    ran = pulling.end()
    assert ran.code == 0, ran.said


def test_an_image_that_no_registry_has_is_told_at_once(
    rented: Rented, prepared: dict[str, Ran]
) -> None:
    command = rented.steps["pull-fastgpt"].command
    ran = rented.shell.run(command.replace(":v4", ":v99"))
    assert ran.code == 1
    assert "cannot be had" in ran.said
    assert "attempt 2" not in ran.said


@pytest.mark.fault("disk full")
def test_a_full_disk_is_told_and_undone(rented: Rented, prepared: dict[str, Ran]) -> None:
    """As small as /etc/docker can be: the new file does not fit beside the old one."""
    step = rented.steps["daemon"]
    rented.shell.out("cp -r /etc/docker /run/kept && mount -t tmpfs -o size=4k none /etc/docker")
    rented.shell.out("cp /run/kept/daemon.json /etc/docker")
    # The image's own file was put aside before: an empty one needs no room.
    rented.shell.out("touch /etc/docker/daemon.json.before-ai-lab")
    rented.shell.out("rm /var/lib/ai-lab/docker-runs-with")
    before = rented.shell.out("sha256sum /etc/docker/daemon.json")
    ran = rented.shell.step(step)
    assert ran.code == 1
    assert "cannot write /etc/docker/daemon.json; is the disk full?" in ran.said
    assert rented.shell.out("sha256sum /etc/docker/daemon.json") == before
    rented.shell.out("umount /etc/docker")
    assert rented.shell.step(step).code == 0


@pytest.mark.fault("cut inside a command")
def test_a_command_whose_session_is_cut_can_run_again(
    rented: Rented, prepared: dict[str, Ran], on_mirror: OnMirror
) -> None:
    _forget_images(rented)
    step = rented.steps["pull-fastgpt"]
    on_mirror("touch /run/slow")
    cut = rented.shell.begin_step(step)
    cut.wait_for("Pulling fs layer")
    cut.kill()
    on_mirror("rm /run/slow")
    again = rented.shell.step(step)
    assert again.code == 0, again.said


@pytest.mark.fault("the server rebooted")
def test_a_reboot_brings_everything_back(rented: Rented, prepared: dict[str, Ran]) -> None:
    image = rented.plan.containers["pg"].image
    rented.shell.out(f"docker run -d --init --restart always --name witness {image} sleep infinity")
    rented.machine.reboot()
    ran = rented.shell.step(rented.steps["driver-ready"])
    assert ran.code == 0, ran.said
    until(
        lambda: rented.shell.run("docker ps --format '{{.Names}}'").said.strip() == "witness",
        "the container to be there again",
        seen=lambda: rented.shell.run("docker ps -a").said,
    )
    rented.shell.out("docker rm -f witness")


def test_no_secret_is_left_on_the_disk(rented: Rented, prepared: dict[str, Ran]) -> None:
    told = "".join(ran.said for ran in prepared.values())
    for name, secret in SECRETS.items():
        assert secret not in told
        found = rented.shell.run(f"grep -rlF {secret} /root /etc /var/log /tmp").said.split()
        assert found == (["/root/ai-lab/mongo/keyfile"] if name == "mongo_key" else [])


def _traces(rented: Rented) -> str:
    """What a step could change or restart, on the server's disk and among what runs."""
    return rented.shell.out(
        "find /etc /root /var/lib/dpkg/status /var/lib/ai-lab -type f | sort | xargs sha256sum;"
        "systemctl show -p Id,MainPID,ActiveEnterTimestamp docker containerd ssh;"
        "docker ps -a --no-trunc --format '{{.ID}} {{.Names}} {{.CreatedAt}}';"
        "docker images --digests --no-trunc --format '{{.Repository}}:{{.Tag}} {{.Digest}}' | sort"
    )


def _forget_images(rented: Rented) -> None:
    rented.shell.out("docker system prune --all --force")

"""What the attached docker provider asks of an engine, asked of a real one over the real `ssh`.

The records of the stage answer as they were written to; here Docker itself says whether the
configurations that we send are its own, and ssh whether our options are.
"""

import subprocess

import pytest

from provisioning.tunnel import ssh_options
from rehearsal.docker.engine import Engine, EngineError, Unreachable
from rehearsal.real_server.over_ssh import OverSsh
from tests.server.conftest import Rented
from tests.server.shell import until

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def engine(rented: Rented) -> Engine:
    """The engine of a prepared server, by the options that the lab gives to `ssh`."""
    rented.prepare()
    shell = rented.shell
    key = shell.out("cat /etc/ssh/ssh_host_ed25519_key.pub").rpartition(" ")[0]
    return OverSsh(f"ssh://root@{shell.address}:{shell.port}", ssh_options(shell.key_file, key))


def test_a_container_is_made_with_all_that_a_lab_asks_for(rented: Rented, engine: Engine) -> None:
    image = rented.plan.containers["pg"].image
    engine.pull_image(image)
    engine.create_network({"Name": "lab", "Driver": "bridge", "CheckDuplicate": True})
    engine.create_volume({"Name": "kept"})
    made = engine.create_container(
        "one",
        {
            "Image": engine.inspect_image(image)["Id"],
            "Entrypoint": ["sleep", "infinity"],
            "Env": ["GREETING=hello"],
            "Healthcheck": {
                "Test": ["CMD-SHELL", 'grep -q hello /app/data/told && test "$GREETING" = hello'],
                "Interval": 1_000_000_000,
                "StartPeriod": 60_000_000_000,
                "StartInterval": 1_000_000_000,
            },
            "HostConfig": {
                "Binds": ["kept:/kept"],
                "Init": True,
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "3"}},
                "Memory": 64 << 20,
                "MemorySwap": 64 << 20,
                "NetworkMode": "lab",
                "RestartPolicy": {"Name": "unless-stopped"},
            },
        },
    )
    engine.put_file(made, "/app/data/told", b"hello\n", 0o640)
    engine.start_container("one")
    engine.start_container("one")
    until(
        lambda: engine.inspect_container("one")["State"]["Health"]["Status"] == "healthy",
        "the container to be healthy",
        seen=lambda: engine.inspect_container("one")["State"],
    )
    listed = rented.shell.out("docker exec one stat -c '%a %U' /app/data/told")
    assert listed == "640 root"
    engine.update_container("one", {"Memory": 128 << 20, "MemorySwap": 128 << 20})
    assert engine.inspect_container(made)["HostConfig"]["Memory"] == 128 << 20


def test_what_is_in_use_cannot_be_removed(engine: Engine) -> None:
    with pytest.raises(EngineError, match="active endpoints") as network:
        engine.remove_network("lab")
    with pytest.raises(EngineError, match="in use") as volume:
        engine.remove_volume("kept")
    assert (network.value.status, volume.value.status) == (403, 409)
    engine.stop_container("one", 10)
    engine.remove_container("one", volumes=True)
    engine.remove_network("lab")
    engine.remove_volume("kept")
    for look in (engine.inspect_container, engine.inspect_network, engine.inspect_volume):
        with pytest.raises(EngineError) as gone:
            look("one")
        assert gone.value.status == 404


def test_an_image_that_no_registry_has_is_refused(rented: Rented, engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"not found|manifest unknown"):
        engine.pull_image(f"{rented.plan.containers['fastgpt'].image.rpartition(':')[0]}:v99")


def test_a_reboot_breaks_the_connection_and_no_more(rented: Rented, engine: Engine) -> None:
    rented.machine.reboot()

    def answers() -> bool:
        try:
            return bool(engine.inspect_network("bridge"))
        except (EngineError, Unreachable):
            return False

    until(answers, "the engine to answer again")


@pytest.mark.fault("host key changed")
def test_another_servers_key_is_not_trusted(rented: Rented, engine: Engine) -> None:
    shell = rented.shell
    other = shell.key_file.with_name("other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    key = other.with_name("other.pub").read_text().rpartition(" ")[0]
    stranger = OverSsh(f"ssh://root@{shell.address}:{shell.port}", ssh_options(shell.key_file, key))
    with pytest.raises(Unreachable, match="Host key verification failed"):
        stranger.inspect_network("bridge")

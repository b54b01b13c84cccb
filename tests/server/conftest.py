"""A real server for tests: the product's own scripts on it, over SSH.

Where no Docker engine runs these tests are skipped and say why; with REAL_SERVER=required that is
a failure.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import docker
import pytest

from provisioning.host import Step
from provisioning.plan import Plan, plan
from provisioning.ports import SHARE_PORT, tls_ports
from provisioning.settings import Settings
from rehearsal.addresses import SSH_PORT, claim_block
from rehearsal.real_server.engine import NoEngine, local_engine
from rehearsal.real_server.images import ready
from rehearsal.real_server.server import Grounds, RealServer
from rehearsal.real_server.services import image_for, service_images
from tests.server.shell import Ran, Shell
from tests.unit.program import given

OnMirror = Callable[[str], None]
PORTS = {SHARE_PORT: 40443, **{port: port for port in tls_ports("current").values()}}
"""Of a server to those of this machine, where not everybody may take the small ones."""
SECRETS = {
    name: f"{name.replace('_', '')}1secret" for name in ("mysql", "mysql_root", "pg", "mongo")
}
SECRETS["mongo_key"] = "bW9uZ28ga2V5IG9mIGEgdGVzdA=="


@dataclass(frozen=True)
class Rented:
    """A server that runs, root's login on it, and the steps that the program would take there."""

    machine: RealServer
    shell: Shell
    plan: Plan

    @property
    def steps(self) -> dict[str, Step]:
        return {step.name: step for step in self.plan.steps}

    def prepare(self) -> dict[str, Ran]:
        """Run every step, as a first `up` does; a step's failure is the test's."""
        done = {}
        for name, step in self.steps.items():
            done[name] = self.shell.step(step, SECRETS)
            assert done[name].code == 0, f"{name}: {done[name].said}"
        return done


@pytest.fixture(scope="session")
def lab_plan() -> Plan:
    """Of the reference lab, with all that it may have."""
    return plan(Settings.model_validate(given("dev", Path("no-key")) | {"codeSandbox": True}))


@pytest.fixture(scope="session")
def seeds_plan() -> Plan:
    return plan(Settings.model_validate(given("seeds", Path("no-key"))))


@pytest.fixture(scope="session")
def docker_engine() -> docker.DockerClient:
    try:
        return local_engine()
    except NoEngine as reason:
        if os.environ.get("REAL_SERVER") == "required":
            raise
        pytest.skip(f"not run: {reason}")


@pytest.fixture(scope="session")
def grounds(
    docker_engine: docker.DockerClient, lab_plan: Plan, seeds_plan: Plan
) -> Iterator[Grounds]:
    """Network and mirror, with an image under each configured name."""
    grounds = Grounds(docker_engine, ready(docker_engine, print))
    try:
        grounds.open()
        made = service_images(docker_engine, print)
        pulled = {
            container.image: service
            for each in (seeds_plan, lab_plan)
            for service, container in each.containers.items()
        }
        for reference, service in pulled.items():
            grounds.publish(image_for(made, service, reference), reference)
        yield grounds
    finally:
        grounds.close()


@pytest.fixture
def on_mirror(grounds: Grounds) -> OnMirror:
    """Runs a command on the mirror, which has to succeed."""

    def run(command: str) -> None:
        code, said = grounds.mirror.exec_run(shlex.split(command))
        assert code == 0, said

    return run


@pytest.fixture(scope="module")
def rented(
    grounds: Grounds,
    lab_plan: Plan,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rented]:
    """A new server for each file of tests, as it is when it was just rented."""
    block = claim_block()
    folder = tmp_path_factory.mktemp("key")
    name = request.module.__name__.rpartition("_")[2]
    address = block.fresh_server((*PORTS.values(), SSH_PORT))
    machine = RealServer(
        grounds,
        name,
        _make_key(folder / "id"),
        {22: (address, SSH_PORT), **{port: (address, here) for port, here in PORTS.items()}},
    )
    machine.start()
    try:
        yield Rented(machine, Shell(address, SSH_PORT, folder / "id"), lab_plan)
    finally:
        machine.destroy()
        block.release()


def _make_key(path: Path) -> str:
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    return key.export_public_key().decode()

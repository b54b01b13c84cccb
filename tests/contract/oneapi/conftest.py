"""The real OneAPI: one for the cases that need nothing special, or one of a case's own."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.oneapi.subject import OneApi, start
from tests.contract.processes import Program


@pytest.fixture(scope="session")
def shared(work: Path) -> Iterator[OneApi]:
    """One OneAPI for the session, with root's access token."""
    running = start(work / "oneapi", {})
    running.wait_until_listening()
    running.become_root()
    yield running
    running.program.stop()


@pytest.fixture
def oneapi(shared: OneApi, request: pytest.FixtureRequest) -> OneApi:
    """The shared OneAPI, called as root; names of its things are the case's own."""
    running = OneApi(shared.program, f"{zlib.crc32(request.node.name.encode()):08x}")
    running.access_token = shared.access_token
    return running


@pytest.fixture(name="start")
def start_own(programs: list[Program], tmp_path: Path) -> Callable[..., OneApi]:
    """Starts a OneAPI of the case's own, with the given environment over the usual one."""

    def started(**environment: str) -> OneApi:
        running = start(tmp_path / "own", environment)
        programs.append(running.program)
        running.wait_until_listening()
        return running

    return started

"""The real OneAPI: one for the cases that need nothing special, or one of a case's own."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.oneapi.subject import OneApi, start


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneApi]:
    """One OneAPI for the session, with root's access token."""
    running = start(tmp_path_factory.mktemp("oneapi"))
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
def start_own(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., OneApi]:
    """Starts a OneAPI of the case's own, with the given environment over the usual one."""

    def begin(**environment: str) -> OneApi:
        made = start(tmp_path / "own", **environment)
        request.addfinalizer(made.program.stop)
        return made

    return begin

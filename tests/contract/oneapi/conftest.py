"""The real OneAPI: one for the cases that need nothing special, or one of a case's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.oneapi.subject import OneApi, start
from tests.contract.processes import Program


@pytest.fixture
def case(request: pytest.FixtureRequest) -> str:
    """The test's name and parameters, fit to be part of names."""
    name: str = request.node.name
    return "-".join(part for part in re.split(r"\W+", name.removeprefix("test_")) if part)


@pytest.fixture(scope="session")
def shared(work: Path) -> Iterator[OneApi]:
    """One OneAPI for the session, with root's access token."""
    program = start(work / "oneapi", {})
    oneapi = OneApi(program)
    oneapi.wait_until_listening()
    oneapi.become_root()
    yield oneapi
    program.stop()


@pytest.fixture
def oneapi(shared: OneApi, case: str) -> OneApi:
    """The shared OneAPI, called as root."""
    running = OneApi(shared.program, case)
    running.access_token = shared.access_token
    return running


@pytest.fixture(name="start")
def start_own(case: str, programs: list[Program], tmp_path: Path) -> Callable[..., OneApi]:
    """Starts a OneAPI of the case's own, with the given environment over the usual one."""

    def started(**environment: str) -> OneApi:
        program = start(tmp_path / "own", environment)
        programs.append(program)
        running = OneApi(program, case)
        running.wait_until_listening()
        return running

    return started

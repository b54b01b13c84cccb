"""What the contract suite's cases share: an upstream, programs, a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.processes import Program
from tests.contract.upstream import Upstream


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[Upstream]:
    """One upstream for all cases."""
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def upstream(upstream_server: Upstream) -> Upstream:
    """The upstream, having forgotten what earlier cases asked."""
    upstream_server.forget()
    return upstream_server


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Programs put in here end with the case."""
    started: list[Program] = []
    yield started
    for program in started:
        program.stop()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the session's programs."""
    return tmp_path_factory.mktemp("contract")

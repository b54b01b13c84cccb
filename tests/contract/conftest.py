"""What the contract suite's cases share: an upstream, programs, a folder, Xinference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from tests.contract.processes import Program
from tests.contract.upstream import Upstream
from tests.contract.xinference_lab import Lab, StartLab
from tests.contract.xinference_subject import Double, StartDouble


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


@pytest.fixture
def start_double(tmp_path: Path) -> Iterator[StartDouble]:
    """Starts Xinference's double, with the options of `Double`."""
    made: list[Double] = []

    def begin(**options: Any) -> Double:
        tree = tmp_path / str(len(made))
        tree.mkdir()
        made.append(Double(tree, **options))
        return made[-1]

    yield begin
    for double in made:
        double.close()


@pytest.fixture(params=[DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE])
def version(request: pytest.FixtureRequest) -> str:
    """Of a lab's Xinference."""
    return str(request.param)


@pytest.fixture
def start_lab(version: str, start_double: StartDouble) -> StartLab:
    """Starts a lab's Xinference of this version."""
    return lambda **options: Lab(start_double(tag=f"v{version}", **options))


@pytest.fixture
def lab(start_lab: StartLab) -> Lab:
    """A lab's Xinference."""
    return start_lab()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log of `pulumi up` says."""
    lines: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lines.append)
    return lines

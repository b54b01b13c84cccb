"""The bench, and what is often made on it first."""

from pathlib import Path

import pytest

from rehearsal.doubles.fastgpt.boot import Edition
from stack.resources.fastgpt import session
from tests.clock import FakeClock
from tests.unit.fastgpt.bench import Bench


@pytest.fixture
def edition(request: pytest.FixtureRequest) -> Edition:
    """4.8.8, unless a test is `BOTH`."""
    return getattr(request, "param", "seeds")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edition: Edition) -> Bench:
    monkeypatch.setattr(session, "_sessions", {})
    root = tmp_path / "fastgpt"
    monkeypatch.setenv("REHEARSAL_ROOT", str(root))
    return Bench(root, edition)


@pytest.fixture
def clock(bench: Bench) -> FakeClock:
    return bench.clock


@pytest.fixture
def base_id(bench: Bench) -> str:
    return str(bench.dataset().create()["object_id"])


@pytest.fixture
def app_id(bench: Bench) -> str:
    return str(bench.app().create()["object_id"])

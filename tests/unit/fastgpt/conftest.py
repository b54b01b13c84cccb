"""The bench, and what is often made on it first."""

from pathlib import Path

import pytest

from stack.resources.fastgpt import session
from tests.clock import FakeClock
from tests.unit.fastgpt.bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(session, "_sessions", {})
    root = tmp_path / "fastgpt"
    monkeypatch.setenv("REHEARSAL_ROOT", str(root))
    return Bench(root)


@pytest.fixture
def clock(bench: Bench) -> FakeClock:
    return bench.clock


@pytest.fixture
def base_id(bench: Bench) -> str:
    return str(bench.dataset().create()["object_id"])


@pytest.fixture
def app_id(bench: Bench) -> str:
    return str(bench.app().create()["object_id"])

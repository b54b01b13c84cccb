"""The fake FastGPT, its clock, and the bench with both."""

from __future__ import annotations

import pytest

from stack.resources.fastgpt import session
from tests.unit.fake_services import FakeClock, FakeFastGpt
from tests.unit.fastgpt.bench import Bench


@pytest.fixture
def service() -> FakeFastGpt:
    return FakeFastGpt()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_sessions", {})


@pytest.fixture
def bench(service: FakeFastGpt, clock: FakeClock) -> Bench:
    return Bench(service, clock)


@pytest.fixture
def base_id(bench: Bench) -> str:
    return str(bench.dataset().create()["object_id"])


@pytest.fixture
def app_id(bench: Bench) -> str:
    return str(bench.app().create()["object_id"])

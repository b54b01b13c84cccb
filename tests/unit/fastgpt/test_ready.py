"""FastGPT is ready with the catalogue's models, root's password and its vectors."""

import httpx
import pytest

from provisioning.clients.errors import DeadlineExceeded, Unauthorized
from stack.resources.declaration import Props
from stack.resources.fastgpt.ready import Ready
from tests.clock import FakeClock
from tests.unit.fastgpt.bench import CURRENT, INIT_DATA, LOGIN, PLAN, Bench, failure
from tests.unit.subject import Subject

MODELS = {"llm": ["qwen", "glm"], "vector": ["m3e", "bge"], "rerank": []}
SEARCH = "/api/core/dataset/searchTest"
NO_DATABASE = failure("connect ECONNREFUSED 172.18.0.2:5432")


@pytest.fixture
def ready(bench: Bench) -> Subject:
    return bench(Ready, models=MODELS)


def test_fastgpt_is_waited_for_and_ready_with_the_catalogues_models(
    ready: Subject, bench: Bench, clock: FakeClock
) -> None:
    bench.override[INIT_DATA] = httpx.Response(200, json={"code": 200, "data": {"feConfigs": {}}})
    clock.on_sleep = bench.override.clear
    assert ready.create()["version"] == "4.8.8"
    assert clock.passed
    assert ("POST", LOGIN) in bench.calls
    assert not ready.drifts()
    bench.service.config.models["llmModels"] = [{"model": "other"}]
    assert ready.drifts()


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({**MODELS, "llm": ["qwen", "glm", "yi"]}, "no llm model yi"),
        ({**MODELS, "vector": ["bge"]}, "vector model m3e that is not in the catalogue"),
    ],
)
def test_other_models_than_the_catalogues_are_not_ready(
    bench: Bench, models: Props, said: str
) -> None:
    with pytest.raises(DeadlineExceeded, match=said):
        bench(Ready, models=models).create()


def test_a_password_that_does_not_log_in_is_not_ready(ready: Subject) -> None:
    with pytest.raises(Unauthorized):
        ready.create(password="another")


@pytest.mark.fault("PostgreSQL gone")
def test_fastgpt_without_its_vector_database_is_not_ready(ready: Subject, bench: Bench) -> None:
    """It lives on then: it tells its models, and root logs in."""
    bench.override[PLAN] = NO_DATABASE
    with pytest.raises(DeadlineExceeded, match=r"PostgreSQL.*ECONNREFUSED.*docker logs pg"):
        ready.create()


@CURRENT
def test_the_current_edition_is_ready_before_it_is_told_of_models(
    bench: Bench, clock: FakeClock
) -> None:
    ready = bench(Ready, models={})
    anonymous = httpx.Response(200, json={"code": 200, "data": {"feConfigs": {}}})
    bench.override[INIT_DATA] = anonymous
    clock.on_sleep = bench.override.clear
    assert ready.create()["version"]
    assert clock.passed
    assert not ready.drifts()
    clock.on_sleep = lambda: None
    # Its minute is one of ours.
    bench.service.desk.count = lambda step, account: None  # type: ignore[method-assign]
    bench.override[INIT_DATA] = anonymous
    with pytest.raises(DeadlineExceeded, match=r"sessions, in Redis.*exits with code 0"):
        ready.create()


@CURRENT
def test_a_wrong_password_is_not_waited_for(bench: Bench, clock: FakeClock) -> None:
    with pytest.raises(Unauthorized):
        bench(Ready, models={}).create(password="another")
    assert not clock.passed


@CURRENT
@pytest.mark.fault("PostgreSQL gone")
def test_a_search_that_misses_postgresql_is_drift_and_waited_for(
    bench: Bench, base_id: str, clock: FakeClock
) -> None:
    ready = bench(Ready, models={})
    ready.create()
    bench.override[SEARCH] = NO_DATABASE
    with pytest.raises(DeadlineExceeded, match=r"PostgreSQL.*ECONNREFUSED.*docker logs pg"):
        ready.create()
    clock.on_sleep = bench.override.clear
    ready.heal()


@pytest.mark.fault("PostgreSQL gone")
def test_a_vector_database_that_went_away_is_drift_and_waited_for(
    ready: Subject, bench: Bench, clock: FakeClock
) -> None:
    ready.create()
    bench.override[PLAN] = NO_DATABASE
    clock.on_sleep = bench.override.clear
    ready.heal()

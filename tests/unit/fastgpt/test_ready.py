"""FastGPT is ready with the catalogue's models, root's password and its vectors."""

from __future__ import annotations

import pytest

from provisioning.clients.http import DeadlineExceeded, Unauthorized
from stack.resources.declaration import Props
from stack.resources.fastgpt.ready import Ready
from tests.unit.fake_services import FakeClock, FakeFastGpt
from tests.unit.fastgpt.bench import LOGIN, Bench
from tests.unit.subject import Subject

MODELS = {"llm": ["qwen"], "vector": ["m3e"], "rerank": []}


@pytest.fixture
def ready(bench: Bench) -> Subject:
    return bench(Ready, models=MODELS)


def test_fastgpt_is_ready_with_the_catalogues_models(ready: Subject, service: FakeFastGpt) -> None:
    service.not_ready = 3
    assert ready.create()["version"] == "4.8.8-fix2"
    assert LOGIN in service.called("POST")
    assert not ready.drifts()


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({**MODELS, "llm": ["qwen", "glm"]}, "no llm model glm"),
        ({**MODELS, "vector": []}, "vector model m3e that is not in the catalogue"),
    ],
)
def test_other_models_than_the_catalogues_are_not_ready(
    bench: Bench, models: Props, said: str
) -> None:
    with pytest.raises(DeadlineExceeded, match=said):
        bench(Ready, models=models).create()


def test_a_password_that_does_not_log_in_is_not_ready(ready: Subject, service: FakeFastGpt) -> None:
    service.password = "another"
    with pytest.raises(Unauthorized):
        ready.create()


def test_fastgpt_without_its_vector_database_is_not_ready(
    ready: Subject, service: FakeFastGpt
) -> None:
    """It lives on then: it tells its models, and root logs in."""
    service.postgres_error = "connect ECONNREFUSED 172.18.0.2:5432"
    with pytest.raises(DeadlineExceeded, match=r"PostgreSQL.*ECONNREFUSED.*docker logs pg"):
        ready.create()


def test_a_vector_database_that_went_away_is_drift_and_waited_for(
    ready: Subject, service: FakeFastGpt, clock: FakeClock
) -> None:
    ready.create()
    service.postgres_error = 'relation "modeldata" does not exist'
    clock.on_sleep = lambda: setattr(service, "postgres_error", "")
    ready.heal()


def test_models_that_changed_under_it_are_drift(ready: Subject, service: FakeFastGpt) -> None:
    ready.create()
    service.models["llmModels"] = [{"model": "other"}]
    assert ready.drifts()


def test_one_session_serves_all_resources(bench: Bench, service: FakeFastGpt) -> None:
    for name in ("a", "b"):
        bench.dataset(name=name).create()
    assert service.called("POST").count(LOGIN) == 1

"""FastGPT's models, where its API is told of them."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import DeadlineExceeded, Refused
from rehearsal.doubles.fastgpt.models import active
from stack.resources.fastgpt.models import Models
from tests.clock import FakeClock
from tests.unit.fastgpt.bench import CURRENT, INIT_DATA, RECORDS, Bench, failure
from tests.unit.subject import Subject

pytestmark = CURRENT
TEST, SET = "/api/core/ai/model/test", "/api/core/ai/model/updateWithJson"
RERANKER = {
    "model": "bge-reranker",
    "metadata": {
        **{"type": "rerank", "provider": "BAAI", "model": "bge-reranker", "name": "bge-reranker"},
        **{"isActive": True, "requestUrl": "http://caddy:9997/v1/rerank", "requestAuth": "of-xin"},
    },
}

ANOTHER = {**RECORDS[0]["metadata"], "model": "another", "name": "another"}


@pytest.fixture
def models(bench: Bench) -> Subject:
    return bench(Models, models=[*RECORDS, RERANKER], tried=[])


def test_they_are_set_at_once_and_what_was_set_is_no_drift(models: Subject, bench: Bench) -> None:
    models.create()
    assert [row["model"] for row in bench.mongo.find("system_models")][-1] == "bge-reranker"
    assert not models.drifts()
    assert [path for method, path in bench.calls if method == "PUT"] == [SET]
    models.delete()
    assert bench.mongo.find("system_models")


@pytest.mark.parametrize(
    "hand",
    [
        lambda rows: rows.pop(),
        lambda rows: rows[0]["metadata"].update(isDefault=True),
        lambda rows: rows[0]["metadata"].update(maxContext=1),
        lambda rows: rows.append({"model": "another", "metadata": ANOTHER}),
    ],
    ids=["left out", "another default", "another context", "one more"],
)
def test_what_somebody_changed_is_drift_and_set_right(
    models: Subject, bench: Bench, hand: Callable[[list[Any]], object]
) -> None:
    models.create()
    rows = [{"model": row["model"], "metadata": row["metadata"]} for row in models.wanted["models"]]
    rows = [{**row, "metadata": dict(row["metadata"])} for row in rows]
    hand(rows)
    bench.mongo.delete("system_models")
    for row in rows:
        bench.mongo.put("system_models", row)
    models.heal()


@pytest.mark.fault("a model that FastGPT does not reach")
def test_a_model_that_does_not_answer_is_named_with_what_upstream_said(
    models: Subject, bench: Bench
) -> None:
    bench.override[TEST] = failure("无可用渠道 no channel for qwen")
    with pytest.raises(DeadlineExceeded, match=r"model qwen.*no channel for qwen.*make status"):
        models.create(tried=["qwen"])
    bench.override[TEST] = httpx.Response(200, json={"code": 200, "data": None})
    models.create(tried=["qwen"])
    assert bench.calls[-1] == ("GET", TEST)
    assert not models.changes(tried=["glm"])


def test_a_plugin_that_is_away_is_waited_for_and_named(
    models: Subject, bench: Bench, clock: FakeClock
) -> None:
    bench.override[SET] = failure("fetch failed")
    with pytest.raises(DeadlineExceeded, match=r"take its models.*fetch failed.*logs plugin"):
        models.create()
    clock.on_sleep = bench.override.clear
    models.create()
    assert not models.drifts()


@pytest.mark.fault("a model that FastGPT has and does not use")
@pytest.mark.parametrize(
    "hand",
    [lambda rows: rows.pop(), lambda rows: rows[-1].update(type="embedding")],
    ids=["left out", "of another type"],
)
def test_what_is_stored_and_not_in_use_is_drift_and_waited_for_and_named(
    models: Subject, bench: Bench, clock: FakeClock, hand: Callable[[list[Any]], object]
) -> None:
    models.create()
    told = active(bench.service)
    hand(told["activeModelList"])
    seen = {"code": 200, "data": {"systemVersion": "4.16.0", **told}}
    bench.override[INIT_DATA] = httpx.Response(200, json=seen)
    assert models.drifts()
    models.state = models.seen()
    lost = r"models in use.*without rerank model bge-reranker: .*docker logs plugin"
    with pytest.raises(DeadlineExceeded, match=lost):
        models.update()
    clock.on_sleep = bench.override.clear
    models.update()
    assert not models.drifts()


def test_what_fastgpt_keeps_otherwise_is_said_and_not_set_for_ever(
    models: Subject, bench: Bench
) -> None:
    odd = {**RERANKER, "metadata": {**RERANKER["metadata"], "noSuchField": 1}}
    with pytest.raises(Refused, match="something else of bge-reranker") as error:
        models.create(models=[*RECORDS, odd])
    assert "of-xin" not in str(error.value)

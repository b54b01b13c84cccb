"""Documents are followed until they are indexed and found, or it is said which link failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from provisioning.clients.http import DeadlineExceeded, NotFound, Refused
from stack.resources.fastgpt.documents_ready import DocumentsReady
from tests.unit.fake_services import FakeClock, FakeFastGpt, FakeOneApi, FakeXinference
from tests.unit.fastgpt.bench import ENDPOINT, Bench
from tests.unit.subject import Subject

CHAIN = {
    "oneapi": {**ENDPOINT, "port": 3001},
    "relay_key": "z" * 48,
    "xinference": {**ENDPOINT, "port": 9997},
}


def refused(message: str) -> httpx.Response:
    error = {"message": message, "type": "upstream_error", "code": "bad_response_status_code"}
    return httpx.Response(400, json={"error": error})


class Relay:
    """A gateway that has a channel, and what is behind it."""

    def __init__(self) -> None:
        self.gateway, self.engine = FakeOneApi(), FakeXinference()
        self.gateway.add_token(name="fastgpt")
        self.gateway.add_channel(name="c", type=1, models="m3e")
        self.embedding = httpx.Response(200, json={"data": [{"embedding": [0.5]}]})
        self.gateway.upstream = self.embedding


Follow = Callable[..., Subject]


@pytest.fixture
def relay() -> Relay:
    return Relay()


@pytest.fixture
def follow(bench: Bench, service: FakeFastGpt, base_id: str, relay: Relay) -> Follow:
    """Documents by name and row, and the resource that follows them."""

    def made(**documents: dict[str, Any]) -> Subject:
        ids = {
            name: service.add_collection(base_id, name, **row) for name, row in documents.items()
        }
        inputs = {"dataset_id": base_id, "documents": ids}
        subject = bench(DocumentsReady, **inputs, deadline_minutes=30, chain=CHAIN)
        by_port = {3000: service, 3001: relay.gateway, 9997: relay.engine}
        subject.provider.transport = httpx.MockTransport(
            lambda r: by_port[r.url.port or 0]._take(r)
        )
        return subject

    return made


STUCK = {"dataAmount": 1, "trainingAmount": 2}


def test_documents_are_followed_and_then_found(
    follow: Follow, service: FakeFastGpt, clock: FakeClock
) -> None:
    ready = follow(a=STUCK, b={"dataAmount": 4})
    one, two = ready.wanted["documents"].values()

    def moves() -> None:
        row = service.collections[one]
        if row["trainingAmount"]:
            row.update(dataAmount=row["dataAmount"] + 1, trainingAmount=row["trainingAmount"] - 1)

    clock.on_sleep = moves
    assert ready.create()["chunks"] == {"a": 3, "b": 4}
    assert service.searched == [f"text of {one}", f"text of {two}"]
    assert not ready.drifts()


def test_an_indexed_document_that_no_search_finds_is_not_ready(
    follow: Follow, service: FakeFastGpt
) -> None:
    service.hits_nothing = True
    with pytest.raises(DeadlineExceeded, match=r"a search to find a"):
        follow(a={}).create()


def test_a_standstill_without_a_known_reason_lasts_until_the_deadline(follow: Follow) -> None:
    with pytest.raises(DeadlineExceeded, match="`Embedding Error`") as error:
        follow(a=STUCK).create()
    assert "1 of 3 chunks" in error.value.last_seen


def no_channel(relay: Relay) -> None:
    relay.gateway.channels.clear()


def no_engine(relay: Relay) -> None:
    relay.gateway.upstream = refused("no")
    relay.engine.put({"model_uid": "m3e"}, "ERROR", "CUDA out of memory")


def no_long_text(relay: Relay) -> None:
    def take(request: httpx.Request) -> httpx.Response:
        too_long = len(json.loads(request.content)["input"]) > 512
        return refused("input too long") if too_long else relay.embedding

    relay.gateway._take = take  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (no_channel, "no channel for embedding model m3e"),
        (no_engine, r"Xinference does not serve m3e.*out of memory"),
        (no_long_text, r"a: m3e .* none of 2048 characters.*too long.*Lower"),
    ],
)
def test_the_link_that_failed_is_found_out_early(
    follow: Follow, relay: Relay, clock: FakeClock, fails: Callable[[Relay], None], said: str
) -> None:
    ready = follow(a=STUCK)
    fails(relay)
    with pytest.raises(Refused, match=said):
        ready.create()
    assert clock.passed < 600


def test_a_document_that_vanishes_is_said(follow: Follow, service: FakeFastGpt) -> None:
    ready = follow(a={})
    service.collections.clear()
    with pytest.raises(NotFound, match="not in its base any more"):
        ready.create()


def test_a_document_that_is_no_longer_indexed_is_drift(
    follow: Follow, service: FakeFastGpt
) -> None:
    ready = follow(a={})
    ready.create()
    service.collections[ready.wanted["documents"]["a"]]["trainingAmount"] = 1
    assert ready.drifts()
    service.datasets.clear()
    assert ready.seen()["chunks"] == {}


def test_a_namesake_by_hand_is_drift_and_leaves(
    follow: Follow, service: FakeFastGpt, base_id: str
) -> None:
    """A document that is there twice would be cited twice."""
    ready = follow(a={})
    ready.create()
    twin = service.add_collection(base_id, "a")
    ready.heal()
    assert twin not in service.collections

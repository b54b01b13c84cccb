"""Room on the card: the old leaves before the new comes, and a change can be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from stack.resources.declaration import Props
from stack.resources.xinference.eviction import Eviction
from tests.unit.fake_services import FakeXinference
from tests.unit.subject import ENDPOINT, PAYLOAD, Subject

LLAMA = {"model_uid": "llama", "model_name": "llama-3.1-instruct", "gpu_memory_utilization": 0.6}


@pytest.fixture
def eviction() -> Subject:
    service = FakeXinference()
    service.put(PAYLOAD)
    service.autostart["qwen"] = {"launch": PAYLOAD}
    made = Subject(Eviction, {"endpoint": ENDPOINT, "payloads": {"qwen": PAYLOAD}}, service)
    made.create()
    return made


def changed(eviction: Subject, *payloads: dict[str, Any]) -> Props:
    wanted = {payload["model_uid"]: payload for payload in payloads}
    assert eviction.changes(payloads=wanted)
    return eviction.update(payloads=wanted)


@pytest.mark.parametrize("wanted", [LLAMA, {**PAYLOAD, "gpu_memory_utilization": 0.5}])
def test_what_is_no_longer_wanted_leaves_and_its_entry_first(
    eviction: Subject, wanted: dict[str, Any]
) -> None:
    assert changed(eviction, wanted)["generation"] == 1
    assert eviction.service.called("DELETE") == ["/v1/autostart/models/qwen", "/v1/models/qwen"]
    assert eviction.service.launches == [], "the new one is for XinferenceModel to start"


def test_what_stays_is_not_touched(eviction: Subject) -> None:
    changed(eviction, PAYLOAD, LLAMA)
    assert [call for call in eviction.service.calls if call[0] != "GET"] == []


def test_a_change_taken_back_starts_the_old_model_again(eviction: Subject) -> None:
    changed(eviction, LLAMA)
    eviction.service.put(LLAMA)
    back = changed(eviction, PAYLOAD)
    assert eviction.service.models["llama"]["status"] == "TERMINATED"
    assert eviction.service.models["qwen"]["status"] == "READY"
    assert "qwen" in eviction.service.autostart
    assert back["generation"] == 2
    assert set(back["evicted"]) == {"llama"}


def test_another_way_to_the_service_moves_nobody(eviction: Subject) -> None:
    there = {**ENDPOINT, "host": "1.2.3.5"}
    assert eviction.changes(endpoint=there)
    assert eviction.update(endpoint=there)["generation"] == 0
    assert eviction.service.calls == [], "nobody has to look at the models again"

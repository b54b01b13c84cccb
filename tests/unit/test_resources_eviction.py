"""Room on the card: the old leaves before the new comes, and a change can be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from stack.resources.base import LabProvider, Props
from stack.resources.xinference.eviction import Eviction
from tests.unit.fake_services import FakeXinference

ENDPOINT = {"host": "1.2.3.4", "ssh_port": 22, "user": "root", "host_key": "k", "port": 9997}
QWEN = {"model_uid": "qwen", "model_name": "qwen2.5-instruct", "gpu_memory_utilization": 0.7}
LLAMA = {"model_uid": "llama", "model_name": "llama-3.1-instruct", "gpu_memory_utilization": 0.6}


@pytest.fixture
def service() -> FakeXinference:
    service = FakeXinference()
    service.put(QWEN)
    service.autostart["qwen"] = {"launch": QWEN}
    return service


@pytest.fixture
def eviction(service: FakeXinference) -> LabProvider:
    provider = LabProvider(Eviction)
    provider.transport = service.transport
    return provider


def wanted(*payloads: dict[str, Any]) -> Props:
    listed = {str(payload["model_uid"]): payload for payload in payloads}
    return {"endpoint": ENDPOINT, "payloads": listed}


def updated(eviction: LabProvider, olds: Props, news: Props) -> Props:
    assert eviction.diff("eviction", olds, news).changes
    outs = eviction.update("eviction", olds, news).outs
    assert outs is not None
    return outs


def made(eviction: LabProvider, *payloads: dict[str, Any]) -> Props:
    outs = eviction.create(wanted(*payloads)).outs
    assert outs is not None
    return outs


def test_what_is_no_longer_wanted_leaves_and_its_entry_first(
    eviction: LabProvider, service: FakeXinference
) -> None:
    changed = updated(eviction, made(eviction, QWEN), wanted(LLAMA))
    assert service.models["qwen"]["status"] == "TERMINATED"
    assert service.autostart == {}
    assert service.launches == [], "the new one is for XinferenceModel to start"
    assert changed["generation"] == 1


def test_a_model_with_other_arguments_leaves_too(
    eviction: LabProvider, service: FakeXinference
) -> None:
    updated(eviction, made(eviction, QWEN), wanted({**QWEN, "gpu_memory_utilization": 0.5}))
    assert service.models["qwen"]["status"] == "TERMINATED"


def test_what_stays_is_not_touched(eviction: LabProvider, service: FakeXinference) -> None:
    updated(eviction, made(eviction, QWEN), wanted(QWEN, LLAMA))
    assert service.models["qwen"]["status"] == "READY"
    assert "qwen" in service.autostart


def test_a_change_taken_back_starts_the_old_model_again(
    eviction: LabProvider, service: FakeXinference
) -> None:
    changed = updated(eviction, made(eviction, QWEN), wanted(LLAMA))
    service.put(LLAMA)
    back = updated(eviction, changed, wanted(QWEN))
    assert service.models["llama"]["status"] == "TERMINATED"
    assert service.models["qwen"]["status"] == "READY"
    assert "qwen" in service.autostart
    assert back["generation"] == 2
    assert set(back["evicted"]) == {"llama"}


def test_another_way_to_the_service_moves_nobody(
    eviction: LabProvider, service: FakeXinference
) -> None:
    there = {**wanted(QWEN), "endpoint": {**ENDPOINT, "host": "1.2.3.5"}}
    changed = updated(eviction, made(eviction, QWEN), there)
    assert service.models["qwen"]["status"] == "READY"
    assert changed["generation"] == 0, "nobody has to look at the models again"

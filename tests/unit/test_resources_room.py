"""Room on the card: the old leaves before the new comes, and a change can be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from stack.resources.base import Props
from stack.resources.xinference import XinferenceRoomProvider
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
def room(service: FakeXinference) -> XinferenceRoomProvider:
    provider = XinferenceRoomProvider()
    provider.transport = service.transport
    return provider


def wanted(*payloads: dict[str, Any]) -> Props:
    listed = {str(payload["model_uid"]): payload for payload in payloads}
    return {"endpoint": ENDPOINT, "payloads": listed}


def updated(room: XinferenceRoomProvider, olds: Props, news: Props) -> Props:
    assert room.diff("room", olds, news).changes
    outs = room.update("room", olds, news).outs
    assert outs is not None
    return outs


def made(room: XinferenceRoomProvider, *payloads: dict[str, Any]) -> Props:
    outs = room.create(wanted(*payloads)).outs
    assert outs is not None
    return outs


def test_what_is_no_longer_wanted_leaves_and_its_entry_first(
    room: XinferenceRoomProvider, service: FakeXinference
) -> None:
    changed = updated(room, made(room, QWEN), wanted(LLAMA))
    assert service.models["qwen"]["status"] == "TERMINATED"
    assert service.autostart == {}
    assert service.launches == [], "the new one is for XinferenceModel to start"
    assert changed["round"] == 1


def test_a_model_with_other_arguments_leaves_too(
    room: XinferenceRoomProvider, service: FakeXinference
) -> None:
    updated(room, made(room, QWEN), wanted({**QWEN, "gpu_memory_utilization": 0.5}))
    assert service.models["qwen"]["status"] == "TERMINATED"


def test_what_stays_is_not_touched(room: XinferenceRoomProvider, service: FakeXinference) -> None:
    updated(room, made(room, QWEN), wanted(QWEN, LLAMA))
    assert service.models["qwen"]["status"] == "READY"
    assert "qwen" in service.autostart


def test_a_change_taken_back_starts_the_old_model_again(
    room: XinferenceRoomProvider, service: FakeXinference
) -> None:
    changed = updated(room, made(room, QWEN), wanted(LLAMA))
    service.put(LLAMA)
    back = updated(room, changed, wanted(QWEN))
    assert service.models["llama"]["status"] == "TERMINATED"
    assert service.models["qwen"]["status"] == "READY"
    assert "qwen" in service.autostart
    assert back["round"] == 2
    assert set(back["put_out"]) == {"llama"}


def test_another_way_to_the_service_moves_nobody(
    room: XinferenceRoomProvider, service: FakeXinference
) -> None:
    there = {**wanted(QWEN), "endpoint": {**ENDPOINT, "host": "1.2.3.5"}}
    changed = updated(room, made(room, QWEN), there)
    assert service.models["qwen"]["status"] == "READY"
    assert changed["round"] == 0, "nobody has to look at the models again"

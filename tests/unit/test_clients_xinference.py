"""Xinference's client: errors told by their text, launches that do not wait."""

from __future__ import annotations

import httpx
import pytest

from provisioning.clients.http import Busy, Conflict, NotFound, Refused, Unauthorized
from provisioning.clients.xinference import (
    XinferenceClient,
    advice_for,
    autostart_payload,
    is_failed_download,
    without_prefix,
)
from tests.unit.fake_services import FakeClock, FakeXinference

PAYLOAD = {"model_uid": "m3e", "model_name": "m3e-base", "model_type": "embedding"}


@pytest.fixture
def service() -> FakeXinference:
    return FakeXinference()


@pytest.fixture
def client(service: FakeXinference) -> XinferenceClient:
    return XinferenceClient("http://x:9997", transport=service.transport, clock=FakeClock())


def answering(response: httpx.Response) -> XinferenceClient:
    return XinferenceClient(
        "http://x", transport=httpx.MockTransport(lambda _: response), clock=FakeClock()
    )


def test_not_to_wait_is_said_in_the_query(
    client: XinferenceClient, service: FakeXinference
) -> None:
    assert client.launch(PAYLOAD) == "m3e"
    # In the body it would be an argument of the engine.
    assert service.waits == ["false"]
    assert service.launches == [PAYLOAD]


def test_a_taken_uid_is_a_conflict_even_while_loading(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "LOADING")

    with pytest.raises(Conflict):
        client.launch(PAYLOAD)


def test_a_400_not_found_is_gone_and_a_503_loading_is_busy(
    client: XinferenceClient, service: FakeXinference
) -> None:
    with pytest.raises(NotFound):
        client.describe("m3e")
    service.put(PAYLOAD, "LOADING")
    with pytest.raises(Busy):
        client.describe("m3e")


def test_an_unknown_model_name_is_refused_and_not_gone() -> None:
    client = answering(httpx.Response(400, json={"detail": "Model not found, name: nix"}))

    with pytest.raises(Refused) as error:
        client.launch(PAYLOAD)
    assert not isinstance(error.value, NotFound)


def test_a_failed_download_is_not_loading() -> None:
    detail = "[address=1.2.3.4:5, pid=6] Failed to download model 'm3e' after multiple retries"
    client = answering(httpx.Response(503, json={"detail": detail}))

    with pytest.raises(Refused, match="503 Failed to download") as error:
        client.launch(PAYLOAD)
    assert not isinstance(error.value, Busy)
    assert is_failed_download(error.value.answer)


def test_authentication_that_is_on_says_how_to_switch_it_off() -> None:
    client = answering(httpx.Response(401, json={"detail": "Could not validate credentials"}))

    with pytest.raises(Unauthorized, match="XINFERENCE_AUTH_ADVANCED=0"):
        client.models()


def test_stopping_what_is_not_there_is_done(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD)

    assert client.stop("m3e")
    assert not client.stop("m3e")


def test_cancelling_what_was_never_launched_is_done(client: XinferenceClient) -> None:
    assert not client.cancel("m3e")


def test_a_refused_delete_of_a_launch_is_not_gone(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD, "LOADING")

    with pytest.raises(Busy, match="uid: m3e-0"):
        client.stop("m3e")


def test_a_replicas_name_differs_by_version() -> None:
    detail = "[address=1.2.3.4:5, pid=6] Model not found in the model list, uid: m3e-rep0"
    with pytest.raises(Busy):
        answering(httpx.Response(400, json={"detail": detail})).stop("m3e")
    # A uid that looks like a replica's is one's own all the same.
    assert not answering(httpx.Response(400, json={"detail": detail})).stop("m3e-rep0")


def test_a_model_that_serves_is_not_cancelled(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.put(PAYLOAD)

    assert not client.cancel("m3e")
    assert service.called("POST") == []
    assert client.standing("m3e") == "serving"


def test_a_launch_is_cancelled(client: XinferenceClient, service: FakeXinference) -> None:
    service.put(PAYLOAD, "CREATING")

    assert client.standing("m3e") == "launching"
    assert client.cancel("m3e")
    assert client.standing("m3e") == "absent"


def test_an_older_version_has_no_autostart(
    client: XinferenceClient, service: FakeXinference
) -> None:
    service.has_autostart = False

    client.delete_autostart("m3e")
    assert client.autostarted() == frozenset()


def test_an_autostart_entry_says_cpu_in_a_way_that_is_kept(
    client: XinferenceClient, service: FakeXinference
) -> None:
    client.put_autostart({**PAYLOAD, "n_gpu": None, "quantization": None})

    launch = service.autostart["m3e"]["launch"]
    assert launch == {**PAYLOAD, "device": "cpu"}
    assert client.autostarted() == {"m3e"}


def test_an_autostart_entry_is_the_payload_where_no_null_is_lost() -> None:
    assert autostart_payload({**PAYLOAD, "n_gpu": 1}) == {**PAYLOAD, "n_gpu": 1}
    chosen = {**PAYLOAD, "n_gpu": None, "device": "cpu:1"}
    assert autostart_payload(chosen)["device"] == "cpu:1"


def test_replicas_of_an_unknown_uid_are_none(client: XinferenceClient) -> None:
    assert client.replicas("nix") == ()


def test_progress_adds_up_the_files(client: XinferenceClient, service: FakeXinference) -> None:
    service.put(PAYLOAD, "LOADING")
    file = {"downloaded_bytes": 5, "total_bytes": 10, "speed_bytes_per_second": 2.5}
    service.models["m3e"]["progress"] = {"stage": "downloading", "download_files": [file, file]}

    found = client.progress("m3e")

    assert (found.stage, found.bytes_done, found.bytes_total) == ("downloading", 10, 20)
    assert found.bytes_per_second == 5.0


def test_the_older_shape_of_progress_is_read_too() -> None:
    assert answering(httpx.Response(200, json={"progress": 0.5})).progress("m3e").fraction == 0.5


def test_rerank_keeps_the_servers_order() -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    client = answering(httpx.Response(200, json={"results": results}))

    assert client.rerank("bge", "q", ["a", "b"]) == [(1, 0.9), (0, 0.1)]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("ValueError: No available memory for the cache blocks", "memoryShare"),
        ("CUDA out of memory. Tried to allocate", "memoryShare"),
        ("Free memory is less than desired GPU memory utilization (0.7)", "memoryShare"),
        ("not greater than the number of GPUs: 1 on the machine", "gpus"),
        ("Failed to install packages for m3e-base", "pypiMirror"),
        ("Model x cannot be run on engine vLLM", "engine"),
        ("Failed to download model 'x'", "hub"),
        ("Failed to import module 'SentenceTransformer'", "engine"),
        ("something new", ""),
    ],
)
def test_advice_goes_by_the_text(error: str, word: str) -> None:
    advice = advice_for(error)

    assert word in advice
    assert bool(advice) == bool(word)


def test_the_actors_address_is_no_part_of_an_error() -> None:
    assert without_prefix("[address=0.0.0.0:3, pid=9] no") == "no"

"""The double's launches, memory, crashes, autostart and answers (facts §2-§8,
docs/facts/measured.md §2), where neither our client's cases nor the shared ones show them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rehearsal.faults import switch_on
from tests.contract.xinference_subject import (
    ENGINE,
    HUBS,
    MAINLAND,
    QWEN,
    SUCCESSOR,
    Double,
    StartDouble,
)

M3E = {"model_uid": "m3e-base", "model_name": "m3e-base", "model_type": "embedding"}
RERANKER = {"model_name": "bge-reranker-v2-m3", "model_type": "rerank"}
BAICHUAN = {
    "model_name": "baichuan-2-chat",
    "model_engine": "transformers",
    "model_format": "pytorch",
    "model_size_in_billions": 13,
    "quantization": "none",
}
SLOWLY = {"REHEARSAL_HUB_BYTES_PER_SECOND": "2e10"}


@pytest.fixture
def double(start_double: StartDouble) -> Double:
    return start_double()


def ask(double: Double, uid: str = "m3e-base", text: str = "a") -> httpx.Response:
    return double.call("POST", "/v1/embeddings", json={"model": uid, "input": text})


def chat(double: Double, uid: str, *messages: tuple[str, str], **more: Any) -> httpx.Response:
    said = [{"role": role, "content": content} for role, content in messages]
    body = {"model": uid, "messages": said, **more}
    return double.call("POST", "/v1/chat/completions", json=body)


# Launching


def test_the_reference_lab_fits_in_the_order_small_first(double: Double) -> None:
    for payload in (M3E, RERANKER, QWEN):
        assert double.launch(payload).status_code == 200
    listed = {model["id"] for model in double.get("/v1/models")["data"]}
    assert listed == {"m3e-base", "bge-reranker-v2-m3", "qwen"}
    assert double.get("/v1/models/qwen/progress") == {"progress": 1.0}
    described = double.get("/v1/models/qwen")
    assert described["model_format"] == "awq"
    assert "id" not in described
    assert int(0.7 * 22731) < double.used_bytes() / 2**20 < 22731


def test_a_background_launch_learns_of_an_unknown_model_later(double: Double) -> None:
    """Its ERROR comes before its message."""
    assert double.launch({**QWEN, "model_name": "qwen9"}, wait_ready=False).status_code == 200
    seen: list[str] = []

    def told() -> bool:
        if double.statuses("qwen") == ["ERROR"]:
            seen.append(double.error("qwen"))
        return bool(seen and seen[-1])

    double.wait(told, "a message", "qwen")
    assert seen[0] == ""
    assert "Model not found, name: qwen9" in seen[-1]


def test_wait_ready_in_the_body_is_an_engines_argument(start_double: StartDouble) -> None:
    double = start_double(**SLOWLY)
    assert double.launch({**QWEN, "wait_ready": False}).status_code == 200
    assert double.statuses("qwen") == ["READY"]


def test_deleting_a_launching_model_is_refused_and_the_launch_goes_on(
    start_double: StartDouble,
) -> None:
    double = start_double(**SLOWLY)
    double.launch(QWEN, wait_ready=False)
    refused = double.call("DELETE", "/v1/models/qwen")
    assert refused.status_code == 400
    assert "Model not found in the model list, uid: qwen-0" in refused.json()["detail"]
    double.until("qwen", "READY")


def test_cancelling_a_ready_model_loses_it_and_the_successor_does_nothing(
    start_double: StartDouble,
) -> None:
    older, newer = start_double(), start_double(tag=SUCCESSOR)
    for double, payload in ((older, M3E), (newer, {**M3E, **ENGINE})):
        double.launch(payload)
        assert double.call("POST", "/v1/models/m3e-base/cancel").status_code == 200
        assert double.used_bytes() > 0
    assert older.call("GET", "/v1/models/m3e-base").status_code == 400
    assert newer.call("GET", "/v1/models/m3e-base").status_code == 200
    # The next launch fails and clears it away, and tells no reason.
    older.launch(M3E, wait_ready=False)
    older.wait(lambda: older.used_bytes() == 0, "its memory to be free", "m3e-base")
    (book,) = older.get("/v1/models/instances")
    assert (book["status"], older.error("m3e-base")) == ("ERROR", "")
    assert older.launch(M3E).status_code == 200


def test_a_cancelled_launch_unwinds_for_a_while_at_2_12(start_double: StartDouble) -> None:
    double = start_double(**SLOWLY)
    double.launch(QWEN, wait_ready=False)
    double.until("qwen", "CREATING")
    double.call("POST", "/v1/models/qwen/cancel")
    double.launch(QWEN, wait_ready=False)
    assert double.failure("qwen") == "qwen-0 is running"
    double.wait(lambda: double.launch(QWEN).status_code == 200, "room for it again", "qwen")


# Downloads and engines


def test_weights_stay_on_the_volume(double: Double) -> None:
    double.launch(QWEN)
    double.set_rate("1")
    double.restart()
    assert double.launch(QWEN).status_code == 200


FACE = {"download_hub": "huggingface"}
MIRRORED = {"HF_ENDPOINT": "https://hf-mirror.com"}


@pytest.mark.parametrize(
    ("hubs", "env", "payload", "status"),
    [
        (MAINLAND, {}, {}, 200),
        (MAINLAND, {}, FACE, 503),
        (MAINLAND, MIRRORED, FACE, 200),
        (("huggingface.co",), {}, FACE, 200),
        (("huggingface.co",), {}, {}, 503),
    ],
)
def test_a_hub_answers_where_its_name_resolves(
    start_double: StartDouble,
    hubs: tuple[str, ...],
    env: dict[str, str],
    payload: dict[str, Any],
    status: int,
) -> None:
    assert start_double(hubs=hubs, **env).launch({**M3E, **payload}).status_code == status


INDEX = "mirrors.aliyun.com"
FROM_INDEX = {"tag": SUCCESSOR, "PIP_INDEX_URL": f"https://{INDEX}/pypi/simple/"}


@pytest.mark.parametrize(
    ("server", "payload", "status", "text"),
    [
        ({**FROM_INDEX, "hubs": MAINLAND}, {**M3E, **ENGINE}, 503, "Failed to install packages"),
        ({**FROM_INDEX, "hubs": HUBS}, {**M3E, **ENGINE}, 503, f"https://{INDEX}/simple"),
        (FROM_INDEX | {"hubs": (*HUBS, INDEX)}, M3E, 500, "import module 'SentenceTransformer'"),
        (FROM_INDEX | {"hubs": (*HUBS, INDEX)}, {**M3E, **ENGINE}, 200, ""),
        ({"mended": False}, M3E, 500, "cannot import name 'HybridCache'"),
        ({"mended": False}, QWEN, 200, ""),
        ({"gpus": 0}, M3E, 200, ""),
        ({"gpus": 0}, {**QWEN, "n_gpu": None}, 400, "cannot be run on engine vLLM"),
        ({}, BAICHUAN, 400, "trust_remote_code=True"),
    ],
)
def test_an_engine_runs_where_it_is(
    start_double: StartDouble,
    server: dict[str, Any],
    payload: dict[str, Any],
    status: int,
    text: str,
) -> None:
    """From an index at the successor; in the image, once mended, before; vLLM on a GPU only."""
    answer = start_double(**server).launch(payload)
    assert answer.status_code == status
    assert text in answer.text


def test_a_second_card_takes_what_the_first_cannot(start_double: StartDouble) -> None:
    double = start_double(gpus=2, XINFERENCE_TRUST_REMOTE_CODE="1")
    assert "CUDA out of memory" in double.launch(BAICHUAN).json()["detail"]
    assert double.launch({**BAICHUAN, "n_gpu": 2}).status_code == 200
    double.call("DELETE", "/v1/models/baichuan-2-chat")
    whole = {**QWEN, "gpu_memory_utilization": 0.9}
    assert double.launch(whole).status_code == 200
    assert double.launch({**whole, "model_uid": "second"}).status_code == 200
    assert double.get("/v1/models/second")["accelerators"] == ["1"]


# Restart


def autostart(double: Double, payload: dict[str, Any], **policy: Any) -> None:
    entry = {"launch": payload, "enabled": True, **policy}
    assert double.call("POST", "/v1/autostart/models", json=entry).status_code == 200


def test_a_deleted_model_comes_back_while_its_entry_stands(double: Double) -> None:
    """At the next start, and when another entry is written."""
    autostart(double, M3E, retry_interval_seconds=1)
    double.until("m3e-base", "READY")
    double.call("DELETE", "/v1/models/m3e-base")
    assert double.statuses("m3e-base") == ["TERMINATED"]
    autostart(double, RERANKER)
    double.until("m3e-base", "READY")
    double.call("DELETE", "/v1/models/m3e-base")
    double.restart()
    double.until("m3e-base", "READY")


def test_autostart_gives_up_after_its_retries(double: Double) -> None:
    wrong = {**M3E, "model_name": "nobody"}
    autostart(double, wrong, max_retries=2, retry_interval_seconds=1)

    def state() -> dict[str, Any]:
        return dict(double.get("/v1/autostart/models")["models"][0]["state"])

    double.wait(lambda: state().get("attempts") == 2, "two attempts", "m3e-base")
    double.wait(lambda: state()["status"] == "error", "an error", "m3e-base")
    assert "not found, available models" in state()["last_error"]


# Crashes


def test_a_crashed_model_is_started_again_and_never_answers(double: Double) -> None:
    double.launch(M3E)
    switch_on(double.faults, "xinference.crash", "m3e-base", 1)
    double.wait(lambda: ask(double).status_code == 500, "its process to end", "m3e-base")
    assert "Connection refused" in ask(double).json()["detail"]
    assert double.statuses("m3e-base") == ["READY"]
    double.until("m3e-base", "TERMINATING")
    described = double.call("GET", "/v1/models/m3e-base")
    assert described.status_code == 400
    assert "uid: m3e-base-0" in described.json()["detail"]
    assert "in stopping state" in ask(double).json()["detail"]
    assert "m3e-base-0 is launching" in double.call("DELETE", "/v1/models/m3e-base").text
    double.wait(lambda: ask(double).status_code == 503, "a process in its place", "m3e-base")
    assert "Model is loading" in ask(double).json()["detail"]
    assert double.statuses("m3e-base") == ["TERMINATING"]
    assert double.call("GET", "/v1/models/m3e-base").status_code == 200
    assert double.get("/v1/models/instances")[0]["status"] == "READY"
    assert double.call("DELETE", "/v1/models/m3e-base").status_code == 200
    assert double.launch(M3E).status_code == 200
    assert ask(double).status_code == 200


@pytest.mark.parametrize(("copies", "answers"), [(1, 404), (2, 200)])
def test_a_crashed_copy_is_given_up_at_its_limit(
    start_double: StartDouble, copies: int, answers: int
) -> None:
    """The other copy goes on; where there is none, nothing is left."""
    double = start_double(XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT="0")
    double.launch({**M3E, "replica": copies})
    switch_on(double.faults, "xinference.crash", "m3e-base", 1)
    given_up = "one to be given up"
    double.wait(lambda: len(double.statuses("m3e-base")) < copies, given_up, "m3e-base")
    assert {ask(double).status_code for _ in range(4)} == {answers}
    assert len(double.get("/v1/models/instances")) == copies - 1


# Answers


def test_the_successor_wants_a_login_unless_it_is_switched_off(start_double: StartDouble) -> None:
    double = start_double(tag=SUCCESSOR, XINFERENCE_AUTH_ADVANCED="true")
    assert double.call("GET", "/status").status_code == 200
    refused = double.call("GET", "/v1/models")
    assert refused.status_code == 401
    assert refused.json() == {"detail": "Could not validate credentials"}


def test_embeddings_have_their_models_width_and_cut_what_is_too_long(double: Double) -> None:
    double.launch(M3E)
    long = "深度学习" * 400
    whole, cut = (ask(double, text=text).json()["data"][0] for text in (long, long + "tail"))
    assert len(whole["embedding"]) == 768
    assert whole == cut


def test_rerank_sorts_by_score_and_keeps_the_index(double: Double) -> None:
    double.launch(RERANKER)
    documents = ["the lunch menu", "the lease ends the server", "the lease"]
    body = {"model": "bge-reranker-v2-m3", "query": "what ends the server", "documents": documents}
    results = double.call("POST", "/v1/rerank", json=body).json()["results"]
    scores = [row["relevance_score"] for row in results]
    assert results[0]["index"] == 1
    assert sorted(row["index"] for row in results) == [0, 1, 2]
    assert scores == sorted(scores, reverse=True)


def test_chat_answers_whole_and_streamed_from_what_it_was_told(double: Double) -> None:
    double.launch(QWEN)
    told = (
        ("system", "The lab's lease lasts eleven hours. The sky is blue."),
        ("user", "How long does the lease last?"),
    )
    (whole,) = chat(double, "qwen", *told).json()["choices"]
    assert "eleven hours" in whole["message"]["content"]
    assert whole["finish_reason"] == "stop"
    assert chat(double, "qwen", *told, stream=True).text.strip().endswith("data: [DONE]")
    refused = chat(double, "qwen", ("user", "字" * 16385))
    assert refused.status_code == 500
    assert "maximum context length is 16384 tokens" in refused.json()["detail"]


@pytest.mark.parametrize(("told", "aloud"), [({}, True), ({"enable_thinking": False}, False)])
def test_a_hybrid_model_thinks_aloud_unless_told_not_to(
    double: Double, told: dict[str, bool], aloud: bool
) -> None:
    double.launch({**QWEN, "model_name": "qwen3", "model_size_in_billions": 8, **told})
    (choice,) = chat(double, "qwen", ("user", "hi")).json()["choices"]
    assert choice["message"]["content"].startswith("<think>") is aloud


def test_speech_is_heard_again(double: Double) -> None:
    for name in ("Kokoro-82M", "whisper-large-v3"):
        double.launch({"model_name": name, "model_type": "audio"})
    body = {"model": "Kokoro-82M", "input": "你好 lab", "voice": "a"}
    audio = double.call("POST", "/v1/audio/speech", json=body).content
    assert audio.startswith(b"RIFF")
    heard = double.call(
        "POST",
        "/v1/audio/transcriptions",
        data={"model": "whisper-large-v3"},
        files={"file": ("a.wav", audio)},
    )
    assert heard.json() == {"text": "你好 lab"}


def test_a_stop_is_clean(double: Double) -> None:
    double.launch(QWEN, wait_ready=False)
    assert double.stop() == 0

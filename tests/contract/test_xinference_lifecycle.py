"""What the double believes of memory, hubs, engines, crashes and answers, where a mistake would
hide one of the product's (docs/facts/xinference.md §2-§8, docs/facts/measured.md §2)."""

from typing import Any

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


@pytest.fixture
def double(start_double: StartDouble) -> Double:
    return start_double()


def ask(double: Double, text: str = "a") -> tuple[int, Any]:
    answer = double.call("POST", "/v1/embeddings", json={"model": "m3e-base", "input": text})
    return answer.status_code, answer.json()


def said(double: Double, *messages: tuple[str, str]) -> str:
    talk = [{"role": role, "content": content} for role, content in messages]
    body = {"model": "qwen", "messages": talk}
    answer = double.call("POST", "/v1/chat/completions", json=body).json()
    return str(answer["choices"][0]["message"]["content"] if "choices" in answer else answer)


def test_the_reference_lab_fits_in_the_order_small_first(double: Double) -> None:
    for payload in (M3E, RERANKER, QWEN):
        assert double.launch(payload).status_code == 200
    listed = {model["id"] for model in double.get("/v1/models")["data"]}
    assert listed == {"m3e-base", "bge-reranker-v2-m3", "qwen"}
    assert double.get("/v1/models/qwen")["model_format"] == "awq"
    assert int(0.7 * 22731) < double.used_bytes() / 2**20 < 22731


def test_a_second_card_takes_what_the_first_cannot(start_double: StartDouble) -> None:
    double = start_double(gpus=2, XINFERENCE_TRUST_REMOTE_CODE="1")
    assert "CUDA out of memory" in double.launch(BAICHUAN).json()["detail"]
    assert double.launch({**BAICHUAN, "n_gpu": 2}).status_code == 200
    double.call("DELETE", "/v1/models/baichuan-2-chat")
    whole = {**QWEN, "gpu_memory_utilization": 0.9}
    assert double.launch(whole).status_code == 200
    assert double.launch({**whole, "model_uid": "second"}).status_code == 200
    assert double.get("/v1/models/second")["accelerators"] == ["1"]


FACE = {"download_hub": "huggingface"}


@pytest.mark.parametrize(
    ("hubs", "env", "payload", "status"),
    [
        (MAINLAND, {}, FACE, 503),
        (MAINLAND, {"HF_ENDPOINT": "https://hf-mirror.com"}, FACE, 200),
        (("huggingface.co",), {}, FACE, 200),
        (("huggingface.co",), {}, {}, 503),
    ],
)
def test_a_hub_answers_where_its_name_resolves_and_weights_stay_on_the_volume(
    start_double: StartDouble,
    hubs: tuple[str, ...],
    env: dict[str, str],
    payload: dict[str, Any],
    status: int,
) -> None:
    double = start_double(hubs=hubs, **env)
    assert double.launch({**M3E, **payload}).status_code == status
    if status == 200:
        double.set_rate("1")
        double.restart()
        assert double.launch({**M3E, **payload}).status_code == status


INDEX = "mirrors.aliyun.com"
FROM_INDEX = {"tag": SUCCESSOR, "PIP_INDEX_URL": f"https://{INDEX}/pypi/simple/"}


@pytest.mark.parametrize(
    ("server", "payload", "status", "text"),
    [
        (FROM_INDEX, {**M3E, **ENGINE}, 503, f"https://{INDEX}/simple"),
        (FROM_INDEX | {"hubs": (*HUBS, INDEX)}, M3E, 500, "import module 'SentenceTransformer'"),
        (FROM_INDEX | {"hubs": (*HUBS, INDEX)}, {**M3E, **ENGINE}, 200, ""),
        ({"mended": False}, M3E, 500, "cannot import name 'HybridCache'"),
        ({"mended": False}, QWEN, 200, ""),
        ({"gpus": 0}, M3E, 200, ""),
        ({"gpus": 0}, {**QWEN, "n_gpu": None}, 400, "cannot be run on engine vllm"),
        ({}, BAICHUAN, 400, "trust_remote_code=True"),
        # It wants a login unless that is switched off.
        ({"tag": SUCCESSOR, "XINFERENCE_AUTH_ADVANCED": "true"}, M3E, 401, "validate credentials"),
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


def test_a_deleted_model_comes_back_while_its_entry_stands(double: Double) -> None:
    """At the next start, and when another entry is written."""
    for payload in (M3E, RERANKER):
        entry = {"launch": {"model_uid": "sorter", **payload}}
        assert double.call("POST", "/v1/autostart/models", json=entry).status_code == 200
        double.until("m3e-base", "READY")
        double.call("DELETE", "/v1/models/m3e-base")
    double.restart()
    double.until("m3e-base", "READY")


def test_a_crashed_model_is_started_again_and_never_answers(double: Double) -> None:
    double.launch(M3E)
    switch_on(double.faults, "xinference.crash", "m3e-base", 1)
    double.wait(lambda: ask(double)[0] == 500, "its process to end", "m3e-base")
    assert double.statuses("m3e-base") == ["READY"]
    double.until("m3e-base", "TERMINATING")
    described = double.call("GET", "/v1/models/m3e-base")
    assert described.status_code == 400
    assert "uid: m3e-base-0" in described.json()["detail"]
    assert "m3e-base-0 is launching" in double.call("DELETE", "/v1/models/m3e-base").text
    double.wait(lambda: ask(double)[0] == 503, "a process in its place", "m3e-base")
    assert double.statuses("m3e-base") == ["TERMINATING"]
    assert double.call("GET", "/v1/models/m3e-base").status_code == 200
    assert double.get("/v1/models/instances")[0]["status"] == "READY"
    assert double.call("DELETE", "/v1/models/m3e-base").status_code == 200
    assert double.launch(M3E).status_code == 200
    assert ask(double)[0] == 200


def test_models_answer_from_what_they_were_told_and_no_longer_than_they_read(
    double: Double,
) -> None:
    """Embeddings cut what is too long, a chat refuses it; a hybrid thinks aloud unless told not."""
    double.launch(M3E)
    long = "深度学习" * 400
    whole, cut = (ask(double, text)[1]["data"][0] for text in (long, long + "tail"))
    assert len(whole["embedding"]) == 768
    assert whole == cut
    double.launch(QWEN)
    lease = ("system", "The lab's lease lasts eleven hours. The sky is blue.")
    assert "eleven hours" in said(double, lease, ("user", "How long does the lease last?"))
    assert "context length is 16384 tokens" in said(double, ("user", "字" * 16385))
    for told, aloud in (({}, True), ({"enable_thinking": False}, False)):
        double.call("DELETE", "/v1/models/qwen")
        double.launch({**QWEN, "model_name": "qwen3", "model_size_in_billions": 8, **told})
        assert said(double, ("user", "hi")).startswith("<think>") is aloud


def test_rerank_sorts_by_score_and_keeps_the_index(double: Double) -> None:
    double.launch(RERANKER)
    documents = ["the lunch menu", "the lease ends the server", "the lease"]
    body = {"model": "bge-reranker-v2-m3", "query": "what ends the server", "documents": documents}
    results = double.call("POST", "/v1/rerank", json=body).json()["results"]
    scores = [row["relevance_score"] for row in results]
    assert [row["index"] for row in results] == [1, 2, 0]
    assert scores == sorted(scores, reverse=True)

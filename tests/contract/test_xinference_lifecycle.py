"""The double's launches, memory, crashes, autostart and answers (facts §2-§8,
docs/facts/measured.md §2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.versions import SUCCESSOR_XINFERENCE
from rehearsal.faults import switch_on
from tests.contract.xinference_subject import MAINLAND, Double

Start = Callable[..., Double]
MIB = 1024 * 1024
QWEN = {
    "model_uid": "qwen2.5-instruct",
    "model_name": "qwen2.5-instruct",
    "model_type": "LLM",
    "model_engine": "vllm",
    "model_format": "awq",
    "model_size_in_billions": 14,
    "quantization": "Int4",
    "n_gpu": 1,
    "replica": 1,
    "download_hub": "modelscope",
    "gpu_memory_utilization": 0.70,
    "max_model_len": 16384,
}
SUCCESSOR = f"v{SUCCESSOR_XINFERENCE}"
ENGINE = {"model_engine": "sentence_transformers"}
M3E = {"model_uid": "m3e-base", "model_name": "m3e-base", "model_type": "embedding"}
RERANKER = {"model_name": "bge-reranker-v2-m3", "model_type": "rerank"}
BAICHUAN = {
    "model_name": "baichuan-2-chat",
    "model_engine": "transformers",
    "model_format": "pytorch",
    "model_size_in_billions": 7,
    "quantization": "none",
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Double] = []

    def begin(**options: Any) -> Double:
        tree = tmp_path / str(len(made))
        tree.mkdir()
        made.append(Double(tree, **options))
        return made[-1]

    yield begin
    for double in made:
        double.close()


def used_mib(double: Double) -> int:
    (worker,) = double.get("/status")["workers"].values()
    gpu = worker["status"]["gpu-0"]
    return int((gpu["mem_total"] - gpu["mem_free"]) / MIB)


# Launching


def test_the_reference_lab_fits_in_the_order_small_first(start: Start) -> None:
    double = start()
    for payload in (M3E, RERANKER, QWEN):
        assert double.launch(payload).status_code == 200
    assert {model["id"] for model in double.get("/v1/models")["data"]} == {
        "m3e-base",
        "bge-reranker-v2-m3",
        "qwen2.5-instruct",
    }
    assert double.get("/v1/models/qwen2.5-instruct/progress") == {"progress": 1.0}
    described = double.get("/v1/models/qwen2.5-instruct")
    assert described["model_format"] == "awq"
    assert "id" not in described
    assert int(0.7 * 22731) < used_mib(double) < 22731


def test_a_background_launch_learns_of_an_unknown_model_later(start: Start) -> None:
    double = start()
    payload = {**QWEN, "model_name": "qwen9"}
    assert double.launch(payload, wait_ready=False).status_code == 200
    assert "Model not found, name: qwen9" in double.failure("qwen2.5-instruct")


def test_right_after_the_launch_the_uid_is_still_unknown(start: Start) -> None:
    double = start()
    double.launch(QWEN, wait_ready=False)
    assert double.statuses("qwen2.5-instruct") == []
    double.until("qwen2.5-instruct", "READY")


def test_wait_ready_in_the_body_is_an_engines_argument(start: Start) -> None:
    double = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    assert double.launch({**QWEN, "wait_ready": False}).status_code == 200
    assert double.statuses("qwen2.5-instruct") == ["READY"]


def test_deleting_a_launching_model_is_refused_and_the_launch_goes_on(start: Start) -> None:
    double = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    double.launch(QWEN, wait_ready=False)
    refused = double.call("DELETE", "/v1/models/qwen2.5-instruct")
    assert refused.status_code == 400
    assert "Model not found in the model list, uid: qwen2.5-instruct-0" in refused.json()["detail"]
    double.until("qwen2.5-instruct", "READY")


def test_a_deleted_model_gives_its_memory_back_and_is_remembered(start: Start) -> None:
    double = start()
    double.launch(QWEN)
    assert double.call("DELETE", "/v1/models/qwen2.5-instruct").json() is None
    assert double.statuses("qwen2.5-instruct") == ["TERMINATED"]
    assert double.get("/v1/models/instances") == []
    assert used_mib(double) == 0


def test_cancelling_a_ready_model_loses_it_and_the_successor_does_nothing(start: Start) -> None:
    older, newer = start(), start(tag=SUCCESSOR)
    for double, payload in ((older, M3E), (newer, {**M3E, **ENGINE})):
        double.launch(payload)
        assert double.call("POST", "/v1/models/m3e-base/cancel").status_code == 200
        assert used_mib(double) > 0
    assert older.call("GET", "/v1/models/m3e-base").status_code == 400
    assert newer.call("GET", "/v1/models/m3e-base").status_code == 200
    # The next launch fails and clears it away, and tells no reason.
    older.launch(M3E, wait_ready=False)
    older.wait(lambda: used_mib(older) == 0, "its memory to be free", "m3e-base")
    (book,) = older.get("/v1/models/instances")
    assert (book["status"], older.error("m3e-base")) == ("ERROR", "")
    assert older.launch(M3E).status_code == 200


def test_a_cancelled_launch_unwinds_for_a_while_at_2_12(start: Start) -> None:
    double = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    double.launch(QWEN, wait_ready=False)
    double.until("qwen2.5-instruct", "CREATING")
    double.call("POST", "/v1/models/qwen2.5-instruct/cancel")
    double.launch(QWEN, wait_ready=False)
    assert double.failure("qwen2.5-instruct") == "qwen2.5-instruct-0 is running"
    double.wait(
        lambda: double.launch(QWEN).status_code == 200, "room for it again", "qwen2.5-instruct"
    )


def test_an_error_comes_before_its_message(start: Start) -> None:
    double = start()
    double.launch({**QWEN, "model_name": "qwen9"}, wait_ready=False)
    seen: list[str] = []

    def told() -> bool:
        if double.statuses("qwen2.5-instruct") == ["ERROR"]:
            seen.append(double.error("qwen2.5-instruct"))
        return bool(seen and seen[-1])

    double.wait(told, "a message", "qwen2.5-instruct")
    assert seen[0] == ""


def test_a_process_that_does_not_start_leaves_no_message(start: Start) -> None:
    double = start()
    switch_on(double.faults, "xinference.spawn", "m3e-base", 1)
    assert double.launch(M3E).status_code == 500
    assert (double.statuses("m3e-base"), double.error("m3e-base")) == (["ERROR"], "")


# Downloads


def test_a_failed_download_is_retried_with_the_same_uid_and_resumed(start: Start) -> None:
    double = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    switch_on(double.faults, "xinference.download", "qwen2.5-instruct", 1)
    double.launch(QWEN, wait_ready=False)
    assert "(size: 14, format: awq) after multiple retries" in double.failure("qwen2.5-instruct")
    double.launch(QWEN, wait_ready=False)
    first: list[float] = []

    def seen() -> bool:
        progress = double.get("/v1/models/qwen2.5-instruct/progress")["progress"]
        first.extend([progress] if progress else [])
        return bool(first)

    double.wait(seen, "some progress", "qwen2.5-instruct")
    assert first[0] > 0.4
    double.until("qwen2.5-instruct", "READY")


def test_a_hanging_download_stands_still_until_it_is_cancelled(start: Start) -> None:
    double = start(tag=SUCCESSOR)
    switch_on(double.faults, "xinference.hang", "qwen2.5-instruct", 1)
    double.launch(QWEN, wait_ready=False)

    def file() -> dict[str, Any]:
        files = double.get("/v1/models/qwen2.5-instruct/progress")["download_files"]
        return dict(files[0]) if files else {}

    double.wait(
        lambda: file().get("downloaded_bytes", 0) > 0 and not file()["speed_bytes_per_second"],
        "bytes to stand still",
        "qwen2.5-instruct",
    )
    before = file()["downloaded_bytes"]
    assert 0 < before < file()["total_bytes"]
    assert file()["downloaded_bytes"] == before
    double.call("POST", "/v1/models/qwen2.5-instruct/cancel")
    assert double.statuses("qwen2.5-instruct") == ["ERROR"]
    assert double.launch(QWEN).status_code == 200


def test_weights_stay_on_the_volume(start: Start) -> None:
    double = start()
    double.launch(QWEN)
    double.set_rate("1")
    double.restart()
    assert double.launch(QWEN).status_code == 200


@pytest.mark.parametrize(
    ("hubs", "env", "payload", "status"),
    [
        (MAINLAND, {}, {}, 200),
        (MAINLAND, {}, {"download_hub": "huggingface"}, 503),
        (MAINLAND, {"HF_ENDPOINT": "https://hf-mirror.com"}, {"download_hub": "huggingface"}, 200),
        (("huggingface.co",), {}, {"download_hub": "huggingface"}, 200),
        (("huggingface.co",), {}, {}, 503),
        ((), {}, {}, 503),
    ],
)
def test_a_hub_answers_where_its_name_resolves(
    start: Start,
    hubs: tuple[str, ...],
    env: dict[str, str],
    payload: dict[str, Any],
    status: int,
) -> None:
    double = start(hubs=hubs, **env)
    assert double.launch({**M3E, **payload}).status_code == status


# GPU memory


@pytest.mark.parametrize(
    ("before", "payload", "status", "text"),
    [
        ([RERANKER], {"gpu_memory_utilization": None}, 400, "desired GPU memory utilization"),
        ([], {"gpu_memory_utilization": 0.42}, 400, "No available memory for the cache blocks"),
        ([], {"max_model_len": 32768}, 400, "larger than the maximum number of tokens"),
        ([], {"model_format": "pytorch", "quantization": "none"}, 500, "CUDA out of memory"),
        ([], {"n_gpu": 2}, 400, "not greater than the number of GPUs: 1"),
        ([], {"gpu_idx": [1]}, 400, "can only see these GPUs: [0]"),
        ([], {"n_gpu": None}, 400, "cannot be run on engine vLLM"),
        ([], {"model_engine": "vllmm"}, 400, "cannot be run on engine vllmm"),
    ],
)
def test_what_does_not_fit_fails_in_the_engines_words(
    start: Start, before: list[dict[str, Any]], payload: dict[str, Any], status: int, text: str
) -> None:
    double = start()
    for other in before:
        double.launch(other)
    taken = used_mib(double)
    wrong = {**QWEN, **payload}
    failed = double.launch(wrong)
    assert failed.status_code == status
    assert text in failed.json()["detail"]
    double.launch(wrong, wait_ready=False)
    assert text in double.failure("qwen2.5-instruct")
    assert used_mib(double) == taken


def test_a_second_card_takes_what_the_first_cannot(start: Start) -> None:
    double = start(gpus=2)
    whole = {**QWEN, "gpu_memory_utilization": 0.9}
    assert double.launch(whole).status_code == 200
    assert double.launch({**whole, "model_uid": "second"}).status_code == 200
    assert double.get("/v1/models/second")["accelerators"] == ["1"]


def test_baichuan_wants_trust_and_13b_two_cards(start: Start) -> None:
    refused = start().launch(BAICHUAN)
    assert "trust_remote_code=True" in refused.json()["detail"]
    double = start(gpus=2, XINFERENCE_TRUST_REMOTE_CODE="1")
    large = {**BAICHUAN, "model_size_in_billions": 13}
    assert "CUDA out of memory" in double.launch(large).json()["detail"]
    assert double.launch({**large, "n_gpu": 2}).status_code == 200


def test_without_a_gpu_small_models_run_and_vllm_does_not(start: Start) -> None:
    double = start(gpus=0)
    assert double.launch(M3E).status_code == 200
    refused = double.launch({key: value for key, value in QWEN.items() if key != "n_gpu"})
    assert "cannot be run on engine vLLM" in refused.json()["detail"]


# Restart


def entry(payload: dict[str, Any], **policy: Any) -> dict[str, Any]:
    return {"launch": payload, "enabled": True, **policy}


def test_after_a_restart_only_autostarted_models_come_back(start: Start) -> None:
    double = start()
    double.launch(M3E)
    double.launch(RERANKER)
    listed = double.call("POST", "/v1/autostart/models", json=entry(M3E)).json()
    assert [each["launch"]["model_uid"] for each in listed["models"]] == ["m3e-base"]
    double.restart()
    double.until("m3e-base", "READY")
    assert double.statuses("bge-reranker-v2-m3") == []
    double.call("DELETE", "/v1/models/m3e-base")
    double.call("DELETE", "/v1/autostart/models/m3e-base")
    double.restart()
    assert double.get("/v1/autostart/models") == {"models": []}
    assert double.statuses("m3e-base") == []


def test_a_deleted_model_comes_back_at_boot_while_its_entry_stands(start: Start) -> None:
    double = start()
    double.call("POST", "/v1/autostart/models", json=entry(M3E))
    double.until("m3e-base", "READY")
    double.call("DELETE", "/v1/models/m3e-base")
    assert double.statuses("m3e-base") == ["TERMINATED"]
    double.restart()
    double.until("m3e-base", "READY")


def test_writing_one_entry_starts_every_entry_that_is_down(start: Start) -> None:
    double = start()
    double.call("POST", "/v1/autostart/models", json=entry(M3E, retry_interval_seconds=1))
    double.until("m3e-base", "READY")
    double.call("DELETE", "/v1/models/m3e-base")
    double.call("POST", "/v1/autostart/models", json=entry(RERANKER))
    double.until("bge-reranker-v2-m3", "READY")
    double.until("m3e-base", "READY")


def test_an_autostart_entry_loses_its_nulls(start: Start) -> None:
    double = start()
    cpu = {**M3E, "n_gpu": None}
    double.launch(cpu)
    assert used_mib(double) == 0
    (kept,) = double.call("POST", "/v1/autostart/models", json=entry(cpu)).json()["models"]
    assert "n_gpu" not in kept["launch"]
    double.restart()
    double.until("m3e-base", "READY")
    assert used_mib(double) > 0


def test_autostart_gives_up_after_its_retries(start: Start) -> None:
    double = start()
    wrong = entry({**M3E, "model_name": "nobody"}, max_retries=2, retry_interval_seconds=1)
    double.call("POST", "/v1/autostart/models", json=wrong)

    def state() -> dict[str, Any]:
        return dict(double.get("/v1/autostart/models")["models"][0]["state"])

    double.wait(lambda: state().get("attempts") == 2, "two attempts", "m3e-base")
    double.wait(lambda: state()["status"] == "error", "an error", "m3e-base")
    assert "not found, available models" in state()["last_error"]


def test_after_a_restart_models_come_one_by_one_in_the_order_of_their_uids(start: Start) -> None:
    double = start()
    for payload in (M3E, RERANKER):
        double.launch(payload)
        double.call("POST", "/v1/autostart/models", json=entry(payload))
    double.restart()
    # While the first loads, the second has no state yet and is known to nobody.
    later = double.get("/v1/autostart/models")["models"][0]
    assert later["launch"]["model_uid"] == "m3e-base"
    assert "status" not in later["state"]
    assert double.statuses("m3e-base") == []
    assert double.call("GET", "/v1/models/m3e-base").status_code == 400
    double.until("m3e-base", "READY")
    assert double.statuses("bge-reranker-v2-m3") == ["READY"]


# Crashes


def ask(double: Double) -> httpx.Response:
    return double.call("POST", "/v1/embeddings", json={"model": "m3e-base", "input": "a"})


def test_a_crashed_model_is_started_again_and_never_answers(start: Start) -> None:
    double = start()
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


def test_a_crashed_model_is_given_up_at_its_limit(start: Start) -> None:
    double = start(XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT="0")
    double.launch(M3E)
    switch_on(double.faults, "xinference.crash", "m3e-base", 1)
    double.wait(lambda: double.statuses("m3e-base") == [], "it to be given up", "m3e-base")
    assert double.get("/v1/models/instances") == []
    assert double.call("GET", "/v1/models/m3e-base").status_code == 400


def test_of_two_copies_the_other_goes_on(start: Start) -> None:
    double = start(XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT="0")
    double.launch({**M3E, "replica": 2})
    switch_on(double.faults, "xinference.crash", "m3e-base", 1)
    double.wait(lambda: len(double.statuses("m3e-base")) == 1, "one to be given up", "m3e-base")
    assert {ask(double).status_code for _ in range(4)} == {200}


# The successor


def test_the_successor_wants_a_login_unless_it_is_switched_off(start: Start) -> None:
    double = start(tag=SUCCESSOR, XINFERENCE_AUTH_ADVANCED="true")
    assert double.call("GET", "/status").status_code == 200
    refused = double.call("GET", "/v1/models")
    assert refused.status_code == 401
    assert refused.json() == {"detail": "Could not validate credentials"}


def test_the_successors_engines_come_from_the_package_index(start: Start) -> None:
    unreachable = start(tag=SUCCESSOR, hubs=MAINLAND)
    refused = unreachable.launch({**M3E, **ENGINE})
    assert refused.status_code == 503
    assert "Failed to install packages" in refused.json()["detail"]
    mirror = {"PIP_INDEX_URL": "https://mirrors.aliyun.com/pypi/simple/"}
    reached = start(tag=SUCCESSOR, hubs=(*MAINLAND, "mirrors.aliyun.com"), **mirror)
    nameless = reached.launch(M3E)
    assert nameless.status_code == 500
    assert "Failed to import module 'SentenceTransformer'" in nameless.json()["detail"]
    assert reached.launch({**M3E, **ENGINE}).status_code == 200


def test_the_image_of_2_12_does_not_load_embeddings_as_it_is(start: Start) -> None:
    as_it_is = start(mended=False)
    refused = as_it_is.launch(M3E)
    assert refused.status_code == 500
    assert "cannot import name 'HybridCache'" in refused.json()["detail"]
    assert as_it_is.launch(QWEN).status_code == 200
    assert start(mended=True).launch(M3E).status_code == 200


# Answers


def test_a_launch_forgets_that_the_uid_was_absent(start: Start) -> None:
    double = start()
    body = {"model": "m3e-base", "input": "hello"}
    assert double.call("POST", "/v1/embeddings", json=body).status_code == 404
    double.launch(M3E)
    assert double.call("POST", "/v1/embeddings", json=body).status_code == 200


def test_embeddings_have_their_models_width_and_cut_what_is_too_long(start: Start) -> None:
    double = start()
    double.launch(M3E)
    long = "深度学习" * 400
    body = {"model": "m3e-base", "input": ["a short text", long, long + "tail"]}
    answer = double.call("POST", "/v1/embeddings", json=body).json()
    short, first, second = (row["embedding"] for row in answer["data"])
    assert {len(short), len(first)} == {768}
    assert first == second
    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    assert answer["model"] == "m3e-base"


def test_rerank_sorts_by_score_and_keeps_the_index(start: Start) -> None:
    double = start()
    double.launch(RERANKER)
    documents = ["the lunch menu", "the lease ends the server", "the lease"]
    body = {"model": "bge-reranker-v2-m3", "query": "what ends the server", "documents": documents}
    results = double.call("POST", "/v1/rerank", json=body).json()["results"]
    scores = [row["relevance_score"] for row in results]
    assert results[0]["index"] == 1
    assert sorted(row["index"] for row in results) == [0, 1, 2]
    assert scores == sorted(scores, reverse=True)


def test_chat_answers_whole_and_streamed_from_what_it_was_told(start: Start) -> None:
    double = start()
    double.launch(QWEN)
    messages = [
        {"role": "system", "content": "The lab's lease lasts eleven hours. The sky is blue."},
        {"role": "user", "content": "How long does the lease last?"},
    ]
    body = {"model": "qwen2.5-instruct", "messages": messages}
    whole = double.call("POST", "/v1/chat/completions", json=body).json()
    said = whole["choices"][0]["message"]["content"]
    assert "eleven hours" in said
    assert whole["choices"][0]["finish_reason"] == "stop"
    text = double.call("POST", "/v1/chat/completions", json={**body, "stream": True}).text
    assert text.strip().endswith("data: [DONE]")
    long = {**body, "messages": [{"role": "user", "content": "字" * 16385}]}
    refused = double.call("POST", "/v1/chat/completions", json=long)
    assert refused.status_code == 500
    assert "maximum context length is 16384 tokens" in refused.json()["detail"]


def test_a_hybrid_model_thinks_aloud_unless_told_not_to(start: Start) -> None:
    double = start()
    qwen3 = {**QWEN, "model_name": "qwen3", "model_size_in_billions": 8}
    double.launch({**qwen3, "model_uid": "quiet", "enable_thinking": False})
    body = {"model": "quiet", "messages": [{"role": "user", "content": "hi"}]}
    quiet = double.call("POST", "/v1/chat/completions", json=body).json()
    assert "<think>" not in quiet["choices"][0]["message"]["content"]
    double.call("DELETE", "/v1/models/quiet")
    double.launch({**qwen3, "model_uid": "aloud"})
    loud = double.call("POST", "/v1/chat/completions", json={**body, "model": "aloud"}).json()
    assert loud["choices"][0]["message"]["content"].startswith("<think>")


def test_speech_is_heard_again(start: Start) -> None:
    double = start()
    double.launch({"model_name": "Kokoro-82M", "model_type": "audio"})
    double.launch({"model_name": "whisper-large-v3", "model_type": "audio"})
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


def test_a_stop_is_clean(start: Start) -> None:
    double = start()
    double.launch(QWEN, wait_ready=False)
    assert double.stop() == 0

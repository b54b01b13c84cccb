"""What was measured on Xinference 4.1.0 (facts/xinference.md, rows marked M): double and real."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.xinference_subject import Double, Subject

REAL = os.environ.get("XINFERENCE_URL")
AWQ = {
    "model_name": "qwen2.5-instruct",
    "model_engine": "transformers",
    "model_format": "awq",
    "model_size_in_billions": 7,
    "quantization": "Int4",
}
# With no way to a hub the real one tries for a minute.
SLOW = 180.0


@pytest.fixture(scope="module", params=["double", *(["real"] if REAL else [])])
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    if request.param == "real":
        assert REAL
        made: Subject = Subject(REAL)
    else:
        tree: Path = tmp_path_factory.mktemp("xinference")
        made = Double(tree, tag="v4.1.0-cpu", gpus=0, hubs=(), XINFERENCE_AUTH_ADVANCED="0")
    yield made
    made.close()


@pytest.fixture
def uid() -> str:
    return f"m-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"model_type": "embedding"}, "Please specify the `model_name` field"),
        ({"model_name": "qwen2.5-instruct"}, "Please specify the `model_engine` field"),
        ({**AWQ, "model_name": "nobody"}, "Model not found, name: nobody"),
        ({**AWQ, "model_format": "awk"}, "Model not found, name: qwen2.5-instruct"),
        ({**AWQ, "model_size_in_billions": 8}, "Model not found, name: qwen2.5-instruct"),
        ({**AWQ, "quantization": "Int3"}, "Model not found, name: qwen2.5-instruct"),
        ({"model_name": "nobody", "model_type": "embedding"}, "available models: dict_keys(["),
    ],
)
def test_what_is_not_in_the_catalogue_is_a_400(
    subject: Subject, payload: dict[str, object], text: str
) -> None:
    refused = subject.launch(payload)
    assert refused.status_code == 400
    assert text in refused.json()["detail"]


def test_an_actors_error_has_a_prefix(subject: Subject) -> None:
    detail = subject.launch({**AWQ, "model_name": "nobody"}).json()["detail"]
    assert re.match(r"\[address=[^,]+, pid=\d+\] Model not found", detail)


def test_an_unknown_uid_looks_like_one_that_has_not_begun(subject: Subject, uid: str) -> None:
    progress = subject.call("GET", f"/v1/models/{uid}/progress")
    assert progress.status_code == 200
    assert progress.json()["progress"] == 0.0
    assert progress.json()["stage"] == "pending"
    replicas = subject.call("GET", f"/v1/models/{uid}/replicas")
    assert (replicas.status_code, replicas.json()) == (200, [])


def test_an_absent_uid_is_a_400_to_look_at_and_to_delete(subject: Subject, uid: str) -> None:
    for method in ("GET", "DELETE"):
        refused = subject.call(method, f"/v1/models/{uid}")
        assert refused.status_code == 400
        assert "Model not found in the model list, uid:" in refused.json()["detail"]


def test_an_absent_uid_is_a_500_to_cancel(subject: Subject, uid: str) -> None:
    refused = subject.call("POST", f"/v1/models/{uid}/cancel")
    assert refused.status_code == 500
    assert f"Model {uid} has not been launched yet" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/embeddings", {"input": "hi"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
def test_inference_on_an_absent_uid_is_a_remembered_404(
    subject: Subject, uid: str, path: str, body: dict[str, object]
) -> None:
    first = subject.call("POST", path, json={"model": uid, **body})
    second = subject.call("POST", path, json={"model": uid, **body})
    assert (first.status_code, second.status_code) == (404, 404)
    assert "cached, retry after 10" in second.json()["detail"]
    assert "cached" not in first.json()["detail"]


def test_a_launch_in_the_background_answers_with_the_uid_and_holds_it(
    subject: Subject, uid: str
) -> None:
    payload = {**AWQ, "model_uid": uid}
    started = subject.launch(payload, wait_ready=False)
    assert (started.status_code, started.json()) == (200, {"model_uid": uid})
    again = subject.launch(payload, wait_ready=False)
    assert again.status_code == 400
    assert f"Model is already in the model list, uid: {uid}" in again.json()["detail"]
    assert uid not in [model["id"] for model in subject.get("/v1/models")["data"]]
    looked = subject.call("GET", f"/v1/models/{uid}")
    assert looked.status_code == 503
    assert looked.headers["Retry-After"] == "30"
    assert "Model is loading" in looked.json()["detail"]
    body = {"model": uid, "messages": []}
    assert subject.call("POST", "/v1/chat/completions", json=body).status_code == 503
    subject.until(uid, "ERROR", SLOW)
    assert "Failed to download model 'qwen2.5-instruct'" in subject.error(uid)
    assert subject.get(f"/v1/models/{uid}/progress")["stage"] == "pending"
    assert subject.call("GET", f"/v1/models/{uid}").status_code == 400
    # A failed launch frees its uid.
    assert subject.launch(payload, wait_ready=False).status_code == 200
    subject.call("POST", f"/v1/models/{uid}/cancel")


def test_a_download_that_fails_is_a_503_to_one_who_waits(subject: Subject, uid: str) -> None:
    failed = subject.launch({**AWQ, "model_uid": uid})
    assert failed.status_code == 503
    assert "after multiple retries" in failed.json()["detail"]
    (instance,) = subject.get(f"/v1/models/instances?model_uid={uid}")
    assert instance["status"] == "ERROR"


def test_a_cancelled_download_ends_as_an_error(subject: Subject, uid: str) -> None:
    subject.launch({**AWQ, "model_uid": uid}, wait_ready=False)
    subject.wait(lambda: subject.statuses(uid) != [], "a first status", uid)
    assert subject.call("POST", f"/v1/models/{uid}/cancel").status_code == 200
    subject.until(uid, "ERROR", SLOW)
    assert subject.call("GET", f"/v1/models/{uid}").status_code == 400


def test_gpu_index_and_replicas_must_fit(subject: Subject, uid: str) -> None:
    refused = subject.launch({**AWQ, "model_uid": uid, "gpu_idx": [0, 1, 2], "replica": 2})
    assert refused.status_code == 400
    assert refused.json()["detail"] == (
        "Invalid input. Allocated gpu must be a multiple of replica."
    )


@pytest.mark.parametrize("name", ["m" * 101, "qwen-rep1", " "])
def test_a_uid_has_its_rules(subject: Subject, name: str) -> None:
    refused = subject.launch({**AWQ, "model_uid": name}, wait_ready=False)
    assert refused.status_code == 400


def test_the_server_tells_about_itself(subject: Subject) -> None:
    assert set(subject.get("/status")) >= {"uptime", "workers"}
    assert subject.get("/v1/cluster/auth") == {"auth": False}
    assert subject.get("/v1/cluster/version")["version"]
    assert subject.get("/v1/cluster/devices") == 0
    kinds = [node["node_type"] for node in subject.get("/v1/cluster/info?detailed=true")]
    assert kinds == ["Supervisor", "Worker"]
    engines = subject.get("/v1/engines/qwen2.5-instruct")
    assert {"pytorch", "gptq", "awq"} <= {row["model_format"] for row in engines["Transformers"]}

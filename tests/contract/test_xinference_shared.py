"""Xinference as it was measured, release by release: double and real (docs/facts/measured.md §2,
facts §2).

The double is asked at the release that the lab pins and at its successor; `XINFERENCE_URL` names a
real server of either. It should be started for the suite alone, without a GPU and without a way to
a hub, with XINFERENCE_AUTH_ADVANCED=0 and XINFERENCE_DOWNLOAD_MAX_ATTEMPTS=1. What needs a model
that loads takes the embedding that `XINFERENCE_EMBEDDING` names, which may be a custom one.
"""

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from tests.contract.xinference_subject import HUBS, Double, Subject

REAL = os.environ.get("XINFERENCE_URL")
AWQ = {
    "model_name": "qwen2.5-instruct",
    "model_engine": "transformers",
    "model_format": "awq",
    "model_size_in_billions": 7,
    "quantization": "Int4",
}
# With no way to a hub the real one tries for a minute, and a model takes as long to load.
SLOW = 180.0
SUBJECTS = (DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE, *(["real"] if REAL else []))


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    """A server that reaches no hub."""
    made = _subject(request.param, tmp_path_factory.mktemp("xinference"), hubs=())
    yield made
    made.close()


@pytest.fixture(scope="module", params=SUBJECTS)
def loading(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    """A server that has an embedding to load."""
    if request.param == "real" and not os.environ.get("XINFERENCE_EMBEDDING"):
        pytest.skip("XINFERENCE_EMBEDDING names no embedding of the real server")
    made = _subject(request.param, tmp_path_factory.mktemp("xinference"), hubs=HUBS)
    yield made
    made.close()


def _subject(which: str, tree: Path, hubs: tuple[str, ...]) -> Subject:
    if which == "real":
        assert REAL
        made = Subject(REAL)
        assert made.version.rpartition(".")[0] in ("2.12", "4.1"), made.version
        return made
    return Double(tree, tag=f"v{which}-cpu", gpus=0, hubs=hubs)


@pytest.fixture
def uid() -> str:
    return f"m-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def embedder(loading: Subject, uid: str) -> Iterator[str]:
    """The uid of an embedding that serves."""
    assert loading.launch(embedding(loading, uid)).status_code == 200
    yield uid
    loading.call("DELETE", f"/v1/models/{uid}")


def embedding(subject: Subject, uid: str, **more: Any) -> dict[str, Any]:
    name = "m3e-base" if isinstance(subject, Double) else os.environ["XINFERENCE_EMBEDDING"]
    payload = {"model_uid": uid, "model_name": name, "model_type": "embedding", **more}
    if is_successor(subject) and isinstance(subject, Double):
        payload["model_engine"] = "sentence_transformers"
    return payload


def is_successor(subject: Subject) -> bool:
    return subject.version == SUCCESSOR_XINFERENCE


def instance(subject: Subject, uid: str) -> dict[str, Any]:
    (found,) = subject.get(f"/v1/models/instances?model_uid={uid}")
    return dict(found)


# Launching


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
        ({**AWQ, "model_uid": "m" * 101}, ""),
        ({**AWQ, "model_uid": " "}, ""),
    ],
)
def test_what_is_malformed_or_not_in_the_catalogue_is_a_400(
    subject: Subject, payload: dict[str, object], text: str
) -> None:
    refused = subject.launch(payload)
    assert refused.status_code == 400
    assert text in refused.json()["detail"]
    if "not found" in text:
        # It comes from an actor.
        assert re.match(r"\[address=[^,]+, pid=\d+\] ", refused.json()["detail"])


def test_an_unknown_uid_looks_like_one_that_has_not_begun(subject: Subject, uid: str) -> None:
    progress = subject.call("GET", f"/v1/models/{uid}/progress")
    assert progress.status_code == 200
    assert progress.json()["progress"] == 0.0
    if is_successor(subject):
        assert progress.json()["stage"] == "pending"
    else:
        assert set(progress.json()) == {"progress"}
    replicas = subject.call("GET", f"/v1/models/{uid}/replicas")
    assert (replicas.status_code, replicas.json()) == (200, [])
    assert subject.get(f"/v1/models/instances?model_uid={uid}") == []


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/models/{}", 400, "Model not found in the model list, uid: "),
        ("DELETE", "/v1/models/{}", 400, "Model not found in the model list, uid: "),
        ("POST", "/v1/models/{}/cancel", 500, "Model {} has not been launched yet"),
        ("POST", "/v1/embeddings", 404, "Model not found in the model list, uid: {}"),
    ],
)
def test_an_absent_uid_is_refused(
    subject: Subject, uid: str, method: str, path: str, status: int, text: str
) -> None:
    refused = subject.call(method, path.format(uid), json={"model": uid, "input": "hi"})
    assert refused.status_code == status
    assert text.format(uid) in refused.json()["detail"]


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
    assert instance(subject, uid)["status"] == "CREATING"
    body = {"model": uid, "messages": [{"role": "user", "content": "hi"}]}
    assert subject.call("POST", "/v1/chat/completions", json=body).status_code == 503
    # A DELETE looks for a copy, which is not there yet, and the launch goes on.
    copy = "rep0" if is_successor(subject) else "0"
    deleted = subject.call("DELETE", f"/v1/models/{uid}")
    assert deleted.status_code == 400
    assert deleted.json()["detail"].endswith(f"uid: {uid}-{copy}")
    assert subject.failure(uid, SLOW).startswith("Failed to download model 'qwen2.5-instruct'")
    # A failed launch frees its uid.
    assert subject.launch(payload, wait_ready=False).status_code == 200
    subject.wait(lambda: subject.statuses(uid) != [], "a first status", uid)
    subject.call("POST", f"/v1/models/{uid}/cancel")


def test_a_download_that_fails_is_a_503_to_one_who_waits(subject: Subject, uid: str) -> None:
    failed = subject.launch({**AWQ, "model_uid": uid})
    assert failed.status_code == 503
    assert "after multiple retries" in failed.json()["detail"]
    assert instance(subject, uid)["status"] == "ERROR"


def test_a_cancelled_launch_has_failed_whatever_its_replicas_say(
    subject: Subject, uid: str
) -> None:
    subject.launch({**AWQ, "model_uid": uid}, wait_ready=False)
    subject.wait(lambda: subject.statuses(uid) != [], "a first status", uid)
    assert subject.call("POST", f"/v1/models/{uid}/cancel").status_code == 200
    assert instance(subject, uid)["status"] == "ERROR"
    assert subject.call("GET", f"/v1/models/{uid}").status_code == 400
    if is_successor(subject):
        subject.until(uid, "ERROR", SLOW)
    else:
        assert subject.statuses(uid) == ["CREATING"]


def test_a_uid_that_looks_like_a_replicas_is_refused_by_the_successor_only(
    subject: Subject, uid: str
) -> None:
    answered = subject.launch({**AWQ, "model_uid": f"{uid}-rep1"}, wait_ready=False)
    assert answered.status_code == (400 if is_successor(subject) else 200)


# What serves


def test_what_serves_is_told_by_description_and_book(loading: Subject, embedder: str) -> None:
    described = loading.get(f"/v1/models/{embedder}")
    assert described["model_type"] == "embedding"
    assert ("model_engine" in described) is is_successor(loading)
    assert loading.get(f"/v1/models/{embedder}/progress")["progress"] == 1.0
    book = instance(loading, embedder)
    assert book["status"] == "READY"
    (row,) = book["replica_statuses"]
    assert (row["status"], row["error_message"]) == ("READY", None)


@pytest.mark.parametrize("copies", [1, 2])
def test_what_has_stopped_is_forgotten_by_the_book(loading: Subject, uid: str, copies: int) -> None:
    """Of two copies one stays READY in the rows at 2.12."""
    assert loading.launch(embedding(loading, uid, replica=copies)).status_code == 200
    assert loading.statuses(uid) == ["READY"] * copies
    assert loading.call("DELETE", f"/v1/models/{uid}").status_code == 200
    last = "TERMINATED" if copies == 1 or is_successor(loading) else "READY"
    assert loading.statuses(uid) == ["TERMINATED", last][-copies:]
    assert loading.call("GET", f"/v1/models/{uid}").status_code == 400
    assert loading.get(f"/v1/models/instances?model_uid={uid}") == []


def test_an_embedding_embeds_and_does_nothing_else(loading: Subject, embedder: str) -> None:
    asked = {"model": embedder, "input": ["a", "b"]}
    answer = loading.call("POST", "/v1/embeddings", json=asked).json()
    assert [row["index"] for row in answer["data"]] == [0, 1]
    assert answer["model"] == embedder
    hi = {"model": embedder, "messages": [{"role": "user", "content": "hi"}]}
    refused = loading.call("POST", "/v1/chat/completions", json=hi)
    assert refused.status_code == 500
    if not is_successor(loading):
        assert "has no attribute 'model_spec'" in refused.json()["detail"]

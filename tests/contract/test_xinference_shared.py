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
from pathlib import Path
from typing import Any

import pytest

from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from tests.contract.xinference_subject import ENGINE, HUBS, Double, Subject
from tests.tables import table

REAL = os.environ.get("XINFERENCE_URL", "")
AWQ = {
    "model_name": "qwen2.5-instruct",
    "model_engine": "transformers",
    "model_format": "awq",
    "model_size_in_billions": 7,
    "quantization": "Int4",
}
NOBODY = {"model_name": "nobody", "model_type": "embedding"}
# With no way to a hub the real one tries for a minute, and a model takes as long to load.
SLOW = 180.0
SUBJECTS = (DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE, *(["real"] if REAL else []))


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A server that reaches no hub."""
    return started(request, tmp_path_factory.mktemp("xinference"), hubs=())


@pytest.fixture(scope="module", params=SUBJECTS)
def loading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A server that has an embedding to load."""
    if request.param == "real" and not os.environ.get("XINFERENCE_EMBEDDING"):
        pytest.skip("XINFERENCE_EMBEDDING names no embedding of the real server")
    return started(request, tmp_path_factory.mktemp("xinference"), hubs=HUBS)


def started(request: pytest.FixtureRequest, tree: Path, hubs: tuple[str, ...]) -> Subject:
    tag = f"v{request.param}-cpu"
    made = Subject(REAL) if request.param == "real" else Double(tree, tag=tag, gpus=0, hubs=hubs)
    request.addfinalizer(made.stop)
    return made


@pytest.fixture
def uid() -> str:
    return f"m-{uuid.uuid4().hex[:8]}"


def embedding(subject: Subject, uid: str, **more: Any) -> dict[str, Any]:
    is_double = isinstance(subject, Double)
    name = "m3e-base" if is_double else os.environ["XINFERENCE_EMBEDDING"]
    engine = ENGINE if is_double and is_successor(subject) else {}
    return {"model_uid": uid, "model_name": name, "model_type": "embedding", **engine, **more}


def is_successor(subject: Subject) -> bool:
    return bool(subject.get("/v1/cluster/version")["version"] == SUCCESSOR_XINFERENCE)


def instance(subject: Subject, uid: str) -> dict[str, Any]:
    (found,) = subject.get(f"/v1/models/instances?model_uid={uid}")
    return dict(found)


# Launching


@table("xinference_shared")
def test_what_is_malformed_or_unknown_is_a_400(payload: Any, text: str, subject: Subject) -> None:
    refused = subject.launch(payload)
    assert refused.status_code == 400
    assert text in refused.json()["detail"]
    if "not found" in text:
        # It comes from an actor.
        assert re.match(r"\[address=[^,]+, pid=\d+\] ", refused.json()["detail"])


def test_an_unknown_uid_looks_like_one_that_has_not_begun(subject: Subject, uid: str) -> None:
    told = subject.get(f"/v1/models/{uid}/progress")
    assert told["progress"] == 0.0
    assert told.get("stage") == ("pending" if is_successor(subject) else None)
    assert subject.statuses(uid) == subject.get(f"/v1/models/instances?model_uid={uid}") == []


@table("xinference_shared")
def test_an_absent_uid_is_refused(
    method: str, path: str, status: int, text: str, subject: Subject, uid: str
) -> None:
    refused = subject.call(method, path.format(uid), json={"model": uid, "input": "hi"})
    assert refused.status_code == status
    assert text.format(uid) in refused.json()["detail"]


def test_a_launch_in_the_background_holds_its_uid(subject: Subject, uid: str) -> None:
    payload = {**AWQ, "model_uid": uid}
    started = subject.launch(payload, wait_ready=False)
    assert (started.status_code, started.json()) == (200, {"model_uid": uid})
    again = subject.launch(payload, wait_ready=False)
    assert again.status_code == 400
    assert f"Model is already in the model list, uid: {uid}" in again.json()["detail"]
    assert uid not in [model["id"] for model in subject.get("/v1/models")["data"]]
    looked = subject.call("GET", f"/v1/models/{uid}")
    assert (looked.status_code, looked.headers["Retry-After"]) == (503, "30")
    assert "Model is loading" in looked.json()["detail"]
    assert instance(subject, uid)["status"] == "CREATING"
    body = {"model": uid, "messages": [{"role": "user", "content": "hi"}]}
    assert subject.call("POST", "/v1/chat/completions", json=body).status_code == 503
    # A DELETE looks for a copy, which is not there yet, and the launch goes on.
    copy = "rep0" if is_successor(subject) else "0"
    deleted = subject.call("DELETE", f"/v1/models/{uid}")
    assert deleted.status_code == 400
    assert deleted.json()["detail"].endswith(f"uid: {uid}-{copy}")
    # The message of a launch that fails comes after its ERROR and before its end.
    rows = f"/v1/models/{uid}/replicas"
    error: Any = lambda: [row["error_message"] for row in subject.get(rows) if row["error_message"]]  # noqa: E731
    subject.wait(error, "a message", uid, SLOW)
    ended: Any = lambda: subject.call("GET", f"/v1/models/{uid}").status_code == 400  # noqa: E731
    subject.wait(ended, "its end", uid, SLOW)
    assert error()[0].startswith("Failed to download model 'qwen2.5-instruct'")
    # A failed launch frees its uid.
    assert subject.launch(payload, wait_ready=False).status_code == 200
    subject.wait(lambda: subject.statuses(uid), "a first status", uid)
    subject.call("POST", f"/v1/models/{uid}/cancel")


def test_a_download_that_fails_is_a_503_to_one_who_waits(subject: Subject, uid: str) -> None:
    failed = subject.launch({**AWQ, "model_uid": uid})
    assert (failed.status_code, "after multiple retries" in failed.text) == (503, True)
    assert instance(subject, uid)["status"] == "ERROR"
    # One that looks like a replica's is refused by the successor only.
    alike = subject.launch({**AWQ, "model_uid": f"{uid}-rep1"}, wait_ready=False)
    assert alike.status_code == (400 if is_successor(subject) else 200)


def test_a_cancelled_launch_has_failed_whatever_its_rows_say(subject: Subject, uid: str) -> None:
    subject.launch({**AWQ, "model_uid": uid}, wait_ready=False)
    subject.wait(lambda: subject.statuses(uid), "a first status", uid)
    assert subject.call("POST", f"/v1/models/{uid}/cancel").status_code == 200
    assert instance(subject, uid)["status"] == "ERROR"
    assert subject.call("GET", f"/v1/models/{uid}").status_code == 400
    if is_successor(subject):
        subject.until(uid, "ERROR", SLOW)
    else:
        assert subject.statuses(uid) == ["CREATING"]


# What serves


@pytest.mark.parametrize("copies", [1, 2])
def test_what_serves_is_forgotten_once_it_stops(loading: Subject, uid: str, copies: int) -> None:
    """Of two stopped copies one stays READY in the rows at 2.12."""
    successor = is_successor(loading)
    assert loading.launch(embedding(loading, uid, replica=copies)).status_code == 200
    described = loading.get(f"/v1/models/{uid}")
    assert (described["model_type"], "model_engine" in described) == ("embedding", successor)
    assert loading.get(f"/v1/models/{uid}/progress")["progress"] == 1.0
    book = instance(loading, uid)
    rows = [(row["status"], row["error_message"]) for row in book["replica_statuses"]]
    assert (book["status"], rows) == ("READY", [("READY", None)] * copies)
    asked = {"model": uid, "input": ["a", "b"]}
    answer = loading.call("POST", "/v1/embeddings", json=asked).json()
    assert (answer["model"], [row["index"] for row in answer["data"]]) == (uid, [0, 1])
    hi = {"model": uid, "messages": [{"role": "user", "content": "hi"}]}
    refused = loading.call("POST", "/v1/chat/completions", json=hi)
    assert refused.status_code == 500
    assert successor or "has no attribute 'model_spec'" in refused.json()["detail"]

    assert loading.call("DELETE", f"/v1/models/{uid}").status_code == 200
    last = "TERMINATED" if copies == 1 or successor else "READY"
    assert loading.statuses(uid) == ["TERMINATED", last][-copies:]
    assert loading.call("GET", f"/v1/models/{uid}").status_code == 400
    assert loading.get(f"/v1/models/instances?model_uid={uid}") == []

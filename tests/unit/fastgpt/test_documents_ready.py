"""Documents are followed until they are indexed and found, or it is said which link failed."""

import json
from collections.abc import Callable
from functools import partial

import httpx
import pytest

from provisioning import remote
from provisioning.clients.errors import DeadlineExceeded, NotFound, Refused
from provisioning.clients.waiting import wait_until
from provisioning.tunnel import ServerUnreachable, SshServer
from rehearsal.doubles.fastgpt.parsing import TRIES
from stack.resources.fastgpt import indexing
from stack.resources.fastgpt.documents_ready import DocumentsReady
from stack.resources.fastgpt.session import SERVICE
from tests.clock import FakeClock
from tests.unit.fastgpt.bench import BOTH, CURRENT, ENDPOINT, Bench, failure
from tests.unit.subject import Subject

SEARCH = "/api/core/dataset/searchTest"
CHAIN = {
    "oneapi": {**ENDPOINT, "port": 3001},
    "relay_key": "z" * 48,
    "xinference": {**ENDPOINT, "port": 9997},
    "xinference_key": "sk-of-xinference",
}
TWO_CHUNKS = "\n\n".join(letter * 400 for letter in "abc")


def refused(status: int, message: str, kind: str, code: str = "") -> httpx.Response:
    error = {"message": message, "type": kind, "code": code}
    return httpx.Response(status, json={"error": error})


EMBEDDED = httpx.Response(200, json={"data": [{"embedding": [0.5]}]})
NO_CHANNEL = refused(503, "当前分组 default 下对于模型 m3e 无可用渠道", "one_api_error")
FAILED = refused(400, "input too long", "upstream_error", "bad_response_status_code")
OUT_OF_MEMORY = [{"status": "ERROR", "error_message": "CUDA out of memory"}]
Embed = Callable[[str], httpx.Response]


class Behind(httpx.BaseTransport):
    """FastGPT, and by their ports what its models come from."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.embed: Embed = lambda text: EMBEDDED
        self.searches: list[bytes] = []
        self.log = ""

    def run(self, _server: SshServer, command: str) -> str:
        assert command.startswith("docker logs --since ")
        assert command.endswith(" --tail 500 fastgpt 2>&1")
        return self.log

    def no_way(self, _server: SshServer, _command: str) -> str:
        raise ServerUnreachable("SSH", "run", "nobody answers")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == SEARCH:
            self.searches.append(request.content)
        if request.url.port == 3000:
            return self.bench.handle_request(request)
        if request.url.port == 3001:
            return self.embed(json.loads(request.content)["input"])
        if request.url.path == "/v1/models/instances":
            said = [{"status": "ERROR", "replica_statuses": OUT_OF_MEMORY}]
            return httpx.Response(200, json=said)
        detail = "Model not found in the model list, uid: m3e"
        return httpx.Response(400, json={"detail": detail})


@pytest.fixture
def behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Behind:
    made = Behind(bench)
    monkeypatch.setattr(remote, "run", made.run)
    return made


@pytest.fixture
def ready(bench: Bench, base_id: str, behind: Behind) -> Subject:
    """Follows the document `a`, of two chunks, none of which is indexed."""
    text = {"text": TWO_CHUNKS, "name": "a"}
    a = bench.document(base_id, **text).create()["collection_id"]
    inputs = {"dataset_id": base_id, "documents": {"a": a}}
    subject = bench(DocumentsReady, **inputs, deadline_minutes=30, chain=CHAIN)
    subject.provider.transport = behind
    return subject


@pytest.fixture
def a(ready: Subject) -> str:
    return str(ready.wanted["documents"]["a"])


@pytest.fixture
def indexed(ready: Subject, bench: Bench, a: str) -> Subject:
    """With the document indexed, and found."""
    bench.index(a)
    found = {"list": [{"collectionId": a, "q": "x", "sourceName": "a"}]}
    bench.override[SEARCH] = httpx.Response(200, json={"code": 200, "data": found})
    return ready


@BOTH
def test_documents_are_followed_and_then_found(
    indexed: Subject, bench: Bench, clock: FakeClock, base_id: str, a: str
) -> None:
    two = bench.document(base_id, text="short", name="b").create()["collection_id"]
    hit = {"collectionId": two}
    bench.override[SEARCH] = httpx.Response(
        200, json={"code": 200, "data": {"list": [{"collectionId": a}, hit]}}
    )
    indexed.wanted["documents"]["b"] = two
    clock.on_sleep = lambda: bench.index(two, 1)
    assert indexed.create()["chunks"] == {"a": 2, "b": 1}
    assert clock.passed
    assert bench.calls.count(("POST", SEARCH)) == 2
    assert not indexed.drifts()


@BOTH
def test_an_indexed_document_that_no_search_finds_is_not_ready(
    indexed: Subject, bench: Bench
) -> None:
    nothing = {"code": 200, "data": {"list": [{"collectionId": "other"}]}}
    bench.override[SEARCH] = httpx.Response(200, json=nothing)
    with pytest.raises(DeadlineExceeded, match=r"a search to find a"):
        indexed.create()


@BOTH
@pytest.mark.fault("indexing that never ends")
def test_a_standstill_without_a_known_reason_lasts_until_the_deadline(
    ready: Subject, bench: Bench, a: str, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.index(a, 1)
    with pytest.raises(DeadlineExceeded, match=r"`Embedding (Error|request failed)`"):
        ready.create()
    monkeypatch.setattr(remote, "run", behind.no_way)
    with pytest.raises(DeadlineExceeded, match=r"`Embedding (Error|request failed)`") as error:
        ready.create()
    assert "1 of 2 chunks" in error.value.last_seen
    bench.mongo.delete("dataset_collections")
    with pytest.raises(NotFound, match="not in its base any more"):
        ready.create()


@pytest.mark.fault("an embedding failing unseen")
@BOTH
@pytest.mark.parametrize(
    ("embed", "said"),
    [
        (lambda text: NO_CHANNEL, "no channel for embedding model m3e"),
        (lambda text: FAILED, r"Xinference does not serve m3e.*out of memory"),
        (
            lambda text: FAILED if len(text) > 512 else EMBEDDED,
            r"a: m3e .* none of 2048 characters.*too long.*Lower",
        ),
    ],
)
def test_the_link_that_failed_is_found_out_early(
    ready: Subject, behind: Behind, clock: FakeClock, embed: Embed, said: str
) -> None:
    behind.embed = embed
    with pytest.raises(Refused, match=said):
        ready.create()
    assert clock.passed < 600


@pytest.mark.fault("an embedding failing unseen")
@pytest.mark.parametrize(
    ("edition", "log", "said"),
    [
        (
            "current",
            "Embedding request failed: { model: 'm3e', error: 'key sk-secret is wrong' }",
            "logs that embedding model m3e failed",
        ),
        (
            "current",
            '\x1b[31mEmbedding request failed\x1b[0m {\n  "model": "m3e",\n  "error": "sk-secret"}',
            "logs that embedding model m3e failed",
        ),
        (
            "current",
            "Embedding request failed: { model: 'sk-secret of $2', error: {} }",
            "logs that an embedding failed",
        ),
        ("seeds", "Embedding Error sk-secret", "logs that an embedding failed"),
    ],
    indirect=["edition"],
)
def test_what_fastgpt_logs_of_an_embedding_is_said_after_a_minute_in_words_of_ours(
    ready: Subject,
    behind: Behind,
    monkeypatch: pytest.MonkeyPatch,
    clock: FakeClock,
    log: str,
    said: str,
) -> None:
    """What it was asked before may have failed though its channel answers now."""
    heard: list[tuple[float, str]] = []
    tell = partial(wait_until, service=SERVICE, progress=lambda t: heard.append((clock.passed, t)))
    monkeypatch.setattr(indexing, "wait", tell)
    behind.log = f"[Info] nothing\n{log}\n[Info] nothing"
    with pytest.raises(DeadlineExceeded, match=said) as error:
        ready.create(deadline_minutes=3)
    first = next(when for when, text in heard if said in text)
    assert 60 <= first < 75
    behind.embed = lambda text: NO_CHANNEL
    with pytest.raises(Refused, match=f"no channel for embedding model m3e.*{said}") as refused:
        ready.create(deadline_minutes=3)
    assert "sk-secret" not in f"{error.value} {refused.value} {heard}"


@pytest.mark.fault("a document without text")
@CURRENT
def test_a_document_without_text_is_told_from_one_that_is_indexed(
    ready: Subject, bench: Bench, base_id: str
) -> None:
    """Nothing failed, says FastGPT, and nothing is left to do."""
    blank = bench.document(base_id, text=" ", name="blank").create()["collection_id"]
    bench.parse(blank)
    ready.wanted["documents"] = {"blank": blank}
    with pytest.raises(Refused, match=r"index blank: no text was found in it"):
        ready.create()


@CURRENT
def test_a_document_that_was_given_up_is_told_with_its_error_and_tried_again(
    ready: Subject, bench: Bench, base_id: str, clock: FakeClock
) -> None:
    page = bench.document(base_id, link="http://127.0.0.1:9/a", name="page")
    given_up = page.create()["collection_id"]
    ready.wanted["documents"] = {"page": given_up}
    for _ in range(TRIES):
        bench.parse(given_up)
    again = ("PUT", "/api/core/dataset/training/updateTrainingData")
    clock.on_sleep = lambda: bench.parse(given_up)
    with pytest.raises(Refused, match="index page: FastGPT gave it up: Cannot fetch internal url"):
        ready.create()
    assert bench.calls.count(again) == 1
    assert clock.passed > 0


@pytest.mark.fault("a reranker failing without a word")
@BOTH
@pytest.mark.fault("a reranker failing without a word")
def test_a_reranker_that_fails_later_is_drift_and_named_whatever_the_app(
    indexed: Subject, bench: Bench, behind: Behind, clock: FakeClock
) -> None:
    """Also where nobody asks a question."""
    found = {"list": [{"collectionId": indexed.wanted["documents"]["a"]}], "usingReRank": True}
    bench.override[SEARCH] = httpx.Response(200, json={"code": 200, "data": found})
    indexed.create(reranker="bge-reranker")
    asked = json.loads(behind.searches[-1])
    assert (asked["usingReRank"], asked["rerankModel"]) == (True, "bge-reranker")
    assert not indexed.drifts()

    silent = {"code": 200, "data": {**found, "usingReRank": False}}
    bench.override[SEARCH] = httpx.Response(200, json=silent)
    assert indexed.drifts()
    indexed.state = indexed.seen()
    said = r"bge-reranker to rerank.*without it.*make status.*docker logs xinference"
    with pytest.raises(DeadlineExceeded, match=said):
        indexed.update()
    well = httpx.Response(200, json={"code": 200, "data": found})
    clock.on_sleep = lambda: bench.override.update({SEARCH: well})
    assert not indexed.update()["unranked"]
    assert not indexed.drifts()
    bench.override[SEARCH] = failure("no channel for m3e")
    assert not indexed.drifts(), "of the reranker that says nothing"
    bench.override[SEARCH] = httpx.Response(200, json=silent)
    indexed.update(reranker="")
    assert not indexed.drifts(), "no app asks for it"


@BOTH
def test_a_document_that_is_no_longer_indexed_is_drift(
    indexed: Subject, bench: Bench, a: str
) -> None:
    indexed.create()
    (task, *_) = bench.mongo.find("dataset_datas")
    bench.mongo.put("trainings", task)
    assert indexed.drifts()
    bench.mongo.delete("datasets")
    assert indexed.seen()["chunks"] == {}


@BOTH
def test_a_namesake_by_hand_is_drift_and_leaves_and_a_document_in_a_folder_comes_back(
    indexed: Subject, bench: Bench, a: str
) -> None:
    """A document that is there twice would be cited twice."""
    indexed.create()
    bench.double("dataset_collections", a)
    indexed.heal()
    assert bench.ids("dataset_collections") == [a]
    bench.edit("dataset_collections", a, parentId="f" * 24)
    indexed.heal()
    assert bench.row("dataset_collections", a)["parentId"] is None

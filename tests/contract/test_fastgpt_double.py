"""What the double does of FastGPT's that no recording shows, and a mistake of the product's would
hide behind (docs/facts/fastgpt.md §1, §2, §4 to §8, §10)."""

import contextlib
import json
import re
import threading
from typing import Any

import httpx
import pytest

from provisioning.app_graph import simple_app
from provisioning.channels import XINFERENCE_KEY
from provisioning.knowledge import App
from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.store import Store
from tests.contract.fastgpt_subject import (
    EMBEDDING,
    LLM,
    MODELS,
    RERANKER,
    ROOT_PASSWORD,
    FastGpt,
    Stage,
    config,
    data,
    error,
)
from tests.contract.processes import resolve
from tests.contract.record import FILES, REAL
from tests.contract.upstream import WIDE
from tests.tables import table
from tests.waiting import until

INIT_DATA = "/api/common/system/getInitData"
PLAN = "/api/support/user/team/plan/getTeamPlanStatus"
LIBRARY = (
    "# Library\n\n## Hours\nThe library opens at nine.\n\n## Fees\nA lost card costs five euros.\n"
)
QUESTION = "When does the library open?"
Shape = dict[str, Any]

# Start-up: lazy, racy, unforgiving


def without(stage: Stage, database: str) -> tuple[FastGpt, list[httpx.Response]]:
    """A FastGPT for which nothing answers to the database's name, and its first request's answer,
    which is still to come."""
    fastgpt = stage.fastgpt(f"no-{database}")
    resolve(fastgpt.tree, {name: stage.hosts[name] for name in stage.hosts if name != database})
    fastgpt.up()
    assert fastgpt.http.get("/chat/share?shareId=x").status_code == 200, "pages need no database"
    answers: list[httpx.Response] = []

    def ask() -> None:
        with contextlib.suppress(httpx.TransportError), fastgpt.anonymous() as http:
            answers.append(http.get(INIT_DATA))

    threading.Thread(target=ask, daemon=True).start()
    until(lambda: fastgpt.log.count(f"{database} connect error") > 1, "two attempts")
    return fastgpt, answers


def test_without_postgresql_it_lives_and_all_seems_well(stage: Stage) -> None:
    """F3: only what needs PostgreSQL tells, and the request that began the start-up hangs."""
    fastgpt, answers = without(stage, "pg")
    fastgpt.ready().dataset()
    assert "pg" in error(fastgpt.http.get(PLAN))[2]
    assert not answers
    resolve(fastgpt.tree, stage.hosts)
    until(lambda: answers, "the first answer")
    assert data(fastgpt.http.get(PLAN))["usedDatasetSize"] == 0


def test_without_mongodb_every_request_waits(stage: Stage) -> None:
    assert without(stage, "mongo")[1] == []


@pytest.mark.parametrize(
    ("name", "content", "mode"),
    [("missing", "", 0), ("syntax", '{"llmModels": [', 0o644), ("private", "{}", 0o600)],
)
def test_a_config_it_cannot_read_ends_it(stage: Stage, name: str, content: str, mode: int) -> None:
    fastgpt = stage.fastgpt(name, content)
    if mode:
        fastgpt.config.chmod(mode)
    with pytest.raises(httpx.TransportError):
        fastgpt.up().http.get(INIT_DATA)
    assert fastgpt.program.wait_exit() == 1


def test_what_a_restart_sets_anew_and_what_it_keeps(stage: Stage) -> None:
    """Root's password and config.json are read at each start only; the log shows the secrets."""
    stage.upstream.forget()
    stage.upstream.refuse(EMBEDDING, message="later")
    fastgpt = stage.fastgpt("restarted").up().ready()
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, "A note.")
    session = dict(fastgpt.http.headers)
    fastgpt.config.write_text(json.dumps(config(reRankModels=[])))
    assert data(fastgpt.http.get(INIT_DATA))["reRankModels"]
    fastgpt.stop()
    stage.upstream.forget()
    fastgpt.up(DEFAULT_ROOT_PSW="another-one")
    shown = data(fastgpt.http.get(INIT_DATA))
    assert (shown["reRankModels"], bool(shown["llmModels"])) == ([], True)
    assert error(fastgpt.try_login(ROOT_PASSWORD)) == (500, 500, "密码错误")
    fastgpt.http.headers["token"] = data(fastgpt.try_login("another-one"))["token"]
    assert data(fastgpt.http.get(PLAN, headers=session)), "a session outlives the password"
    assert {"another-one", XINFERENCE_KEY.strip("{}")} <= set(re.findall(r"[\w-]+", fastgpt.log))
    fastgpt.indexed(dataset)
    assert [item["q"] for item in fastgpt.search(dataset, "note")["list"]] == ["A note."]
    fastgpt.stop()
    fastgpt.up(TOKEN_KEY="token-key-2").http.get(INIT_DATA)
    assert error(fastgpt.http.get(PLAN, headers=session))[:2] == (200, 403)


# Datasets and documents


def test_file_names_are_percent_encoded_or_garbled_or_refused(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    names = {"%E6%89%8B 100%25.txt": "手 100%.txt", "手.txt": "手.txt".encode().decode("latin-1")}
    for sent, kept in names.items():
        made = data(fastgpt.upload(sent, b"x", datasetId=dataset))["collectionId"]
        assert data(fastgpt.get("dataset/collection/detail", id=made))["name"] == kept
    assert error(fastgpt.upload("100%.txt", b"x", datasetId=dataset))[0] == 500


@table("fastgpt_double")
def test_chunks_are_those_of_the_real_splitter(path: str, amount: int, too_long: list[int]) -> None:
    """F1, on the texts it was measured with: what is longer than 1.3 x 512 at a size of 512."""
    lengths = [len(chunk) for chunk in split((REAL / FILES / path).read_text("utf-8"), 512)]
    assert (len(lengths), [each for each in lengths if each > 665.6]) == (amount, too_long)


def test_a_failed_chunk_is_tried_again_an_invalid_one_never(fastgpt: FastGpt, stage: Stage) -> None:
    def calls(model: str) -> int:
        bodies = stage.upstream.bodies("/v1/embeddings")
        return sum(body["model"] == model for body in bodies)

    dataset, other = fastgpt.dataset(), fastgpt.dataset(WIDE)
    locked = []
    for invalid in ({"type": "invalid_request_error"}, {"code": 500}):
        stage.upstream.refuse(EMBEDDING, 400, message="too long", **invalid)
        locked.append(fastgpt.text(dataset, "one chunk")["collectionId"])
        until(lambda: calls(EMBEDDING) == len(locked), "the attempt")
    stage.upstream.refuse(WIDE, message="no channel", type="one_api_error")
    fastgpt.text(other, "another chunk")
    # When the other dataset's chunk had three turns, these would have come as well.
    until(lambda: calls(WIDE) >= 3, "three turns of another chunk")
    assert calls(EMBEDDING) == 2
    said = r"Embedding Error no channel[\s\S]*\[Error\] [\d-]+ [\d:]+ no channel"
    assert re.search(said, fastgpt.log)
    stage.upstream.refusals.clear()
    fastgpt.indexed(other)
    assert fastgpt.waiting(dataset) == 2, "nothing but deleting helps"
    for collection in locked:
        fastgpt.client().delete_collection(collection, dataset_id=dataset)
    assert fastgpt.waiting(dataset) == 0


# Search


def library(fastgpt: FastGpt, vector_model: str = EMBEDDING) -> str:
    dataset = fastgpt.dataset(vector_model)
    fastgpt.text(dataset, LIBRARY, name="library.md")
    fastgpt.indexed(dataset)
    return dataset


@pytest.mark.parametrize("model", [EMBEDDING, WIDE], ids=["padded", "cut"])
def test_vectors_are_kept_with_1536_numbers_and_a_failing_reranker_is_swallowed(
    fastgpt: FastGpt, stage: Stage, model: str
) -> None:
    dataset = library(fastgpt, model)
    rows = Store(str(fastgpt.tree / "memory.db")).find("modeldata", datasetId=dataset)
    assert {len(row["vector"]) for row in rows} == {1536}
    assert any(any(row["vector"][768:]) for row in rows) == (model == WIDE)
    stage.upstream.refuse(RERANKER, 500)
    found = fastgpt.search(dataset, "lost card", usingReRank=True)
    assert found["usingReRank"] is False
    assert {score["type"] for item in found["list"] for score in item["score"]} == {"embedding"}
    assert fastgpt.search(dataset, "When?", similarity=0.999)["list"] == []


# Apps, their graphs, and chats with them


def graph(*datasets: str, **changes: Any) -> Shape:
    """Our own simple app; `changes` replace inputs, whichever node has them."""
    made = simple_app(App(name="app", similarity=0), MODELS[0], datasets, EMBEDDING)
    for item in (item for node in made.nodes for item in node["inputs"]):
        if item["key"] in changes:
            item["value"] = changes[item["key"]]
    return {"nodes": made.nodes, "edges": made.edges}


def published(fastgpt: FastGpt, shape: Shape) -> str:
    named = {"name": "app", "type": "simple", "intro": "mine", "chatConfig": {"a": 1}}
    app = fastgpt.post("app/create", **named, modules=shape["nodes"], edges=shape["edges"])
    shown = data(fastgpt.get("app/detail", appId=app))
    assert (shown["intro"], "chatConfig" in shown) == ("", False), "what a new app ignores"
    body = {**shape, "chatConfig": {"welcomeText": "Hello"}, "type": "simple", "isPublish": True}
    data(fastgpt.http.post("/api/core/app/version/publish", params={"appId": app}, json=body))
    return str(app)


def visitor(fastgpt: FastGpt, app: str) -> dict[str, Any]:
    with fastgpt.client() as client:
        link = client.create_share_link(app, "link", response_detail=True)
    return {"shareId": link.share_id, "outLinkUid": "visitor-1"}


def ask(fastgpt: FastGpt, who: Shape, question: str = QUESTION, **more: Any) -> httpx.Response:
    """What the page of a share link posts: no login."""
    body = {"stream": False, "detail": True, "messages": [{"role": "user", "content": question}]}
    with fastgpt.anonymous() as http:
        return http.post("/api/v1/chat/completions", json={**who, **body, **more})


@pytest.fixture(scope="module")
def dataset(running: FastGpt) -> str:
    return library(running)


def asked_of_the_model(stage: Stage) -> dict[str, Any]:
    return stage.upstream.bodies("/v1/chat/completions")[-1]


def test_an_upstream_error_arrives_as_text(fastgpt: FastGpt, stage: Stage, dataset: str) -> None:
    message = f"当前分组 default 下对于模型 {LLM} 无可用渠道 (request id: 20261122)"
    stage.upstream.refuse(LLM, message=message, type="one_api_error")
    somebody = visitor(fastgpt, published(fastgpt, graph(dataset)))
    assert error(ask(fastgpt, somebody)) == (500, 500, message)
    streamed = ask(fastgpt, somebody, stream=True)
    last = streamed.text.strip().split("\n\n")[-1]
    assert (streamed.status_code, last.split("\n")[0]) == (200, "event: error")
    assert message in last
    assert error(ask(fastgpt, {**somebody, "outLinkUid": ""}))[:2] == (200, 403)


@table("fastgpt_double")
def test_a_mistake_in_the_graph_shows_when_it_runs(
    changes: dict[str, Any], status: int, fastgpt: FastGpt, stage: Stage, dataset: str
) -> None:
    app = published(fastgpt, graph(dataset, **changes))
    assert ask(fastgpt, visitor(fastgpt, app)).status_code == status
    if status == 200:
        asked = asked_of_the_model(stage)
        assert asked["model"] == LLM
        assert (asked["messages"][-1]["content"] == QUESTION) == ("quoteQA" in changes)


def test_what_runs_of_a_graph(fastgpt: FastGpt, stage: Stage, dataset: str) -> None:
    """A node without an edge does not, nor is anything embedded without a base; where there is one
    it is by the base's own model (F8), whatever the graph says of it."""
    shape = graph(dataset)
    cut = published(fastgpt, {**shape, "edges": shape["edges"][:1]})
    answer = ask(fastgpt, visitor(fastgpt, cut)).json()
    assert answer["choices"][0]["message"]["content"] == ""
    stage.upstream.forget()
    assert ask(fastgpt, visitor(fastgpt, published(fastgpt, graph()))).status_code == 200
    assert stage.upstream.bodies("/v1/embeddings") == []
    wide = graph(fastgpt.dataset(WIDE))
    ask(fastgpt, visitor(fastgpt, published(fastgpt, wide)))
    assert stage.upstream.bodies("/v1/embeddings")[-1]["model"] == WIDE

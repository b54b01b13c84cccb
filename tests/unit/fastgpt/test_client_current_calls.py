"""What 4.16's client sends and makes of answers, against what the real one took and gave."""

import json
from typing import Any

import httpx
import pytest

from provisioning.app_graph import FORMS, simple_app
from provisioning.clients.errors import Refused
from provisioning.clients.fastgpt import CurrentClient
from provisioning.clients.fastgpt.rows import Intake
from provisioning.knowledge import App
from stack.resources.fastgpt.app import GRAPH, as_wanted
from tests.contract.fastgpt_subject import MODELS
from tests.tables import table
from tests.unit.fastgpt.bench import failure
from tests.unit.fastgpt.recorded import Recorded, recording

APP, BASE = "a00000000000000000000017", "a00000000000000000000012"
KEY = "openapi-key"
INTAKE = Intake("chunk", 512, "abc")


def test_done_failed_and_empty_documents_are_told_apart() -> None:
    names = ("150-listV2-empties", "112-getTrainingError-http-page-html")
    client = Recorded(*names).client()
    rows = {row.name: row for row in client.collections(BASE)}
    assert {name for name, row in rows.items() if row.failed} == {"broken.docx"}
    assert {name for name, row in rows.items() if row.empty} == {"spaces.txt", "blank.pdf"}
    done = {name for name, row in rows.items() if row.indexed}
    assert done == {"UPPER.TXT", "page.html", "gb.csv"}
    assert client.training_errors("1") == ["Cannot fetch internal url"]
    (running,) = Recorded("147-listV2-embed-failure").client().collections(BASE)
    assert not any((running.failed, running.empty, running.indexed))


def test_a_document_is_told_by_its_tag_of_whatever_kind_it_is() -> None:
    recorded = Recorded("30-upload-pdf")
    assert recorded.client().upload_file(BASE, "手册 50%.pdf", b"%PDF", INTAKE).inserted is None
    (sent,) = recorded.sent["30-upload-pdf"]
    assert b'filename="%E6%89%8B%E5%86%8C%2050%25.pdf"' in sent
    told = json.loads(sent.split(b"\r\n\r\n")[1].split(b"\r\n")[0])
    cut = {"chunkSettingMode": "custom", "chunkSize": 512, "indexSize": 512}
    assert told.items() >= {**cut, "trainingType": "chunk", "tags": ["ai-lab:abc"]}.items()
    recorded = Recorded("39-create-link-private")
    recorded.client().add_link(BASE, "https://x/y", INTAKE)
    (sent,) = recorded.sent["39-create-link-private"]
    assert (sent["link"], sent["tags"]) == ("https://x/y", ["ai-lab:abc"])


def test_a_text_has_its_own_name_in_the_end() -> None:
    recorded = Recorded("38-create-text", "151-collection-update")
    made = recorded.client().add_text(BASE, "note", "It is so.", INTAKE)
    assert recorded.sent["151-collection-update"] == [{"id": made.collection_id, "name": "note"}]


def test_a_document_is_deleted_with_a_body() -> None:
    recorded = Recorded("154-collection-delete")
    recorded.client().delete_collection("1", dataset_id=BASE)
    assert recorded.sent["154-collection-delete"] == [{}]


def test_a_dataset_takes_its_models_by_name() -> None:
    recorded = Recorded("21-dataset-create", "24-dataset-update")
    client = recorded.client()
    made = client.create_dataset("base", vector_model="bge-m3", agent_model="qwen2-instruct")
    client.update_dataset(made, name="lab kb", agent_model="qwen2-instruct", intro="second")
    needed = recording("20-dataset-create-name-only")["answer"]["body"]["zodError"]
    assert {each["path"][0] for each in needed} <= recorded.sent["21-dataset-create"][0].keys()
    assert recorded.sent["24-dataset-update"] == [recording("24-dataset-update")["request"]["body"]]


def test_the_models_are_read_as_they_were_set() -> None:
    recorded = Recorded("07-updateWithJson", "08-getConfigJson")
    client = recorded.client()
    sent = json.loads(recording("07-updateWithJson")["request"]["body"]["config"])
    client.set_models(sent)
    assert client.models() == sent
    assert json.loads(recorded.sent["07-updateWithJson"][0]["config"]) == sent
    assert Recorded("06-getConfigJson-empty").client().models() == []


def test_a_model_that_does_not_answer_is_refused_with_what_upstream_said() -> None:
    Recorded("160-model-test-qwen2-instruct").client().test_model("qwen2-instruct")
    with pytest.raises(Refused, match="no channel for bad503"):
        Recorded("160-model-test-bad503").client().test_model("bad503")


def ask(name: str) -> Any:
    recorded = Recorded(name)
    answer = recorded.client().ask("share", "?", visitor="v", chat_id="c")
    (sent,) = recorded.sent[name]
    assert sent["outLinkAuthData"] == {"shareId": "share", "outLinkUid": "v"}
    assert "retainDatasetCite" not in sent, "it puts marks into the answer"
    assert not {"token", "cookie"} & recorded.heard[0].headers.keys()
    return answer


def test_an_answer_is_cited_and_says_whether_a_reranker_judged() -> None:
    answer = ask("82-chat-share-v1-detail-True")
    assert answer.text.startswith("STUB answer")
    assert "lab-manual.pdf" in {hit.document for hit in answer.citations}
    assert all(hit.reranked for hit in answer.citations)
    assert not any(hit.reranked for hit in ask("97-chat-rerank-failure").citations)
    assert ask("174-chat-link-without-showCite").citations == ()


@table("fastgpt_current")
def test_an_answer_that_fails_is_refused(name: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        ask(name)


def test_a_share_link_shows_citations_by_its_own_name_for_that() -> None:
    names = ("71-outLink-create", "73-outLink-update", "72-outLink-list")
    recorded = Recorded(*names)
    client = recorded.client()
    made = client.create_share_link(APP, "full", response_detail=True)
    assert (made.name, made.response_detail) == ("full", True)
    assert recorded.sent[names[0]][0].items() >= {"type": "share", "showCite": True}.items()
    assert [link.response_detail for link in client.share_links(APP)] == [True, False]
    client.update_share_link("1", "renamed", response_detail=True)
    assert recorded.sent[names[1]][0].items() >= {"_id": "1", "showCite": True}.items()
    gone = ("130-missing--api-support-outLink-list-appId-type-share", "67-app-detail-missing")
    assert Recorded(*gone).client().share_links(APP) == []


def test_a_key_is_the_teams_for_one_app_and_is_shown_again() -> None:
    listed = [{"_id": "k1", "name": f"site.{APP[-16:]}", "apiKey": "******-key"}]
    listed.append({"_id": "k2", "name": "site.of-another-app", "apiKey": "******-key"})
    answers = {"create": KEY, "copy": KEY, "list": listed, "update": None}

    def take(request: httpx.Request) -> httpx.Response:
        data = answers[request.url.path.rpartition("/")[2]]
        return httpx.Response(200, json={"code": 200, "data": data})

    client = CurrentClient("http://x:3000", token="t", transport=httpx.MockTransport(take))
    made = client.create_api_key(APP, "site")
    assert (made.id, made.name, made.key) == ("k1", "site", f"{KEY}-{APP}")
    assert [(row.id, row.name) for row in client.api_keys(APP)] == [("k1", "site")]
    assert client.api_key("k1", app_id=APP) == made.key
    assert len("x" * 30 + listed[0]["name"].removeprefix("site")) <= 50


@pytest.mark.parametrize(
    ("name", "reranked"),
    [("144-searchTest-rerank", True), ("145-searchTest-rerank-failure", False)],
)
def test_a_reranker_that_fails_is_seen_by_a_flag_alone(name: str, reranked: bool) -> None:
    asked, recorded = recording(name)["request"]["body"], Recorded(name)
    found = recorded.client().reranks(asked["datasetId"], asked["text"], asked["rerankModel"])
    assert found is reranked
    (sent,) = recorded.sent[name]
    assert {key: sent[key] for key in asked} == asked


@pytest.mark.fault("PostgreSQL gone")
def test_a_search_that_fails_for_its_model_says_nothing_of_postgresql() -> None:
    names = ("23-dataset-list", "146-searchTest-embed-failure")
    assert Recorded(*names).client().vector_problem() == ""
    assert Recorded(names[0], "141-searchTest-embedding").client().vector_problem() == ""

    def away(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("searchTest"):
            return failure("connect ECONNREFUSED 172.18.0.2:5432")
        return httpx.Response(200, json=recording(names[0])["answer"]["body"])

    told: Any = {"transport": httpx.MockTransport(away), "token": "t"}
    assert "PostgreSQL" in CurrentClient("http://x:3000", **told).vector_problem()


def test_the_graph_that_was_published_comes_back_as_the_same() -> None:
    """The real one adds, drops and enriches; `docs/facts/fastgpt-current-measured.md §4`."""
    sent = recording("169-publish-488-graph")["request"]["body"]
    found = Recorded("170-detail-488-graph").client().app("1")
    nodes = [node for node in sent["nodes"] if node["nodeId"] != "userGuide"]
    wanted = {"nodes": nodes, "edges": sent["edges"], "chat_config": sent["chatConfig"]}
    for key in GRAPH:
        assert as_wanted(wanted[key], getattr(found, key)) == wanted[key]
    found.nodes[1]["inputs"][1]["value"] = 0.9
    assert as_wanted(nodes, found.nodes) != nodes


def test_our_graph_is_that_which_the_real_one_took() -> None:
    graph = simple_app(App(name="a", limit=20000), MODELS[0], ["1"], "bge-m3", FORMS["current"])
    sent = recording("169-publish-488-graph")["request"]["body"]
    taken = [node["nodeId"] for node in sent["nodes"] if node["nodeId"] != "userGuide"]
    assert [node["nodeId"] for node in graph.nodes] == taken
    assert graph.chat_config.keys() == sent["chatConfig"].keys()
    assert graph.chat_config["questionGuide"] == sent["chatConfig"]["questionGuide"]
    assert None not in graph.chat_config.values()
    (limit,) = [entry for entry in graph.nodes[1]["inputs"] if entry["key"] == "limit"]
    assert limit["value"] == 20000

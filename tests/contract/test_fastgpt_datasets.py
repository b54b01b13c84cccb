"""Datasets, documents, indexing, search (facts/fastgpt.md §2, §4, §8, §10.5, §10.9)."""

from __future__ import annotations

import hashlib
import http.client
import io
import itertools
import json
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from rehearsal.doubles.database_client import Database
from rehearsal.doubles.fastgpt.chunks import split
from rehearsal.doubles.fastgpt.documents import html_text
from tests.contract.fastgpt_subject import (
    CHAT_KEY,
    DEADLINE,
    EMBEDDING,
    LLM,
    LOUD,
    RERANK_KEY,
    SECOND_LLM,
    WIDE,
    FastGpt,
    Lab,
    config,
    data,
    error,
    fastgpt,
    lab,
    llm,
    running,
    until,
    vector,
)

__all__ = ["fastgpt", "lab", "running"]
FILE = "/api/core/dataset/collection/create/localFile"
SEARCH = "/api/core/dataset/searchTest"
LIBRARY = (
    "# Library\n\n## Hours\nThe library opens at nine.\n\n## Fees\nA lost card costs five euros.\n"
)


def test_a_dataset_keeps_the_name_it_was_given_and_shows_the_model_it_gets(
    fastgpt: FastGpt,
) -> None:
    typo = fastgpt.dataset(vectorModel="m3e-bass", agentModel="no-such")
    shown = fastgpt.get("/api/core/dataset/detail", id=typo)
    assert (shown["vectorModel"]["model"], shown["agentModel"]["model"]) == (EMBEDDING, LLM)
    right = fastgpt.get("/api/core/dataset/detail", id=fastgpt.dataset(vectorModel=WIDE))
    assert right["vectorModel"]["model"] == WIDE


def test_a_typo_in_the_embedding_model_calls_another_one(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = fastgpt.dataset(vectorModel="wide-2084")
    fastgpt.text(dataset, LIBRARY)
    fastgpt.indexed(dataset)
    assert {body["model"] for body in lab.upstream.bodies("/v1/embeddings")} == {EMBEDDING}


def test_only_models_for_file_processing_process_files(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset(agentModel=SECOND_LLM)
    assert fastgpt.get("/api/core/dataset/detail", id=dataset)["agentModel"]["model"] == LLM


def test_update_takes_the_agent_model_as_an_object_and_no_vector_model(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset("before", intro="first")
    body = {"id": dataset, "name": "after", "vectorModel": WIDE, "agentModel": {"model": LLM}}
    data(fastgpt.http.put("/api/core/dataset/update", json=body))
    shown = fastgpt.get("/api/core/dataset/detail", id=dataset)
    assert (shown["name"], shown["intro"]) == ("after", "first")
    assert shown["vectorModel"]["model"] == EMBEDDING
    listed = fastgpt.post("/api/core/dataset/list", parentId=None)
    assert "after" in [row["name"] for row in listed]


def test_a_missing_name_is_mongoose_talking(fastgpt: FastGpt) -> None:
    answer = fastgpt.http.post("/api/core/dataset/create", json={})
    assert error(answer)[:2] == (500, 500)
    assert "Path `name` is required" in error(answer)[2]


def test_something_deleted_is_not_a_404(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    collection = fastgpt.text(dataset, "x")["collectionId"]
    path = "/api/core/dataset/collection/delete"
    data(fastgpt.http.delete(path, params={"id": collection}))
    detail = "/api/core/dataset/collection/detail"
    gone = error(fastgpt.http.get(detail, params={"id": collection}))
    assert gone[0] == 200
    assert 501000 <= gone[1] < 502000
    data(fastgpt.http.delete("/api/core/dataset/delete", params={"id": dataset}))
    gone = error(fastgpt.http.get("/api/core/dataset/detail", params={"id": dataset}))
    assert gone[0] == 200
    assert 501000 <= gone[1] < 502000
    nonsense = error(fastgpt.http.get("/api/core/dataset/detail", params={"id": "x"}))
    assert nonsense[:2] == (500, 500)
    assert "Cast to ObjectId failed" in nonsense[2]


def test_deleting_a_folder_takes_what_is_in_it(fastgpt: FastGpt) -> None:
    outer = fastgpt.dataset(type="folder")
    inner = fastgpt.dataset(parentId=fastgpt.dataset(type="folder", parentId=outer))
    data(fastgpt.http.delete("/api/core/dataset/delete", params={"id": outer}))
    answer = fastgpt.http.get("/api/core/dataset/detail", params={"id": inner})
    assert answer.json()["statusText"] == "unAuthDataset"


def pdf(*lines: str) -> bytes:
    """A one-page PDF with a text layer, or, without lines, a page without text."""
    shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
    content = f"BT /F1 12 Tf 50 700 Td {shown} ET" if lines else ""
    parts = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
        "/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(made))
        made += f"{number} 0 obj{part}endobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    head = f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}"
    tail = f"trailer<</Size {len(parts) + 1}/Root 1 0 R>>\nstartxref\n{len(made)}\n%%EOF"
    return made + (head + tail).encode()


def docx(text: str) -> bytes:
    """A Word document of one paragraph: as little of the package as its readers take."""
    made = io.BytesIO()
    base = "http://schemas.openxmlformats.org"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{base}/package/2006/content-types">'
            '<Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{base}/package/2006/relationships"><Relationship Id="r1" '
            f'Type="{base}/officeDocument/2006/relationships/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{base}/wordprocessingml/2006/main"><w:body><w:p><w:r>'
            f"<w:t>{text}</w:t></w:r></w:p></w:body></w:document>",
        )
    return made.getvalue()


FILES = [
    pytest.param("a.pdf", pdf("The pump stands in room", "seven of the tower."), id="pdf"),
    pytest.param("a.docx", docx("The pump stands in room seven &amp; hums."), id="docx"),
    pytest.param("a.md", b"# Pump\nIt stands in room seven.", id="md"),
    pytest.param("a.txt", "\ufeffThe pump stands in room seven.".encode(), id="txt"),
    pytest.param("b.txt", "泵在七号房间 room seven".encode("gb18030"), id="gb18030"),
    pytest.param("a.csv", b"thing,place\npump,room seven\n", id="csv"),
    pytest.param("a.html", b"<script>var x</script><p>In room seven</p>", id="html"),
]


@pytest.mark.parametrize(("name", "content"), FILES)
def test_a_files_text_is_read_cut_and_embedded(
    fastgpt: FastGpt, lab: Lab, name: str, content: bytes
) -> None:
    dataset = fastgpt.dataset()
    made = data(fastgpt.upload(name, content, datasetId=dataset, trainingType="chunk"))
    assert made["results"] == {"insertLen": 1, "overToken": [], "repeat": [], "error": []}
    fastgpt.indexed(dataset)
    (call,) = [call for call in lab.upstream.calls if call[0] == "/v1/embeddings"]
    assert call[1]["authorization"] == f"Bearer {CHAT_KEY}"
    assert "seven" in call[2]["input"][0]
    assert "var x" not in call[2]["input"][0]
    (row,) = fastgpt.collections(dataset)
    assert (row["name"], row["dataAmount"], row["trainingAmount"]) == (name, 1, 0)
    assert row["fileId"]


def test_a_scanned_pdf_is_taken_and_stays_empty(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    made = data(fastgpt.upload("scan.pdf", pdf(), datasetId=dataset))
    assert made["results"]["insertLen"] == 0
    assert fastgpt.queue(dataset) == {"rebuildingCount": 0, "trainingCount": 0}
    assert fastgpt.collections(dataset)[0]["dataAmount"] == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.exe", b"x", "Only support .txt, .md, .html, .pdf"),
        ("a.pdf", b"no pdf at all", "Invalid PDF structure."),
        ("a.docx", b"no zip", "Can not read doc file, please convert to PDF"),
        ("100%.txt", b"x", "URI malformed"),
        ("%E4%B8.txt", b"x", "URI malformed"),
    ],
)
def test_a_file_it_cannot_take_leaves_nothing(
    fastgpt: FastGpt, name: str, content: bytes, says: str
) -> None:
    dataset = fastgpt.dataset()
    answer = error(fastgpt.upload(name, content, datasetId=dataset))
    assert answer[:2] == (500, 500)
    assert says in answer[2]
    assert fastgpt.collections(dataset) == []


def test_file_names_are_percent_encoded_or_garbled(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    for sent in (quote("手册 100%.txt"), "手册.txt"):
        data(fastgpt.upload(sent, b"x", datasetId=dataset))
    names = [row["name"] for row in fastgpt.collections(dataset)]
    assert names == ["手册.txt".encode().decode("latin-1"), "手册 100%.txt"]


def test_the_forms_data_is_a_json_string(fastgpt: FastGpt) -> None:
    fields = {"datasetId": fastgpt.dataset()}
    files = {"file": ("a.txt", b"x")}
    assert "JSON" in error(fastgpt.http.post(FILE, files=files, data=fields))[2]
    assert error(fastgpt.http.post(FILE, json=fields))[1] == 500


def test_more_than_500_mb_are_refused(fastgpt: FastGpt) -> None:
    with socket.create_connection((fastgpt.address, 3000)) as raw:
        head = f"POST {FILE} HTTP/1.1\r\nHost: x\r\nContent-Length: {501 * 1024 * 1024}\r\n"
        raw.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        raw.settimeout(DEADLINE)
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert json.loads(answer.read())["message"] == "File too large"
        answer.close()


def test_nothing_is_recognised_as_there_already(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    made = {fastgpt.text(dataset, LIBRARY)["collectionId"] for _ in range(2)}
    assert len(made) == 2
    assert len(fastgpt.collections(dataset)) == 2


def test_detail_tells_the_hash_of_the_text(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    text = fastgpt.text(dataset, LIBRARY, chunkSize=300)["collectionId"]
    shown = fastgpt.get("/api/core/dataset/collection/detail", id=text)
    assert shown["hashRawText"] == hashlib.sha256(LIBRARY.encode()).hexdigest()
    assert shown["rawTextLength"] == len(LIBRARY)
    assert (shown["trainingType"], shown["chunkSize"]) == ("chunk", 300)


def test_a_collection_is_renamed_and_a_list_is_paged(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    ids = [fastgpt.text(dataset, "x", f"{i}.txt")["collectionId"] for i in range(3)]
    path = "/api/core/dataset/collection/update"
    data(fastgpt.http.put(path, json={"id": ids[0], "name": "renamed.txt"}))
    page = fastgpt.post(
        "/api/core/dataset/collection/list",
        datasetId=dataset,
        pageNum=2,
        pageSize=2,
        parentId=None,
    )
    assert (page["total"], [row["name"] for row in page["data"]]) == (3, ["renamed.txt"])
    found = fastgpt.post(
        "/api/core/dataset/collection/list", datasetId=dataset, pageNum=1, searchText="RENAMED"
    )
    assert [row["_id"] for row in found["data"]] == [ids[0]]


def test_a_link_is_fetched(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = fastgpt.dataset()
    made = fastgpt.post(
        "/api/core/dataset/collection/create/link",
        datasetId=dataset,
        link="http://oneapi:3000/page",
        metadata={"webPageSelector": "#text"},
    )
    assert set(made) == {"collectionId"}
    fastgpt.indexed(dataset)
    (row,) = fastgpt.collections(dataset)
    assert (row["name"], row["rawLink"]) == ("Opening hours", "http://oneapi:3000/page")
    (body,) = lab.upstream.bodies("/v1/embeddings")
    assert body["input"] == ["## Hours\n\nOpen from nine."]


def test_a_dead_link_makes_an_empty_collection(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    fastgpt.post(
        "/api/core/dataset/collection/create/link", datasetId=dataset, link="http://nowhere/x"
    )
    (row,) = fastgpt.collections(dataset)
    assert (row["dataAmount"], row["trainingAmount"]) == (0, 0)


@pytest.mark.parametrize("selector", ["main", ".body", "#here"])
def test_a_selector_chooses_an_element(selector: str) -> None:
    page = "<title>T</title>Out<main class='wide body' id=here>In<br>side<p>x</main>Out"
    assert html_text(page, selector) == ("T", "In  \nside\n\nx")


def test_data_is_pushed_200_at_a_time(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    body = {"datasetId": dataset, "name": "own", "type": "virtual"}
    collection = fastgpt.post("/api/core/dataset/collection/create", **body)
    push = "/api/core/dataset/data/pushData"
    rows = [{"q": "Where?", "a": "There."}, {"q": "Where?", "a": "There."}, {"q": ""}]
    long = {"q": "word " * 4000}
    made = fastgpt.post(push, collectionId=collection, trainingMode="chunk", data=[*rows, long])
    assert made["insertLen"] == 1
    assert [len(made[kind]) for kind in ("repeat", "error", "overToken")] == [1, 1, 1]
    many = {"collectionId": collection, "data": [{"q": str(i)} for i in range(201)]}
    assert error(fastgpt.http.post(push, json=many))[1] == 500
    fastgpt.indexed(dataset)
    (row,) = fastgpt.post("/api/core/dataset/data/list", collectionId=collection)["data"]
    assert (row["q"], row["a"]) == ("Where?", "There.")
    change = {"id": row["_id"], "q": "Whence?"}
    data(fastgpt.http.put("/api/core/dataset/data/update", json=change))
    shown = fastgpt.get("/api/core/dataset/data/detail", id=row["_id"])
    assert (shown["q"], shown["indexes"][0]["text"]) == ("Whence?", "Whence?\nThere.")
    data(fastgpt.http.delete("/api/core/dataset/data/delete", params={"id": row["_id"]}))
    assert fastgpt.collections(dataset)[0]["dataAmount"] == 0


# Chunks


def test_chunks_are_as_long_as_asked_and_overlap_by_a_fifth() -> None:
    text = "".join(f"Sentence number {number} is here. " for number in range(200))
    chunks = split(text, 500)
    assert len(chunks) > 10
    assert all(300 < len(chunk) <= 500 for chunk in chunks[:-1])
    for one, other in itertools.pairwise(chunks):
        shared = next(n for n in range(len(one), -1, -1) if other.startswith(one[-n:].strip()))
        assert 40 <= shared <= 110
    assert set(text.split()) == set(" ".join(chunks).split())


def test_chunks_keep_their_headings() -> None:
    text = "# A\nintro\n## B\n" + "word. " * 200 + "\n## C\nlast"
    chunks = split(text, 300)
    assert chunks[0] == "# A\nintro"
    assert all(chunk.startswith("# A\n## B") for chunk in chunks[1:2])
    assert chunks[-1] == "# A\n## C\nlast"


def test_text_without_any_separator_is_cut_nevertheless() -> None:
    chunks = split("x" * 5000, 512)
    assert max(map(len, chunks)) <= 512
    assert sum(map(len, chunks)) >= 5000


def test_a_chunk_splitter_cuts_first(fastgpt: FastGpt) -> None:
    made = fastgpt.text(fastgpt.dataset(), "one;;two;;three", chunkSplitter=";;")
    assert made["results"]["insertLen"] == 3


# The queue


def test_a_failed_chunk_stays_in_the_queue_and_is_tried_again(fastgpt: FastGpt, lab: Lab) -> None:
    refusal = {"error": {"message": "no channel", "type": "one_api_error"}}
    lab.upstream.refusals[EMBEDDING] = (503, refusal)
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, LIBRARY)
    until("a second attempt", lambda: len(lab.upstream.bodies("/v1/embeddings")) > 2)
    assert fastgpt.queue(dataset)["trainingCount"] > 0
    (row,) = fastgpt.collections(dataset)
    assert row["trainingAmount"] > 0
    assert not {"error", "status", "errorMsg"} & set(row), "there is no error state"
    assert "[Vector Queue] Error" in fastgpt.log.read_text()
    lab.upstream.refusals.clear()
    fastgpt.indexed(dataset)


@pytest.mark.parametrize(
    "refusal",
    [{"type": "invalid_request_error", "message": "too long"}, {"code": 500, "message": "x"}],
    ids=["invalid_request_error", "code-500"],
)
def test_a_chunk_called_invalid_is_locked_for_good(
    fastgpt: FastGpt, lab: Lab, refusal: dict[str, Any]
) -> None:
    lab.upstream.refusals[EMBEDDING] = (400, {"error": refusal})
    dataset, other = fastgpt.dataset(), fastgpt.dataset(vectorModel=WIDE)
    collection = fastgpt.text(dataset, "one chunk")["collectionId"]
    until("the attempt", lambda: lab.upstream.bodies("/v1/embeddings"))
    lab.upstream.refusals[WIDE] = (503, {"error": {"message": "try again"}})
    fastgpt.text(other, "another chunk")
    # When the other dataset's chunk had three turns, this one's would have come as well.
    until("three turns of another chunk", lambda: _calls(lab, WIDE) >= 3)
    assert _calls(lab, EMBEDDING) == 1
    assert fastgpt.queue(dataset)["trainingCount"] == 1
    lab.upstream.refusals.clear()
    fastgpt.indexed(other)
    assert fastgpt.queue(dataset)["trainingCount"] == 1, "nothing but deleting helps"
    path = "/api/core/dataset/collection/delete"
    data(fastgpt.http.delete(path, params={"id": collection}))
    assert fastgpt.queue(dataset)["trainingCount"] == 0


def _calls(lab: Lab, model: str) -> int:
    return sum(body["model"] == model for body in lab.upstream.bodies("/v1/embeddings"))


def test_what_is_queued_survives_a_restart(lab: Lab) -> None:
    lab.upstream.reset()
    lab.upstream.refusals[EMBEDDING] = (503, {"error": {"message": "later"}})
    uri = "mongodb://fastgpt:pw-1@mongo:27017/restart?authSource=admin"
    fastgpt = lab.fastgpt("restart", MONGODB_URI=uri).up().ready()
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, "A note.")
    fastgpt.stop()
    lab.upstream.reset()
    fastgpt.up().ready().indexed(dataset)
    assert fastgpt.collections(dataset)[0]["dataAmount"] == 1


def test_qa_training_asks_the_file_model_and_stores_its_pairs(fastgpt: FastGpt, lab: Lab) -> None:
    lab.upstream.chat_answer = (
        "Q1: When does it open?\nA1: At nine.\nQ2: What is lost?\nA2: A card."
    )
    dataset = fastgpt.dataset()
    made = fastgpt.text(dataset, LIBRARY, trainingType="qa", chunkSize=4000)
    fastgpt.indexed(dataset)
    (body, *_) = lab.upstream.bodies("/v1/chat/completions")
    assert body["model"] == LLM
    assert "opens at nine" in json.dumps(body["messages"])
    rows = fastgpt.post("/api/core/dataset/data/list", collectionId=made["collectionId"])["data"]
    pairs = {("When does it open?", "At nine."), ("What is lost?", "A card.")}
    assert {(row["q"], row["a"]) for row in rows} == pairs


def test_rebuilding_takes_every_vector_anew(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, LIBRARY)
    fastgpt.indexed(dataset)
    amount = fastgpt.collections(dataset)[0]["dataAmount"]
    lab.upstream.refusals[WIDE] = (503, {"error": {"message": "not yet"}})
    path = "/api/core/dataset/training/rebuildEmbedding"
    fastgpt.post(path, datasetId=dataset, vectorModel=WIDE)
    assert fastgpt.queue(dataset) == {"rebuildingCount": amount, "trainingCount": amount}
    lab.upstream.refusals.clear()
    fastgpt.indexed(dataset)
    assert fastgpt.collections(dataset)[0]["dataAmount"] == amount
    shown = fastgpt.get("/api/core/dataset/detail", id=dataset)
    assert shown["vectorModel"]["model"] == WIDE
    assert fastgpt.search(dataset, "library hours")["list"]
    assert lab.upstream.bodies("/v1/embeddings")[-1]["model"] == WIDE


# Search


def library(fastgpt: FastGpt, **fields: Any) -> str:
    dataset = fastgpt.dataset(**fields)
    fastgpt.text(dataset, LIBRARY, "library.md")
    fastgpt.text(dataset, "图书馆周一闭馆。", "通知.md")
    fastgpt.indexed(dataset)
    return dataset


def test_search_answers_an_object_with_cited_passages(fastgpt: FastGpt) -> None:
    dataset = library(fastgpt)
    found = fastgpt.search(dataset, "When does the library open?")
    assert {"list", "duration", "searchMode", "usingReRank"} <= set(found)
    best = found["list"][0]
    assert "opens at nine" in best["q"]
    assert (best["sourceName"], best["datasetId"]) == ("library.md", dataset)
    assert best["score"] == [{"type": "embedding", "value": best["score"][0]["value"], "index": 0}]
    assert {"id", "a", "chunkIndex", "collectionId", "sourceId"} <= set(best)
    assert fastgpt.search(dataset, "周一")["list"][0]["sourceName"] == "通知.md"


def test_similarity_and_limit_filter(fastgpt: FastGpt) -> None:
    dataset = library(fastgpt)
    assert len(fastgpt.search(dataset, "When does the library open?")["list"]) == 3
    assert fastgpt.search(dataset, "When?", similarity=0.999)["list"] == []
    assert len(fastgpt.search(dataset, "library", limit=1)["list"]) == 1


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [
        ("embedding", {"embedding"}),
        ("fullTextRecall", {"fullText"}),
        ("mixedRecall", {"embedding", "fullText", "rrf"}),
    ],
)
def test_the_mode_decides_what_is_compared(
    fastgpt: FastGpt, lab: Lab, mode: str, kinds: set[str]
) -> None:
    dataset = library(fastgpt)
    lab.upstream.reset()
    best = fastgpt.search(dataset, "lost card", searchMode=mode)["list"][0]
    assert "lost card" in best["q"]
    assert {score["type"] for score in best["score"]} == kinds
    asked = lab.upstream.bodies("/v1/embeddings")
    assert len(asked) == (0 if mode == "fullTextRecall" else 1)


def test_rerank_goes_to_its_own_address_with_its_own_key(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = library(fastgpt)
    best = fastgpt.search(dataset, "price of a lost card", usingReRank=True)["list"][0]
    assert "reRank" in {score["type"] for score in best["score"]}
    (call,) = [call for call in lab.upstream.calls if call[0] == "/v1/rerank"]
    assert call[1]["authorization"] == f"Bearer {RERANK_KEY}"
    assert set(call[2]) == {"model", "query", "documents"}
    assert call[2]["model"] == "bge-reranker-v2-m3"


def test_a_failing_reranker_is_swallowed(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = library(fastgpt)
    lab.upstream.refusals["bge-reranker-v2-m3"] = (500, {"detail": "no"})
    found = fastgpt.search(dataset, "lost card", usingReRank=True)
    assert {score["type"] for item in found["list"] for score in item["score"]} == {"embedding"}


@pytest.mark.parametrize("model", [EMBEDDING, WIDE], ids=["padded", "cut"])
def test_vectors_are_kept_in_postgresql_with_1536_numbers(
    fastgpt: FastGpt, lab: Lab, model: str
) -> None:
    dataset = library(fastgpt, vectorModel=model)
    assert fastgpt.search(dataset, "lost card")["list"]
    postgres = Database("postgres", lab.hosts["pg"], 5432, "fastgpt", "pw-1", "postgres")
    rows = [row for row in postgres.list("modeldata").values() if row["dataset_id"] == dataset]
    postgres.close()
    assert [len(row["vector"]) for row in rows] == [1536] * 3
    beyond_the_models_own = any(number for row in rows for number in row["vector"][768:])
    assert beyond_the_models_own == (model == WIDE)


def test_vectors_are_not_normalised(fastgpt: FastGpt) -> None:
    loud = library(fastgpt, vectorModel=LOUD)
    scores = fastgpt.search(loud, "A lost card costs five euros.")["list"][0]["score"]
    assert scores[0]["value"] > 1


def test_a_failing_embedding_shows_in_the_search_test(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = library(fastgpt)
    refusal = {"error": {"message": "当前分组 default 下对于模型 m3e-base 无可用渠道"}}
    lab.upstream.refusals[EMBEDDING] = (503, refusal)
    assert "无可用渠道" in error(fastgpt.try_search(dataset, "x"))[2]


def test_query_extension_costs_a_call_of_a_chat_model(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = library(fastgpt)
    lab.upstream.reset()
    lab.upstream.chat_answer = 'Here: ["opening hours"]'
    fastgpt.search(
        dataset,
        "when?",
        datasetSearchUsingExtensionQuery=True,
        datasetSearchExtensionModel="no-such-model",
    )
    (body,) = lab.upstream.bodies("/v1/chat/completions")
    assert body["model"] == LLM, "an unknown name is the first model"
    asked = [body["input"][0] for body in lab.upstream.bodies("/v1/embeddings")]
    assert asked == ["when?", "opening hours"]


def test_two_searches_a_second(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()

    def code(_: int) -> tuple[int, int]:
        answer = fastgpt.http.post(SEARCH, json={"datasetId": dataset, "text": "x"})
        return answer.status_code, answer.json()["code"]

    assert fastgpt.try_search(dataset, "x").status_code == 200
    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(code, range(12)))
    assert (429, 429) in codes


def test_default_config_goes_into_the_requests(lab: Lab) -> None:
    lab.upstream.reset()
    models = [
        vector(
            EMBEDDING,
            defaultConfig={"dimensions": 768},
            dbConfig={"task": "store"},
            queryConfig={"task": "query"},
        )
    ]
    uri = "mongodb://fastgpt:pw-1@mongo:27017/defaults?authSource=admin"
    content = config(vectorModels=models, llmModels=[llm(LLM)])
    fastgpt = lab.fastgpt("defaults", content, MONGODB_URI=uri).up().ready()
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, "A note.")
    fastgpt.indexed(dataset)
    fastgpt.search(dataset, "note")
    stored, asked = lab.upstream.bodies("/v1/embeddings")
    assert (stored["dimensions"], stored["task"], asked["task"]) == (768, "store", "query")

"""Datasets, documents, indexing, search (docs/facts/fastgpt.md §2, §4, §8, §10.5, §10.9)."""

import contextlib
import io
import itertools
import json
import re
import threading
import zipfile
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from rehearsal.doubles.fastgpt.chunks import SHEET_SIGN, length, split
from rehearsal.doubles.fastgpt.documents import html_text
from rehearsal.doubles.fastgpt.store import Store
from tests.contract.fastgpt_subject import (
    CHAT_KEY,
    EMBEDDING,
    LLM,
    LOUD,
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
from tests.contract.replay import FILES, RECORDINGS

__all__ = ["fastgpt", "lab", "running"]
TEXTS = RECORDINGS / "fastgpt-4.8.8" / FILES
FILE = "/api/core/dataset/collection/create/localFile"
LIBRARY = (
    "# Library\n\n## Hours\nThe library opens at nine.\n\n## Fees\nA lost card costs five euros.\n"
)


def test_a_dataset_keeps_the_name_it_was_given_and_shows_the_model_it_gets(
    fastgpt: FastGpt,
) -> None:
    typo = fastgpt.dataset(vectorModel="m3e-bass", agentModel="no-such")
    shown = fastgpt.get("/api/core/dataset/detail", id=typo)
    assert (shown["vectorModel"]["model"], shown["agentModel"]["model"]) == (EMBEDDING, LLM)
    made = fastgpt.dataset(vectorModel=WIDE, agentModel=SECOND_LLM)
    right = fastgpt.get("/api/core/dataset/detail", id=made)
    assert (right["vectorModel"]["model"], right["agentModel"]["model"]) == (WIDE, SECOND_LLM)


def test_a_typo_in_the_embedding_model_calls_another_one(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = fastgpt.dataset(vectorModel="wide-2084")
    fastgpt.text(dataset, LIBRARY)
    fastgpt.indexed(dataset)
    assert {body["model"] for body in lab.upstream.bodies("/v1/embeddings")} == {EMBEDDING}


def test_update_takes_no_embedding_model(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset("before")
    body = {"id": dataset, "name": "after", "vectorModel": WIDE}
    data(fastgpt.http.put("/api/core/dataset/update", json=body))
    shown = fastgpt.get("/api/core/dataset/detail", id=dataset)
    assert (shown["name"], shown["vectorModel"]["model"]) == ("after", EMBEDDING)


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
    gone = fastgpt.http.get(detail, params={"id": collection})
    assert error(gone) == (500, 500, "Collection is not exist")
    nonsense = error(fastgpt.http.get("/api/core/dataset/detail", params={"id": "x"}))
    assert nonsense[:2] == (500, 500)
    assert "Cast to ObjectId failed" in nonsense[2]


def test_deleting_a_folder_takes_what_is_in_it(fastgpt: FastGpt) -> None:
    outer = fastgpt.dataset(type="folder")
    inner = fastgpt.dataset(parentId=fastgpt.dataset(type="folder", parentId=outer))
    data(fastgpt.http.delete("/api/core/dataset/delete", params={"id": outer}))
    answer = fastgpt.http.get("/api/core/dataset/detail", params={"id": inner})
    assert answer.json()["statusText"] == "unExistDataset"


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


SORTS = [
    pytest.param("a.pdf", pdf("The pump stands in room", "seven of the tower."), id="pdf"),
    pytest.param("a.docx", docx("The pump stands in room seven &amp; hums."), id="docx"),
    pytest.param("a.md", b"# Pump\nIt stands in room seven.", id="md"),
    pytest.param("a.txt", "\ufeffThe pump stands in room seven.".encode(), id="txt"),
    pytest.param("b.txt", "泵在七号房间 room seven".encode("gb18030"), id="gb18030"),
    pytest.param("a.csv", b"thing,place\npump,room seven\n", id="csv"),
    pytest.param("a.html", b"<script>var x</script><p>In room seven</p>", id="html"),
]


@pytest.mark.parametrize(("name", "content"), SORTS)
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


@pytest.mark.parametrize("name", ["100%.txt", "%E4%B8.txt"])
def test_a_file_name_that_cannot_be_decoded_is_never_answered(fastgpt: FastGpt, name: str) -> None:
    """F7: what was asked later is answered, this is not."""
    dataset = fastgpt.dataset()
    answers: list[httpx.Response] = []

    def upload() -> None:
        url = str(fastgpt.http.base_url) + FILE
        fields = {"data": json.dumps({"datasetId": dataset})}
        token = {"token": fastgpt.http.headers["token"]}
        with contextlib.suppress(httpx.TransportError):
            files = {"file": (name, b"x")}
            answers.append(httpx.post(url, files=files, data=fields, headers=token))

    threading.Thread(target=upload, daemon=True).start()
    for number in range(5):
        data(fastgpt.upload(f"{number}.txt", b"x", datasetId=dataset))
    assert not answers
    assert {row["name"] for row in fastgpt.collections(dataset)} == {f"{n}.txt" for n in range(5)}


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


def test_nothing_is_recognised_as_there_already(fastgpt: FastGpt) -> None:
    dataset = fastgpt.dataset()
    made = {fastgpt.text(dataset, LIBRARY)["collectionId"] for _ in range(2)}
    assert len(made) == 2
    assert len(fastgpt.collections(dataset)) == 2


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
    assert made["results"] == {"insertLen": 1}
    fastgpt.indexed(dataset)
    (row,) = fastgpt.collections(dataset)
    assert (row["name"], row["rawLink"]) == ("Opening hours", "http://oneapi:3000/page")
    (body,) = lab.upstream.bodies("/v1/embeddings")
    assert body["input"] == ["## Hours\n\nOpen from nine."]


@pytest.mark.parametrize("selector", ["main", ".body", "#here"])
def test_a_selector_chooses_an_element(selector: str) -> None:
    page = "<title>T</title>Out<main class='wide body' id=here>In<br>side<p>x</main>Out"
    assert html_text(page, selector) == ("T", "In  \nside\n\nx")


# Chunks


@pytest.mark.parametrize(
    ("path", "amount", "too_long"),
    [
        ("README.md", 18, [1295, 677, 1277]),
        ("README.zh-CN.md", 13, [924]),
        ("docs/architecture.md", 18, [680, 992, 1331, 1890, 1471, 788, 815]),
    ],
)
def test_chunks_are_those_of_the_real_splitter(path: str, amount: int, too_long: list[int]) -> None:
    """F1, on the texts it was measured with: what is longer than 1.3 x 512 at a size of 512."""
    lengths = [length(chunk) for chunk in split((TEXTS / path).read_text("utf-8"), 512)]
    assert (len(lengths), [each for each in lengths if each > 665.6]) == (amount, too_long)


def test_sentences_overlap_by_a_fifth() -> None:
    text = "".join(f"Sentence number {number} is here. " for number in range(200))
    chunks = split(text, 500)
    assert len(chunks) > 10
    assert max(map(len, chunks)) > 500, "the size is a target, not a limit"
    for one, other in itertools.pairwise(chunks):
        shared = next(n for n in range(len(one), -1, -1) if other.startswith(one[-n:]))
        assert 100 <= shared <= 200
    assert split(text, 500, overlap=0) != chunks
    assert "".join(split(text, 500, overlap=0)) == text


def test_chunks_keep_their_headings() -> None:
    intro = "intro of more than thirty letters\n\n"
    first, *others = split(f"# A\n\n{intro}## B\n\n{'word. ' * 200}\n", 300)
    assert first == f"# A\n{intro}"
    assert len(others) > 3
    assert all(chunk.startswith("# A\n## B\n") for chunk in others[:-1])


def test_a_heading_takes_the_line_right_below_it_into_the_title() -> None:
    (chunk,) = split("# Head\nline\nThe text is longer than thirty characters.", 300)
    assert chunk.startswith("# Headline\n")


def test_a_tables_head_stands_before_each_chunk_of_its_rows() -> None:
    rows = "".join(f"| {number} | a row of the table |\n" for number in range(60))
    chunks = split("| no | what |\n|---|---|\n" + rows, 300)
    assert len(chunks) > 3
    assert all(chunk.startswith("| no | what |\n| --- | --- |\n| ") for chunk in chunks)


def test_a_workbook_is_cut_as_a_whole_once_for_each_sheet(fastgpt: FastGpt) -> None:
    book = SHEET_SIGN.join(f"| a | b |\n| --- | --- |\n| {n} | {n} |" for n in (1, 2))
    assert len(split(book, 512)) == 2
    results = fastgpt.text(fastgpt.dataset(), book)["results"]
    assert (results["insertLen"], len(results["repeat"])) == (1, 1)


def test_what_has_no_separator_is_whole_up_to_three_times_the_size() -> None:
    assert split("x" * 1535, 512) == ["x" * 1535]
    chunks = split("x" * 5000, 512)
    assert max(map(len, chunks)) == 512
    assert sum(map(len, chunks)) > 5000


def test_a_character_beyond_the_basic_plane_counts_twice() -> None:
    assert length("a😀") == 3
    assert len(split("😀" * 800, 512)) > len(split("x" * 800, 512))


def test_characters_are_counted_where_tokens_are_meant(lab: Lab) -> None:
    """F1: of Chinese, English and code alike, 1.3 characters for each token of `maxToken`."""
    models = [vector(EMBEDDING, maxToken=512)]
    fastgpt = lab.fastgpt(
        "narrow",
        config(vectorModels=models),
        MONGODB_URI="mongodb://fastgpt:pw-1@mongo:27017/narrow?authSource=admin",
    )
    fastgpt.up().ready()
    dataset = fastgpt.dataset()
    for text, taken in (("word " * 133, 1), ("w" * 666, 0), ("馆" * 665, 1), ("馆" * 666, 0)):
        results = fastgpt.text(dataset, text, chunkSize=512)["results"]
        assert (results["insertLen"], len(results["overToken"])) == (taken, 1 - taken)
    asked = fastgpt.text(dataset, "w" * 5000, trainingType="qa", chunkSize=8000)["results"]
    assert asked["insertLen"] == 1, "questions are asked of what 0.8 of the context holds"
    fastgpt.stop()


def test_a_chunk_splitter_cuts_first_and_what_is_there_twice_is_taken_once(
    fastgpt: FastGpt,
) -> None:
    results = fastgpt.text(fastgpt.dataset(), "one;;two;;one", chunkSplitter=";;")["results"]
    assert (results["insertLen"], len(results["repeat"])) == (2, 1)


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
    printed = fastgpt.log.read_text()
    assert "Embedding Error 503 no channel" in printed
    assert re.search(r"\[Error\] [\d-]+ [\d:]+ 503 no channel", printed)
    assert "[Vector Queue] Error" not in printed, "F9"
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
    until("the attempt", lambda: _calls(lab, "one chunk"))
    lab.upstream.refusals[WIDE] = (503, {"error": {"message": "try again"}})
    fastgpt.text(other, "another chunk")
    # When the other dataset's chunk had three turns, this one's would have come as well.
    until("three turns of another chunk", lambda: _calls(lab, "another chunk") >= 3)
    assert _calls(lab, "one chunk") == 1
    assert fastgpt.queue(dataset)["trainingCount"] == 1
    lab.upstream.refusals.clear()
    fastgpt.indexed(other)
    assert fastgpt.queue(dataset)["trainingCount"] == 1, "nothing but deleting helps"
    path = "/api/core/dataset/collection/delete"
    data(fastgpt.http.delete(path, params={"id": collection}))
    assert fastgpt.queue(dataset)["trainingCount"] == 0


def _calls(lab: Lab, text: str) -> int:
    return sum(body["input"] == [text] for body in lab.upstream.bodies("/v1/embeddings"))


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


# Search


def library(fastgpt: FastGpt, **fields: Any) -> str:
    dataset = fastgpt.dataset(**fields)
    fastgpt.text(dataset, LIBRARY, "library.md")
    fastgpt.text(dataset, "图书馆周一闭馆。", "通知.md")
    fastgpt.indexed(dataset)
    return dataset


def test_a_texts_passages_name_it_and_have_no_source_id(fastgpt: FastGpt) -> None:
    dataset = library(fastgpt)
    best = fastgpt.search(dataset, "When does the library open?")["list"][0]
    assert "opens at nine" in best["q"]
    assert best["sourceName"] == "library.md"
    assert "sourceId" not in best
    assert fastgpt.search(dataset, "周一")["list"][0]["sourceName"] == "通知.md"


def test_similarity_and_limit_filter(fastgpt: FastGpt) -> None:
    dataset = library(fastgpt)
    for number in range(6):
        fastgpt.text(dataset, f"word{number} " * 85)
    fastgpt.indexed(dataset)
    assert fastgpt.search(dataset, "When?", similarity=0.999)["list"] == []
    assert len(fastgpt.search(dataset, "word1", limit=3000)["list"]) == 8
    # The limit is passed by the last one taken, and by up to 500 tokens.
    assert len(fastgpt.search(dataset, "word1", limit=200)["list"]) in (2, 3)


def test_a_failing_reranker_is_swallowed(fastgpt: FastGpt, lab: Lab) -> None:
    dataset = library(fastgpt)
    lab.upstream.refusals["bge-reranker-v2-m3"] = (500, {"detail": "no"})
    found = fastgpt.search(dataset, "lost card", usingReRank=True)
    assert found["usingReRank"] is False
    assert {score["type"] for item in found["list"] for score in item["score"]} == {"embedding"}


@pytest.mark.parametrize("model", [EMBEDDING, WIDE], ids=["padded", "cut"])
def test_vectors_are_kept_with_1536_numbers(fastgpt: FastGpt, model: str) -> None:
    dataset = library(fastgpt, vectorModel=model)
    assert fastgpt.search(dataset, "lost card")["list"]
    rows = Store(fastgpt.tree / "memory.db").find("modeldata", dataset_id=dataset)
    assert {len(row["vector"]) for row in rows} == {1536}
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

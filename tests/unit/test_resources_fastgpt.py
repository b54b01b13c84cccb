"""Knowledge: bases, documents, apps, links, keys and the answer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Answer as Given
from provisioning.clients.fastgpt.rows import Hit, Uploaded
from provisioning.clients.http import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    Refused,
    Unauthorized,
)
from stack.resources.base import LabProvider
from stack.resources.declaration import Props, Thing
from stack.resources.fastgpt import session
from stack.resources.fastgpt.answer import Answer, answer_problem
from stack.resources.fastgpt.api_key import ApiKey
from stack.resources.fastgpt.app import App
from stack.resources.fastgpt.dataset import Dataset
from stack.resources.fastgpt.document import Document, content_hash
from stack.resources.fastgpt.documents_ready import DocumentsReady
from stack.resources.fastgpt.published import as_wanted
from stack.resources.fastgpt.ready import Ready
from stack.resources.fastgpt.share_link import ShareLink
from tests.unit.fake_services import FakeClock, FakeFastGpt, FakeOneApi, FakeXinference

ENDPOINT = {"host": "1.2.3.4", "ssh_port": 22, "user": "root", "host_key": "k", "port": 3000}
LOGIN = "/api/support/user/account/loginByPassword"
MODELS = {"llm": ["qwen"], "vector": ["m3e"], "rerank": []}


@pytest.fixture
def service() -> FakeFastGpt:
    return FakeFastGpt()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def _no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_sessions", {})


class Bench:
    """Makes providers that talk to the fake service."""

    def __init__(self, service: FakeFastGpt, clock: FakeClock) -> None:
        self.service = service
        self.clock = clock

    def __call__(self, thing: type[Thing]) -> LabProvider:
        provider = LabProvider(thing)
        provider.transport = self.service.transport
        provider.clock = self.clock
        return provider

    def props(self, **more: Any) -> Props:
        return {"endpoint": ENDPOINT, "password": self.service.password, **more}


@pytest.fixture
def bench(service: FakeFastGpt, clock: FakeClock) -> Bench:
    return Bench(service, clock)


def create(provider: LabProvider, props: Props) -> Props:
    outs = provider.create(props).outs
    assert outs is not None
    return outs


def seen_by(provider: LabProvider, outs: Props) -> Props:
    result = provider.read("id", outs)
    assert result.id is not None
    assert result.outs is not None
    return result.outs


def healed(provider: LabProvider, outs: Props, wanted: Props) -> Props:
    seen = seen_by(provider, outs)
    assert provider.diff("id", seen, wanted).changes
    new = provider.update("id", seen, wanted).outs
    assert new is not None
    assert not provider.diff("id", seen_by(provider, new), wanted).changes
    return new


# -- ready --------------------------------------------------------------------------------------


def test_fastgpt_is_ready_with_the_catalogues_models(bench: Bench, service: FakeFastGpt) -> None:
    service.not_ready = 3
    wanted = bench.props(models=MODELS, deadline_minutes=10)
    provider = bench(Ready)

    outs = create(provider, wanted)

    assert outs["version"] == "4.8.8-fix2"
    assert LOGIN in service.called("POST")
    assert not provider.diff("id", seen_by(provider, outs), wanted).changes


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({**MODELS, "llm": ["qwen", "glm"]}, "no llm model glm"),
        ({**MODELS, "vector": []}, "vector model m3e that is not in the catalogue"),
    ],
)
def test_other_models_than_the_catalogues_are_not_ready(
    bench: Bench, models: Props, said: str
) -> None:
    with pytest.raises(DeadlineExceeded, match=said):
        bench(Ready).create(bench.props(models=models, deadline_minutes=1))


def test_a_password_that_does_not_log_in_is_not_ready(bench: Bench, service: FakeFastGpt) -> None:
    wanted = bench.props(models=MODELS, deadline_minutes=1)
    service.password = "another"

    with pytest.raises(Unauthorized):
        bench(Ready).create(wanted)


def test_fastgpt_without_its_vector_database_is_not_ready(
    bench: Bench, service: FakeFastGpt, clock: FakeClock
) -> None:
    # It lives on then: it tells its models, and root logs in.
    service.postgres_error = "connect ECONNREFUSED 172.18.0.2:5432"
    wanted = bench.props(models=MODELS, deadline_minutes=1)
    provider = bench(Ready)

    with pytest.raises(DeadlineExceeded, match=r"PostgreSQL.*ECONNREFUSED.*docker logs pg"):
        provider.create(wanted)
    assert clock.passed < 120


def test_a_vector_database_that_went_away_is_drift_and_waited_for(
    bench: Bench, service: FakeFastGpt, clock: FakeClock
) -> None:
    wanted = bench.props(models=MODELS, deadline_minutes=1)
    provider = bench(Ready)
    outs = create(provider, wanted)
    service.postgres_error = 'relation "modeldata" does not exist'
    seen = seen_by(provider, outs)
    assert provider.diff("id", seen, wanted).changes

    def comes_back() -> None:
        service.postgres_error = ""

    clock.on_sleep = comes_back
    new = provider.update("id", seen, wanted).outs
    assert new is not None
    assert not provider.diff("id", seen_by(provider, new), wanted).changes


def test_models_that_changed_under_it_are_drift(bench: Bench, service: FakeFastGpt) -> None:
    wanted = bench.props(models=MODELS, deadline_minutes=1)
    provider = bench(Ready)
    outs = create(provider, wanted)
    service.models["llmModels"] = [{"model": "other"}]

    assert provider.diff("id", seen_by(provider, outs), wanted).changes


def test_one_session_serves_all_resources(bench: Bench, service: FakeFastGpt) -> None:
    for name in ("a", "b"):
        create(bench(Dataset), dataset(bench, name=name))

    assert service.called("POST").count(LOGIN) == 1


# -- datasets -----------------------------------------------------------------------------------


def dataset(bench: Bench, **more: Any) -> Props:
    fields = {"name": "manual", "vector_model": "m3e", "agent_model": "qwen", "intro": ""}
    return bench.props(**{**fields, **more})


def test_a_dataset_is_made_once(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Dataset)
    first = create(provider, dataset(bench))

    # As after an interrupted run: made, but not in the state.
    assert create(provider, dataset(bench)) == first
    assert list(service.datasets) == [first["dataset_id"]]
    assert not provider.diff("id", seen_by(provider, first), dataset(bench)).changes


def test_a_dataset_of_that_name_with_another_embedding_is_not_taken(bench: Bench) -> None:
    provider = bench(Dataset)
    create(provider, dataset(bench, vector_model="bge"))

    with pytest.raises(Conflict, match="bge"):
        provider.create(dataset(bench))


def test_two_datasets_of_that_name_are_not_guessed_between(
    bench: Bench, service: FakeFastGpt
) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    service.datasets["x"] = {**service.datasets[outs["dataset_id"]], "_id": "x"}

    with pytest.raises(Conflict, match="2 of that name"):
        provider.create(dataset(bench))


def test_another_embedding_makes_another_dataset_the_old_one_first(bench: Bench) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))

    result = provider.diff("id", outs, dataset(bench, vector_model="bge"))

    assert (result.replaces, result.delete_before_replace) == (["vector_model"], True)


def test_a_renamed_dataset_is_renamed_back(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    row = service.datasets[outs["dataset_id"]]
    row["name"], row["agentModel"] = "renamed", {"model": "qwen"}

    healed(provider, outs, dataset(bench))

    assert row["name"] == "manual"
    # An object in update, though a string in create.
    assert row["agentModel"] == {"model": "qwen"}


def test_an_intro_is_set_and_seen_again(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Dataset)
    wanted = dataset(bench, intro="How the lab works")
    outs = create(provider, wanted)
    row = service.datasets[outs["dataset_id"]]
    assert row["intro"] == "How the lab works"

    row["intro"] = ""
    healed(provider, outs, wanted)
    assert row["intro"] == "How the lab works"


def test_a_model_that_config_json_lost_is_not_the_datasets_drift(
    bench: Bench, service: FakeFastGpt
) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    # FastGPT falls back to its first model, silently.
    service.models["vectorModels"] = [{"model": "bge"}]
    service.datasets[outs["dataset_id"]]["vectorModel"] = {"model": "bge"}

    assert not provider.diff("id", seen_by(provider, outs), dataset(bench)).changes


def test_a_rebuilt_embedding_is_drift(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    service.datasets[outs["dataset_id"]]["vectorModel"] = {"model": "bge"}

    seen = seen_by(provider, outs)

    assert provider.diff("id", seen, dataset(bench)).replaces == ["vector_model"]


def test_a_deleted_dataset_is_gone_and_deletes_quietly(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    provider.delete("id", outs)

    assert service.datasets == {}
    assert provider.read("id", outs).id is None
    provider.delete("id", outs)


def test_a_namesake_does_not_take_the_place_of_one_that_is_gone(
    bench: Bench, service: FakeFastGpt
) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    service.datasets["x"] = {**service.datasets.pop(outs["dataset_id"]), "_id": "x"}

    # Its documents know it by its id, which no update can change.
    with pytest.raises(NotFound, match=r"gone; `pulumi up --refresh`"):
        provider.update("id", outs, dataset(bench, intro="New"))
    assert service.datasets["x"]["intro"] == ""


def test_unreachable_is_not_gone(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Dataset)
    outs = create(provider, dataset(bench))
    service.down = True

    assert provider.read("id", outs).outs == outs


# -- documents ----------------------------------------------------------------------------------


def document(bench: Bench, dataset_id: str, **more: Any) -> Props:
    fields: Props = {
        "dataset_id": dataset_id,
        "training": "chunk",
        "chunk_size": 512,
        "qa_prompt": "",
        "selector": "",
    }
    given = {key: more.get(key) for key in ("file", "text", "link")}
    fields["content_hash"] = content_hash(**given)
    fields["name"] = Path(given["file"]).name if given["file"] else given["link"]
    return bench.props(**{**fields, **more})


@pytest.fixture
def base_id(bench: Bench) -> str:
    return str(create(bench(Dataset), dataset(bench))["dataset_id"])


def test_a_file_is_uploaded_under_its_name(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "手册 1.md"
    file.write_text("The lab ends by its lease.")
    provider = bench(Document)
    wanted = document(bench, base_id, file=str(file))

    outs = create(provider, wanted)

    row = service.collections[outs["collection_id"]]
    assert (row["name"], row["datasetId"], row["trainingType"]) == ("手册 1.md", base_id, "chunk")
    assert not provider.diff("id", seen_by(provider, outs), wanted).changes


@pytest.mark.parametrize("kind", ["file", "text"])
def test_a_section_of_one_line_is_sent_so_that_it_is_kept(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "notes.md"
    file.write_text("# Opening\nAt nine.\n")
    given = {"file": {"file": str(file)}, "text": {"text": file.read_text(), "name": "notes"}}

    create(bench(Document), document(bench, base_id, **given[kind]))

    sent = service.uploads[-1].decode()
    assert "# Opening\n\nAt nine." in sent.replace("\\n", "\n")


def test_what_is_no_text_is_sent_as_it_is(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path
) -> None:
    for name, content in (("a.csv", b"# a\n1,2\n"), ("b.docx", b"# a\nb\n")):
        file = tmp_path / name
        file.write_bytes(content)
        create(bench(Document), document(bench, base_id, file=str(file)))
        assert content in service.uploads[-1]


def test_a_text_is_uploaded_in_the_encoding_that_fastgpt_reads_right(
    bench: Bench, base_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    upload = FastGptClient.upload_file

    def seen(client: FastGptClient, *given: Any) -> Uploaded:
        sent.append(given[2])
        return upload(client, *given)

    monkeypatch.setattr(FastGptClient, "upload_file", seen)
    file = tmp_path / "手册.csv"
    file.write_bytes("项目,电话\n阅览室,5551234\n".encode("gbk"))
    create(bench(Document), document(bench, base_id, file=str(file)))

    assert sent == ["项目,电话\n阅览室,5551234\n".encode("utf-8-sig")]


def test_an_unchanged_file_elsewhere_is_not_uploaded_again(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path
) -> None:
    file, moved = tmp_path / "a.md", tmp_path / "sub" / "a.md"
    file.write_text("text")
    moved.parent.mkdir()
    moved.write_text("text")
    provider = bench(Document)
    outs = create(provider, document(bench, base_id, file=str(file)))

    assert not provider.diff("id", outs, document(bench, base_id, file=str(moved))).changes


def test_a_changed_file_replaces_its_collection(bench: Bench, base_id: str, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    provider = bench(Document)
    outs = create(provider, document(bench, base_id, file=str(file)))
    file.write_text("two")

    result = provider.diff("id", outs, document(bench, base_id, file=str(file)))

    assert (result.replaces, result.delete_before_replace) == (["content_hash"], True)


def test_a_file_that_changes_during_the_run_is_not_taken_for_the_other(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    wanted = document(bench, base_id, file=str(file))
    file.write_text("two")

    with pytest.raises(Conflict, match="changed while"):
        bench(Document).create(wanted)
    assert service.collections == {}


@pytest.mark.parametrize("kind", ["file", "text", "link"])
def test_what_an_interrupted_upload_left_is_adopted(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "words.md"
    file.write_text("Some words.")
    given = {
        "file": {"file": str(file)},
        "text": {"text": "Some words.", "name": "words"},
        "link": {"link": "https://example.org/a"},
    }
    provider = bench(Document)
    wanted = document(bench, base_id, **given[kind])
    first = create(provider, wanted)

    again = create(provider, wanted)

    assert again["collection_id"] == first["collection_id"]
    assert len(service.collections) == 1


@pytest.mark.parametrize("old", [{"metadata": {}}, {"chunkSize": 100}], ids=["unmarked", "cut"])
def test_a_leftover_that_is_not_the_same_is_replaced(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path, old: Props
) -> None:
    file = tmp_path / "a.md"
    file.write_text("text")
    provider = bench(Document)
    wanted = document(bench, base_id, file=str(file))
    first = create(provider, wanted)
    service.collections[first["collection_id"]].update(old)

    again = create(provider, wanted)

    assert list(service.collections) == [again["collection_id"]]
    assert again["collection_id"] != first["collection_id"]


def test_documents_of_other_names_are_left_alone(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    other = service.add_collection(base_id, "by hand")

    create(bench(Document), document(bench, base_id, text="x y", name="ours"))

    assert other in service.collections


def test_a_page_that_is_titled_like_a_document_is_left_alone(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    page = service.add_collection(base_id, "facts", rawLink="https://example.org/a")
    create(bench(Document), document(bench, base_id, text="x", name="facts"))
    assert page in service.collections


def test_a_link_is_told_by_its_address(bench: Bench, service: FakeFastGpt, base_id: str) -> None:
    provider = bench(Document)
    wanted = document(bench, base_id, link="https://example.org/a", selector="main")
    first = create(provider, wanted)

    # Its title is the page's.
    assert not provider.diff("id", seen_by(provider, first), wanted).changes
    assert create(provider, wanted)["collection_id"] == first["collection_id"]
    metadata = service.collections[first["collection_id"]]["metadata"]
    assert metadata["webPageSelector"] == "main"


def test_a_document_without_text_leaves_nothing_behind(
    bench: Bench, service: FakeFastGpt, base_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "scan.pdf"
    file.write_bytes(b"%PDF-1.4")
    service.inserted = 0

    with pytest.raises(Refused, match="no text was found"):
        bench(Document).create(document(bench, base_id, file=str(file)))
    assert service.collections == {}


def test_a_dead_link_is_called_a_dead_link_and_leaves_nothing_behind(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    service.inserted = 0

    with pytest.raises(Refused, match="FastGPT must reach the page from the server"):
        bench(Document).create(document(bench, base_id, link="https://a.example"))
    assert service.collections == {}


def test_an_empty_leftover_is_not_adopted(bench: Bench, service: FakeFastGpt, base_id: str) -> None:
    provider = bench(Document)
    wanted = document(bench, base_id, link="https://a.example")
    left = create(provider, wanted)["collection_id"]
    service.collections[left]["rawTextLength"] = 0

    assert create(provider, wanted)["collection_id"] != left
    assert left not in service.collections


def test_a_document_of_which_chunks_were_left_out_leaves_nothing_behind(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    service.left_out = 2

    with pytest.raises(Refused, match=r"left out 2 of its chunks.*chunkSize \(now 512\)"):
        bench(Document).create(document(bench, base_id, text="x", name="n"))
    assert service.collections == {}


def test_a_document_that_is_gone_or_whose_base_is(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    provider = bench(Document)
    outs = create(provider, document(bench, base_id, text="x y", name="n"))
    service.collections.clear()
    assert provider.read("id", outs).id is None

    service.datasets.clear()
    assert provider.read("id", outs).id is None
    provider.delete("id", outs)


def test_bad_documents_are_refused_at_preview(bench: Bench, tmp_path: Path) -> None:
    provider = bench(Document)

    def wrong(**given: Any) -> list[str]:
        return [f.property for f in provider.check({}, document(bench, UNKNOWN, **given)).failures]

    assert wrong(file=str(tmp_path / "nowhere.pdf")) == ["file"]
    assert wrong(text="  ", name="n") == ["text"]
    assert wrong(text="x") == ["name"]
    assert wrong(text="x", link="y", name="n") == ["file"]
    assert wrong(text="x", name="n") == []


# -- indexing -----------------------------------------------------------------------------------


def indexing(bench: Bench, *documents: tuple[str, str, str], **more: Any) -> Props:
    rows = [{"dataset_id": d, "collection_id": c, "name": n} for d, c, n in documents]
    fields = {"documents": rows, "search_mode": "embedding", "deadline_minutes": 30}
    return bench.props(**{**fields, **more})


def test_documents_are_followed_and_then_found(
    bench: Bench, service: FakeFastGpt, clock: FakeClock, base_id: str
) -> None:
    one = service.add_collection(base_id, "a.md", dataAmount=1, trainingAmount=2)
    two = service.add_collection(base_id, "b.md", dataAmount=4)
    provider = bench(DocumentsReady)
    wanted = indexing(bench, (base_id, one, "a.md"), (base_id, two, "b.md"))

    def moves() -> None:
        row = service.collections[one]
        if row["trainingAmount"]:
            row.update(dataAmount=row["dataAmount"] + 1, trainingAmount=row["trainingAmount"] - 1)

    clock.on_sleep = moves
    outs = create(provider, wanted)

    assert outs["chunks"] == {"a.md": 3, "b.md": 4}
    assert service.searched == [f"text of {one}", f"text of {two}"]
    assert not provider.diff("id", seen_by(provider, outs), wanted).changes


def test_an_indexed_document_that_no_search_finds_is_not_ready(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    one = service.add_collection(base_id, "a.md")
    service.hits_nothing = True

    with pytest.raises(DeadlineExceeded, match=r"a search to find a\.md"):
        bench(DocumentsReady).create(indexing(bench, (base_id, one, "a.md")))


def test_a_standstill_without_a_known_reason_lasts_until_the_deadline(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    one = service.add_collection(base_id, "a.md", dataAmount=1, trainingAmount=2)

    with pytest.raises(DeadlineExceeded, match="`Embedding Error`") as error:
        bench(DocumentsReady).create(indexing(bench, (base_id, one, "a.md")))
    assert "1 of 3 chunks" in error.value.last_seen


def test_a_model_missing_in_config_json_is_found_out_early(
    bench: Bench, service: FakeFastGpt, clock: FakeClock, base_id: str
) -> None:
    one = service.add_collection(base_id, "a.md", dataAmount=0, trainingAmount=2)
    service.models["vectorModels"] = []

    with pytest.raises(Refused, match=r"m3e is not in FastGPT's config\.json"):
        bench(DocumentsReady).create(indexing(bench, (base_id, one, "a.md")))
    assert clock.passed < 600


def test_a_document_without_text_is_found_out_early(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    one = service.add_collection(base_id, "a.pdf", dataAmount=0, rawTextLength=0)

    with pytest.raises(Refused, match=r"a\.pdf: no text"):
        bench(DocumentsReady).create(indexing(bench, (base_id, one, "a.pdf")))


def test_a_missing_channel_and_a_model_that_is_not_served_are_told_apart(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    gateway, engine = FakeOneApi(), FakeXinference()
    gateway.add_token(name="fastgpt")
    by_port = {3000: service, 3001: gateway, 9997: engine}
    transport = httpx.MockTransport(lambda r: by_port[r.url.port or 0]._take(r))
    one = service.add_collection(base_id, "a.md", dataAmount=0, trainingAmount=2)
    chain = {
        "oneapi": {**ENDPOINT, "port": 3001},
        "relay_key": "z" * 48,
        "xinference": {**ENDPOINT, "port": 9997},
    }
    provider = bench(DocumentsReady)
    provider.transport = transport
    wanted = indexing(bench, (base_id, one, "a.md"), chain=chain)

    with pytest.raises(Refused, match="no channel for embedding model m3e"):
        provider.create(wanted)

    gateway.add_channel(name="c", type=1, models="m3e")
    error = {"message": "no", "type": "upstream_error", "code": "bad_response_status_code"}
    gateway.upstream = httpx.Response(400, json={"error": error})
    engine.put({"model_uid": "m3e"}, "ERROR", "CUDA out of memory")
    with pytest.raises(Refused, match=r"Xinference does not serve m3e.*out of memory"):
        provider.create(wanted)


def test_a_model_that_refuses_a_long_text_is_found_out_early(
    bench: Bench, service: FakeFastGpt, clock: FakeClock, base_id: str
) -> None:
    error = {"message": "input too long", "type": "upstream_error", "code": "bad_response"}

    def relay(request: httpx.Request) -> httpx.Response:
        if len(json.loads(request.content)["input"]) > 512:
            return httpx.Response(400, json={"error": error})
        return httpx.Response(200, json={"data": [{"embedding": [0.5]}]})

    by_port = {3000: service._take, 3001: relay}
    one = service.add_collection(base_id, "a.md", dataAmount=1, trainingAmount=2)
    provider = bench(DocumentsReady)
    provider.transport = httpx.MockTransport(lambda r: by_port[r.url.port or 0](r))
    chain = {"oneapi": {**ENDPOINT, "port": 3001}, "relay_key": "z" * 48}

    with pytest.raises(Refused, match=r"a\.md: m3e .* none of 2048 characters.*too long.*Lower"):
        provider.create(indexing(bench, (base_id, one, "a.md"), chain=chain))
    assert clock.passed < 600


def test_a_document_that_vanishes_is_said(bench: Bench, base_id: str) -> None:
    with pytest.raises(NotFound, match="not in its base any more"):
        bench(DocumentsReady).create(indexing(bench, (base_id, "nix", "a.md")))


def test_a_document_that_is_no_longer_indexed_is_drift(
    bench: Bench, service: FakeFastGpt, base_id: str
) -> None:
    one = service.add_collection(base_id, "a.md")
    provider = bench(DocumentsReady)
    wanted = indexing(bench, (base_id, one, "a.md"))
    outs = create(provider, wanted)
    service.collections[one]["trainingAmount"] = 1

    assert provider.diff("id", seen_by(provider, outs), wanted).changes
    service.datasets.clear()
    assert seen_by(provider, outs)["chunks"] == {}


# -- apps ---------------------------------------------------------------------------------------

NODES = [
    {"nodeId": "start", "inputs": [{"key": "q", "value": None}], "outputs": []},
    {
        "nodeId": "search",
        "inputs": [{"key": "limit", "value": 9000}, {"key": "similarity", "value": 0.4}],
    },
]
EDGES = [{"source": "start", "target": "search", "sourceHandle": "a", "targetHandle": "b"}]


def app(bench: Bench, **more: Any) -> Props:
    fields = {
        "name": "assistant",
        "nodes": copy.deepcopy(NODES),
        "edges": copy.deepcopy(EDGES),
        "chat_config": {"welcomeText": "Hi", "variables": []},
        "intro": "",
        "avatar": "",
    }
    return bench.props(**{**fields, **more})


def test_an_app_is_made_updated_and_published(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(App)
    outs = create(provider, app(bench))

    assert [version["nodes"] for version in service.published] == [NODES]
    assert service.published[0]["chatConfig"]["welcomeText"] == "Hi"
    assert not provider.diff("id", seen_by(provider, outs), app(bench)).changes


def test_an_app_that_was_made_but_not_published_is_taken_up(
    bench: Bench, service: FakeFastGpt
) -> None:
    provider = bench(App)
    first = create(provider, app(bench))

    assert create(provider, app(bench))["app_id"] == first["app_id"]
    assert len(service.apps) == 1
    assert len(service.published) == 2


def test_what_fastgpt_changes_on_save_is_no_drift(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(App)
    outs = create(provider, app(bench))
    row = service.apps[outs["app_id"]]
    row["modules"] = [
        # Another order, fields of its own, empty ones dropped, the limit lowered.
        {
            **NODES[1],
            "showStatus": True,
            "inputs": list(reversed(copy.deepcopy(NODES[1]["inputs"]))),
        },
        {"nodeId": "start", "inputs": [{"key": "q", "label": ""}]},
    ]
    row["modules"][0]["inputs"][1]["value"] = 3000
    row["chatConfig"] = {"welcomeText": "Hi", "ttsConfig": {"type": "web"}}

    assert not provider.diff("id", seen_by(provider, outs), app(bench)).changes


@pytest.mark.parametrize("hand", ["value", "extra node", "edge", "welcome", "name"])
def test_an_app_edited_in_the_web_page_is_seen_and_published_anew(
    bench: Bench, service: FakeFastGpt, hand: str
) -> None:
    provider = bench(App)
    outs = create(provider, app(bench))
    row = service.apps[outs["app_id"]]
    edits: dict[str, Any] = {
        "value": lambda: row["modules"][1]["inputs"][1].update(value=0.9),
        "extra node": lambda: row["modules"].append({"nodeId": "x"}),
        "edge": lambda: row["edges"].clear(),
        "welcome": lambda: row["chatConfig"].update(welcomeText="Bye"),
        "name": lambda: row.update(name="other"),
    }
    row.update(copy.deepcopy({k: row[k] for k in ("modules", "edges", "chatConfig")}))
    edits[hand]()

    healed(provider, outs, app(bench))

    shown = {key: service.apps[outs["app_id"]][key] for key in ("name", "modules", "edges")}
    assert shown == {"name": "assistant", "modules": NODES, "edges": EDGES}


def test_a_new_intro_publishes_nothing(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(App)
    outs = create(provider, app(bench))

    provider.update("id", outs, app(bench, intro="New"))

    assert len(service.published) == 1
    assert service.apps[outs["app_id"]]["intro"] == "New"


def test_a_deleted_app_is_gone(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(App)
    outs = create(provider, app(bench))
    provider.delete("id", outs)

    assert provider.read("id", outs).id is None
    provider.delete("id", outs)


def test_two_apps_of_that_name_are_not_guessed_between(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(App)
    outs = create(provider, app(bench))
    service.apps["x"] = {**service.apps[outs["app_id"]], "_id": "x"}

    with pytest.raises(Conflict):
        provider.create(app(bench))


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ({"a": None}, {}, True),
        ({"a": []}, {"a": None}, True),
        ({"a": 1}, {"a": 1.0, "b": 2}, True),
        ({"key": "limit", "value": 9000}, {"key": "limit", "value": 3000}, True),
        ({"key": "limit", "value": 9000}, {"key": "limit", "value": 2000}, False),
        ({"key": "limit", "value": 4000}, {"key": "limit", "value": 5000}, False),
        ({"a": "x"}, {}, False),
        ([["start", "q"]], [["start", "other"]], False),
        ([], [{"key": "new"}], False),
    ],
)
def test_what_counts_as_the_same(wanted: Any, found: Any, same: bool) -> None:
    assert (as_wanted(wanted, found) == wanted) is same


# -- links and keys -----------------------------------------------------------------------------


@pytest.fixture
def app_id(bench: Bench) -> str:
    return str(create(bench(App), app(bench))["app_id"])


def link(bench: Bench, app_id: str, **more: Any) -> Props:
    return bench.props(**{"app_id": app_id, "name": "public", "response_detail": True, **more})


def test_a_link_is_made_once_and_has_an_address(
    bench: Bench, service: FakeFastGpt, app_id: str
) -> None:
    provider = bench(ShareLink)
    outs = create(provider, link(bench, app_id))

    assert outs["path"] == f"/chat/share?shareId={outs['share_id']}"
    assert outs["link_id"] != outs["share_id"]
    assert create(provider, link(bench, app_id)) == outs
    assert len(service.links) == 1
    assert not provider.diff("id", seen_by(provider, outs), link(bench, app_id)).changes


def test_a_link_edited_or_deleted_by_hand(bench: Bench, service: FakeFastGpt, app_id: str) -> None:
    provider = bench(ShareLink)
    outs = create(provider, link(bench, app_id))
    service.links[outs["link_id"]]["responseDetail"] = False

    new = healed(provider, outs, link(bench, app_id))
    assert new["share_id"] == outs["share_id"]
    assert service.links[outs["link_id"]]["responseDetail"] is True

    service.links.clear()
    assert provider.read("id", outs).id is None


def test_another_app_is_another_link(bench: Bench, app_id: str) -> None:
    provider = bench(ShareLink)
    outs = create(provider, link(bench, app_id))

    assert provider.diff("id", outs, link(bench, UNKNOWN)).replaces == ["app_id"]
    provider.delete("id", outs)
    provider.delete("id", outs)
    assert provider.read("id", outs).id is None


def test_a_key_is_kept_and_a_leftover_is_replaced(
    bench: Bench, service: FakeFastGpt, app_id: str
) -> None:
    provider = bench(ApiKey)
    wanted = bench.props(app_id=app_id, name="site")
    first = create(provider, wanted)
    second = create(provider, wanted)

    # The first one's text is lost with its state: FastGPT never shows it again.
    assert list(service.keys) == [second["key_id"]]
    assert first["key"] != second["key"] == service.keys[second["key_id"]]["apiKey"]
    assert seen_by(provider, second) == second
    provider.delete("id", second)
    assert provider.read("id", second).id is None


# -- answer -------------------------------------------------------------------------------------


def question(bench: Bench, **more: Any) -> Props:
    fields = {
        "endpoint": ENDPOINT,
        "share_id": "share1",
        "question": "When does the lab end?",
        "cites": "manual.pdf",
        "triggers": ["1"],
        "deadline_minutes": 5,
    }
    return {**fields, **more}


def test_the_answer_and_its_citations_are_outputs(bench: Bench, service: FakeFastGpt) -> None:
    outs = create(bench(Answer), question(bench))

    assert outs["answer"] == "By its lease."
    assert outs["citations"] == [
        {"document": "manual.pdf", "passage": "The lab ends by its lease."}
    ]
    assert LOGIN not in service.called("POST")


def test_a_channel_that_is_not_there_yet_is_put_up_with(
    bench: Bench, service: FakeFastGpt, clock: FakeClock
) -> None:
    service.chat_error = "对于模型 qwen 无可用渠道"

    def routes() -> None:
        if clock.passed > 30:
            service.chat_error = ""

    clock.on_sleep = routes
    create(bench(Answer), question(bench))
    assert clock.passed > 30


def test_an_error_that_stays_is_shown(bench: Bench, service: FakeFastGpt) -> None:
    service.chat_error = "对于模型 qwen 无可用渠道"

    with pytest.raises(DeadlineExceeded, match="无可用渠道"):
        bench(Answer).create(question(bench))


def test_the_wrong_citation_is_asked_for_three_times_only(
    bench: Bench, service: FakeFastGpt
) -> None:
    with pytest.raises(Refused, match=r"cites manual\.pdf, not docs/other\.pdf"):
        bench(Answer).create(question(bench, cites="docs/other.pdf"))
    assert len(service.asked) == 3
    chats = {json.loads(request.content)["chatId"] for request in service.asked}
    # A chat of its own each, or the history would answer.
    assert len(chats) == 3


def test_it_is_asked_again_when_something_changed(bench: Bench, service: FakeFastGpt) -> None:
    provider = bench(Answer)
    outs = create(provider, question(bench))

    assert not provider.diff("id", outs, question(bench, deadline_minutes=9)).changes
    assert seen_by(provider, outs) == outs
    assert len(service.asked) == 1
    assert provider.diff("id", outs, question(bench, triggers=["2"])).changes
    provider.update("id", outs, question(bench, triggers=["2"]))
    assert len(service.asked) == 2


HIT = Hit(document="a.md", q="text")


@pytest.mark.parametrize(
    ("answer", "cites", "wrong"),
    [
        (Given("yes", (HIT,)), "a.md", False),
        (Given("yes", (HIT,)), "docs/a.md", False),
        (Given("yes", (HIT,)), "", False),
        (Given("yes", ()), "", True),
        (Given("yes", ()), None, False),
        (Given("yes", (HIT,)), "b.md", True),
        (Given(" ", (HIT,)), None, True),
    ],
)
def test_what_a_good_answer_is(answer: Given, cites: str | None, wrong: bool) -> None:
    assert bool(answer_problem(answer, cites)) is wrong

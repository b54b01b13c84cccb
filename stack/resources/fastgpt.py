"""FastGPT's knowledge bases, documents, apps, links and keys, as resources
(`docs/facts/fastgpt.md`)."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import Resource
from typing_extensions import override

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import (
    Answer,
    ApiKey,
    Collection,
    Dataset,
    InitData,
    ShareLink,
    Uploaded,
)
from provisioning.clients.http import (
    Conflict,
    NotFound,
    Refused,
    Unauthorized,
    Unexpected,
    Unreachable,
    Waiting,
    wait_until,
)
from provisioning.text_files import as_sent, with_spaced_headings
from stack.resources.base import Endpoint, LabProvider, Props, say, secret_outputs
from stack.resources.indexing import Indexing, indexed
from stack.resources.published import as_wanted

SERVICE = "FastGPT"
POLL_SECONDS = 2.0
REREAD_SECONDS = 120.0
PASSAGE_LENGTH = 400
MOST_ANSWERS = 3
"""How often an answer without the right citation is asked for again."""
VISITOR = "ai-lab-health"
_MARK = "aiLab"
_DOUBLES = "duplicates"

# Sessions last seven days; a run opens one per password, whatever the number of resources.
_sessions: dict[tuple[str, int, str], str] = {}
_sessions_lock = threading.Lock()


class _FastGptProvider(LabProvider):
    reach = frozenset({"endpoint", "password"})

    @contextlib.contextmanager
    def client(self, props: Props) -> Iterator[FastGptClient]:
        endpoint, password = props["endpoint"], str(props.get("password") or "")
        digest = hashlib.sha256(password.encode()).hexdigest()
        key = (str(endpoint["host"]), int(endpoint["port"]), digest)
        with _sessions_lock:
            token = _sessions.get(key, "")
        client = FastGptClient(
            self.address(endpoint),
            password=password,
            token=token,
            transport=self.transport,
            clock=self.clock,
        )
        with client:
            yield client
            with _sessions_lock:
                _sessions[key] = client.token

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        return frozenset({_DOUBLES}) if olds.get(_DOUBLES) else frozenset()


def _with_doubles(shown: Props, doubles: Sequence[object]) -> Props:
    """`shown`, and how many others bear its name; an only one stays as it was made."""
    alone = {key: value for key, value in shown.items() if key != _DOUBLES}
    return {**alone, _DOUBLES: len(doubles)} if doubles else alone


def _other_name(name: str, taken: Set[str]) -> str:
    """`name (2)`, or the next that is free: what people made by hand is never deleted."""
    return next(
        other for other in (f"{name} ({n})" for n in itertools.count(2)) if other not in taken
    )


class IndexedDocument(TypedDict):
    """One document to follow: of `FastGptDocument`, its outputs."""

    dataset_id: pulumi.Input[str]
    collection_id: pulumi.Input[str]
    name: pulumi.Input[str]


class Chain(TypedDict, total=False):
    """Read-only ways to find out which link of the chain failed; each may be left out."""

    oneapi: pulumi.Input[Endpoint]
    relay_key: pulumi.Input[str]
    xinference: pulumi.Input[Endpoint]


class FastGptReadyProvider(_FastGptProvider):
    """Waits until FastGPT serves the catalogue's models, root can log in, and it has vectors."""

    ignored = frozenset({"deadline_minutes"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props) as client:
            give_up_at = self.clock.monotonic() + 60 * float(props["deadline_minutes"])
            found = self._await(client, props["models"], give_up_at)
            client.login()
            self._await_vectors(client, give_up_at)
        return "fastgpt", {**props, "version": found.version}

    @override
    def look(self, props: Props) -> Props | None:
        with self.client(props) as client:
            found = wait_until(
                "FastGPT's models",
                lambda: _init_data(client),
                service=SERVICE,
                deadline=REREAD_SECONDS,
                every=POLL_SECONDS,
                clock=self.clock,
                tolerate=(),
            )
            silent = _vector_problem(client)
        if silent:
            # Not an error: what makes PostgreSQL anew comes after this look.
            pulumi.log.warn(f"FastGPT: {silent}")
            return {**props, "models": {**_models_of(found), "vector": []}}
        same = not _model_problem(props["models"], found)
        return {**props, "models": props["models"] if same else _models_of(found)}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        return self.make(news)[1]

    @override
    def remove(self, props: Props) -> None:
        """Nothing: the container is Docker's."""

    def _await(
        self, client: FastGptClient, models: Mapping[str, Any], give_up_at: float
    ) -> InitData:
        def look() -> InitData | Waiting:
            found = _init_data(client)
            if isinstance(found, Waiting):
                return found
            problem = _model_problem(models, found)
            return Waiting(problem) if problem else found

        return wait_until(
            "FastGPT to run with this catalogue's models",
            look,
            service=SERVICE,
            deadline=give_up_at - self.clock.monotonic(),
            advice="read `docker logs fastgpt` on the server; it reads config.json at its start "
            "only, so a changed one needs a new container, and it answers nothing at all while it "
            "cannot reach MongoDB (`docker ps -a` shows mongo)",
            every=POLL_SECONDS,
            clock=self.clock,
            progress=say("FastGPT"),
        )

    def _await_vectors(self, client: FastGptClient, give_up_at: float) -> None:
        wait_until(
            "FastGPT's vector database",
            lambda: Waiting(problem) if (problem := _vector_problem(client)) else True,
            service=SERVICE,
            deadline=give_up_at - self.clock.monotonic(),
            advice="see whether PostgreSQL is up: `docker ps -a` and `docker logs pg` on the "
            "server; FastGPT goes on dialling, and logs `pg connect error` for each attempt "
            "(`docker logs fastgpt`)",
            every=POLL_SECONDS,
            clock=self.clock,
            progress=say("FastGPT"),
        )


def _vector_problem(client: FastGptClient) -> str:
    """Why FastGPT cannot get at its vectors; "" where it can."""
    try:
        client.count_vectors()
    except Unauthorized:
        raise
    except (Refused, Unreachable) as error:
        return f"PostgreSQL does not answer it ({error.answer})"
    return ""


def _init_data(client: FastGptClient) -> InitData | Waiting:
    try:
        return client.init_data()
    except (Unexpected, Refused) as error:
        # While it sets itself up it answers errors and empty data.
        return Waiting(error.answer)


def _models_of(found: InitData) -> dict[str, list[str]]:
    return {"llm": list(found.llm), "vector": list(found.vector), "rerank": list(found.rerank)}


def _model_problem(wanted: Mapping[str, Any], found: InitData) -> str:
    """What differs; "" if nothing. The order does not count here."""
    problems = []
    for kind, names in _models_of(found).items():
        missing = set(map(str, wanted.get(kind) or [])) - set(names)
        extra = set(names) - set(map(str, wanted.get(kind) or []))
        problems += [f"no {kind} model {name}" for name in sorted(missing)]
        problems += [f"{kind} model {name} that is not in the catalogue" for name in sorted(extra)]
    return ", ".join(problems)


class FastGptReady(Resource, module="lab", name="FastGptReady"):
    """FastGPT, up with exactly these models and with the database of its vectors.

    Args:
        models: `{"llm": [...], "vector": [...], "rerank": [...]}`, names as in config.json.
        deadline_minutes: for the whole start.
        generation: any text; a change of it makes it be looked at again (a container's id).

    Outputs: `version`.
    """

    version: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        models: pulumi.Input[Mapping[str, Any]],
        deadline_minutes: pulumi.Input[float] = 10,
        generation: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptReadyProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "models": models,
                "deadline_minutes": deadline_minutes,
                "generation": generation,
                "version": None,
            },
            secret_outputs(opts, "password"),
        )


class FastGptDatasetProvider(_FastGptProvider):
    """Upserts one dataset by its exact name."""

    identity = frozenset({"vector_model"})
    # The new one would otherwise find the old one by its name.
    delete_first = True

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        name, model = str(props["name"]), str(props["vector_model"])
        with self.client(props) as client:
            named = [found for found in client.datasets() if found.name == name]
            if not named:
                dataset_id = client.create_dataset(
                    name, vector_model=model, agent_model=str(props["agent_model"])
                )
            else:
                found = client.dataset(_only([item.id for item in named], f"dataset {name}"))
                if found.vector_model != model:
                    raise Conflict(
                        SERVICE,
                        f"adopt dataset {name}",
                        f"one of that name exists with embedding model {found.vector_model}, not "
                        f"{model}; delete or rename it in the web page",
                    )
                dataset_id = found.id
            self._update(client, dataset_id, props)
        return dataset_id, {**props, "dataset_id": dataset_id}

    @override
    def look(self, props: Props) -> Props | None:
        with self.client(props) as client:
            try:
                found = client.dataset(str(props["dataset_id"]))
            except NotFound:
                return None
            known = client.init_data()
            doubles = _other_datasets(client, props)
        intro = as_wanted(props.get("intro"), found.intro)
        shown = {**props, "name": found.name, "intro": intro}
        # A model that config.json has lost is shown as another one: not the dataset's drift.
        if props["vector_model"] in known.vector:
            shown["vector_model"] = found.vector_model
        if props["agent_model"] in known.llm:
            shown["agent_model"] = found.agent_model
        return _with_doubles(shown, doubles)

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        ours = {**news, "dataset_id": olds["dataset_id"]}
        with self.client(news) as client:
            self._update(client, str(olds["dataset_id"]), news)
            for double in _other_datasets(client, ours):
                self._set_aside(client, double.id, {found.name for found in client.datasets()})
        return ours

    @override
    def remove(self, props: Props) -> None:
        with self.client(props) as client:
            client.delete_dataset(str(props["dataset_id"]))

    def _update(self, client: FastGptClient, dataset_id: str, props: Props) -> None:
        client.update_dataset(
            dataset_id,
            name=str(props["name"]),
            agent_model=str(props["agent_model"]),
            intro=str(props.get("intro") or ""),
        )

    def _set_aside(self, client: FastGptClient, dataset_id: str, taken: Set[str]) -> None:
        found = client.dataset(dataset_id)
        client.update_dataset(
            dataset_id,
            name=_other_name(found.name, taken),
            agent_model=found.agent_model,
            intro=found.intro,
        )


def _other_datasets(client: FastGptClient, props: Props) -> list[Dataset]:
    """Of the same name, made by somebody else."""
    ours, name = str(props["dataset_id"]), str(props["name"])
    return [found for found in client.datasets() if found.name == name and found.id != ours]


def _only(ids: Sequence[str], what: str) -> str:
    if len(ids) > 1:
        raise Conflict(
            SERVICE,
            f"adopt {what}",
            f"there are {len(ids)} of that name, and no way to tell which is the lab's; rename or "
            "delete all but one in the web page",
        )
    return ids[0]


class FastGptDataset(Resource, module="lab", name="FastGptDataset"):
    """A knowledge base. Another embedding model makes it another base: the old one leaves first.

    Args:
        name: exact, unique.
        vector_model: embedding model.
        agent_model: chat model that processes files.

    Outputs: `dataset_id`.
    """

    name: pulumi.Output[str]
    vector_model: pulumi.Output[str]
    dataset_id: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        vector_model: pulumi.Input[str],
        agent_model: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        intro: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptDatasetProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "name": name if name is not None else resource_name,
                "vector_model": vector_model,
                "agent_model": agent_model,
                "intro": intro,
                "dataset_id": None,
            },
            secret_outputs(opts, "password"),
        )


class FastGptDocumentProvider(_FastGptProvider):
    """Uploads one document as a collection."""

    identity = frozenset(
        {
            "dataset_id",
            "name",
            "content_hash",
            "training",
            "chunk_size",
            "qa_prompt",
            "selector",
        }
    )
    # Where it lies and how it is handed over; what it says is in `content_hash`.
    ignored = frozenset({"file", "text", "link"})
    delete_first = True

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props) as client:
            collection_id = self._adopted(client, props) or self._uploaded(client, props)
        return collection_id, {**props, "collection_id": collection_id}

    @override
    def look(self, props: Props) -> Props | None:
        with self.client(props) as client:
            try:
                found = client.collection(
                    str(props["collection_id"]), dataset_id=str(props["dataset_id"])
                )
            except NotFound:
                return None
        shown = dict(props)
        if found.name and not props.get("link"):
            shown["name"] = found.name
        if found.training:
            shown["training"] = found.training
        if found.chunk_size:
            shown["chunk_size"] = found.chunk_size
        return shown

    @override
    def remove(self, props: Props) -> None:
        with self.client(props) as client:
            client.delete_collection(
                str(props["collection_id"]), dataset_id=str(props["dataset_id"])
            )

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        given = [kind for kind in ("file", "text", "link") if news.get(kind) is not None]
        if len(given) != 1:
            yield "file", "a document needs exactly one of file, text and link"
        if given == ["file"] and not news.get("content_hash"):
            yield "file", f"there is no file {news['file']}"
        if given == ["text"] and not str(news["text"]).strip():
            yield "text", "it is empty"
        if given == ["text"] and not news.get("name"):
            yield "name", "a text needs a name: it is what visitors see cited"

    def _adopted(self, client: FastGptClient, props: Props) -> str | None:
        """What an interrupted run left, if it is the same; others of its name are removed."""
        dataset_id, adopted = str(props["dataset_id"]), None
        for found in client.collections(dataset_id):
            if not _same_source(found, props):
                continue
            if adopted is None and self._is_same(client, found.id, props):
                adopted = found.id
            else:
                client.delete_collection(found.id, dataset_id=dataset_id)
        return adopted

    def _is_same(self, client: FastGptClient, collection_id: str, props: Props) -> bool:
        found = client.collection(collection_id, dataset_id=str(props["dataset_id"]))
        if found.text_length == 0:
            return False
        what = (found.metadata.get(_MARK), found.training, found.chunk_size)
        return what == (props["content_hash"], props["training"], int(props["chunk_size"]))

    def _uploaded(self, client: FastGptClient, props: Props) -> str:
        made = _upload(client, props)
        problem = _upload_problem(made, props)
        if problem:
            client.delete_collection(made.collection_id, dataset_id=str(props["dataset_id"]))
            raise Refused(SERVICE, f"index {props['name']}", problem)
        return made.collection_id


def _upload_problem(made: Uploaded, props: Props) -> str:
    """What keeps all of a new collection from being found; "" if nothing does."""
    if made.too_long:
        return (
            f"FastGPT left out {made.too_long} of its chunks for their length; lower the "
            f"document's chunkSize (now {props['chunk_size']}), and break up tables and blocks of "
            "code that are one piece"
        )
    if made.inserted:
        return ""
    if props.get("link") is not None:
        return (
            "no text was found there; FastGPT must reach the page from the server, and reads "
            "what the page itself holds, not what scripts add to it"
        )
    return "no text was found in it; a scanned document has to go through text recognition first"


def _same_source(found: Collection, props: Props) -> bool:
    if props.get("link") is not None:
        return found.link == str(props["link"])
    # A web page may happen to have a document's name as its title.
    return not found.link and found.name == str(props["name"])


def _upload(client: FastGptClient, props: Props) -> Uploaded:
    dataset_id, name = str(props["dataset_id"]), str(props["name"])
    metadata = {_MARK: props["content_hash"]}
    if props.get("selector"):
        metadata["webPageSelector"] = props["selector"]
    fields: dict[str, Any] = {
        "parentId": None,
        "trainingType": props["training"],
        "chunkSize": int(props["chunk_size"]),
        "metadata": metadata,
    }
    if props.get("qa_prompt"):
        fields["qaPrompt"] = props["qa_prompt"]
    if props.get("link") is not None:
        return client.add_link(dataset_id, str(props["link"]), fields)
    if props.get("text") is not None:
        text = with_spaced_headings(str(props["text"]))
        return client.add_text(dataset_id, name, text, fields)
    content = _read(str(props["file"]), str(props["content_hash"]))
    return client.upload_file(dataset_id, name, as_sent(name, content), fields)


def _read(file: str, expected_hash: str) -> bytes:
    try:
        content = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise NotFound("documents", f"read {file}", str(error)) from None
    if hashlib.sha256(content).hexdigest() != expected_hash:
        said = "it changed while `pulumi up` ran; run it again"
        raise Conflict("documents", f"read {file}", said)
    return content


class FastGptDocument(Resource, module="lab", name="FastGptDocument"):
    """One document in a dataset: exactly one of `file`, `text`, `link`. Started, not awaited.

    Its identity is its content: an unchanged file is not uploaded again, wherever it lies; a
    changed one replaces its collection.

    Args:
        file: path on the operator's machine; its hash is taken when the program runs.
        name: what is cited; a file's own name where absent, the address for a link.
        training: `chunk` or `qa`.
        chunk_size: characters.
        qa_prompt: for `qa`; FastGPT's own where empty.
        selector: CSS selector of the part of a web page to read.

    Outputs: `collection_id`, `name`.
    """

    name: pulumi.Output[str]
    dataset_id: pulumi.Output[str]
    collection_id: pulumi.Output[str]
    content_hash: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        dataset_id: pulumi.Input[str],
        file: str | None = None,
        text: str | None = None,
        link: str | None = None,
        name: str | None = None,
        training: pulumi.Input[str] = "chunk",
        chunk_size: pulumi.Input[int],
        qa_prompt: pulumi.Input[str] = "",
        selector: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptDocumentProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "dataset_id": dataset_id,
                "file": file,
                "text": text,
                "link": link,
                "name": name or (Path(file).name if file else link),
                "content_hash": content_hash(file=file, text=text, link=link),
                "training": training,
                "chunk_size": chunk_size,
                "qa_prompt": qa_prompt,
                "selector": selector,
                "collection_id": None,
            },
            secret_outputs(opts, "password"),
        )


def content_hash(*, file: str | None, text: str | None, link: str | None) -> str:
    """sha256 of what the document says; "" for a file that is not there (`check` complains)."""
    if file is not None:
        path = Path(file).expanduser()
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return hashlib.sha256((text if text is not None else link or "").encode()).hexdigest()


class FastGptDocumentsReadyProvider(_FastGptProvider):
    """Waits until documents are indexed and found."""

    ignored = frozenset({"deadline_minutes"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props) as client:
            _tidy(client, props)
            indexing = Indexing(self, client, props)
            chunks = indexing.follow()
            indexing.search()
        return "documents", {**props, "chunks": chunks}

    @override
    def look(self, props: Props) -> Props | None:
        with self.client(props) as client:
            found = _rows_of(client, props)
        rows = [(str(d["name"]), found.get(str(d["collection_id"]))) for d in props["documents"]]
        chunks = {name: row.chunks for name, row in rows if row is not None and indexed(row)}
        return _with_doubles({**props, "chunks": chunks}, _other_documents(found, props))

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        there = olds.get("chunks") or {}
        # At preview a new document's name may be all that is known of it.
        missing = [d for d in news.get("documents") or [] if _name_of(d) not in there]
        return super().drifted(olds, news) | (frozenset({"chunks"}) if missing else frozenset())

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        return self.make(news)[1]

    @override
    def remove(self, props: Props) -> None:
        """Nothing: the documents belong to `FastGptDocument`."""


def _rows_of(client: FastGptClient, props: Props) -> dict[str, Collection]:
    """What lies at the top of the documents' bases, by id; nothing of a base that is gone."""
    found: dict[str, Collection] = {}
    for dataset_id in sorted({str(d["dataset_id"]) for d in props["documents"]}):
        try:
            client.dataset(dataset_id)
        except NotFound:
            continue
        found |= {row.id: row for row in client.collections(dataset_id)}
    return found


def _other_documents(found: Mapping[str, Collection], props: Props) -> list[str]:
    """Ids of what is called like one of the documents, and is none of them."""
    ours = {str(d["collection_id"]) for d in props["documents"]}
    names = {str(d["name"]) for d in props["documents"]}
    return [row.id for row in found.values() if row.id not in ours and names & {row.name, row.link}]


def _tidy(client: FastGptClient, props: Props) -> None:
    """Take documents out of folders that people put them into, and others of their names away.

    A document that is there twice would be cited twice.
    """
    found = _rows_of(client, props)
    for document in props["documents"]:
        dataset_id, collection_id = str(document["dataset_id"]), str(document["collection_id"])
        if collection_id in found:
            continue
        with contextlib.suppress(NotFound):
            client.collection(collection_id, dataset_id=dataset_id)
            client.take_out_of_folder(collection_id)
    homes = {str(d["name"]): str(d["dataset_id"]) for d in props["documents"]}
    for double in _other_documents(found, props):
        home = homes.get(found[double].name) or homes[found[double].link]
        client.delete_collection(double, dataset_id=home)


def _name_of(document: object) -> object:
    return document.get("name") if isinstance(document, Mapping) else document


class FastGptDocumentsReady(Resource, module="lab", name="FastGptDocumentsReady"):
    """All documents of the lab, indexed and found by a search test.

    Args:
        documents: what to follow.
        search_mode: `embedding`, `fullTextRecall` or `mixedRecall`.
        deadline_minutes: for all of them together.
        chain: ways to tell which link failed.
        generation: any text; a change of it makes them be looked at again.

    Outputs: `chunks`, name -> number of indexed chunks.
    """

    chunks: pulumi.Output[dict[str, int]]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        documents: pulumi.Input[Sequence[pulumi.Input[IndexedDocument]]],
        search_mode: pulumi.Input[str] = "embedding",
        deadline_minutes: pulumi.Input[float] = 30,
        chain: pulumi.Input[Chain] | None = None,
        generation: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptDocumentsReadyProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "documents": documents,
                "search_mode": search_mode,
                "deadline_minutes": deadline_minutes,
                "chain": None if chain is None else pulumi.Output.secret(chain),
                "generation": generation,
                "chunks": None,
            },
            secret_outputs(opts, "password", "chain"),
        )


class FastGptAppProvider(_FastGptProvider):
    """Upserts and publishes one app by its exact name."""

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        name = str(props["name"])
        with self.client(props) as client:
            named = [found.id for found in client.apps() if found.name == name]
            if named:
                app_id = _only(named, f"app {name}")
            else:
                app_id = client.create_app(name, props["nodes"], props["edges"])
            self._card(client, app_id, props)
            self._publish(client, app_id, props)
        return app_id, {**props, "app_id": app_id}

    @override
    def look(self, props: Props) -> Props | None:
        with self.client(props) as client:
            try:
                found = client.app(str(props["app_id"]))
            except NotFound:
                return None
            doubles = _other_apps(client, props)
        shown = {
            **props,
            "name": found.name,
            "intro": as_wanted(props.get("intro"), found.intro),
            "nodes": as_wanted(props["nodes"], found.nodes),
            "edges": as_wanted(props["edges"], found.edges),
            "chat_config": as_wanted(props["chat_config"], found.chat_config),
        }
        return _with_doubles(shown, doubles)

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        app_id = str(olds["app_id"])
        with self.client(news) as client:
            if changed & {"name", "intro", "avatar"}:
                self._card(client, app_id, news)
            if changed & {"nodes", "edges", "chat_config"}:
                self._publish(client, app_id, news)
            for double in _other_apps(client, {**news, "app_id": app_id}):
                taken = {found.name for found in client.apps()}
                client.update_app(double, name=_other_name(str(news["name"]), taken))
        return {**news, "app_id": app_id}

    @override
    def remove(self, props: Props) -> None:
        with self.client(props) as client:
            client.delete_app(str(props["app_id"]))

    def _card(self, client: FastGptClient, app_id: str, props: Props) -> None:
        card = {key: str(props[key]) for key in ("name", "avatar") if props.get(key)}
        client.update_app(app_id, intro=str(props.get("intro") or ""), **card)

    def _publish(self, client: FastGptClient, app_id: str, props: Props) -> None:
        client.publish_app(
            app_id,
            nodes=props["nodes"],
            edges=props["edges"],
            chat_config=props["chat_config"],
            version_name=f"ai-lab {self.clock.now():%Y-%m-%d %H:%M}",
        )


def _other_apps(client: FastGptClient, props: Props) -> list[str]:
    """Of the same name, made by somebody else."""
    ours, wanted = str(props["app_id"]), str(props["name"])
    return [app.id for app in client.apps() if app.name == wanted and app.id != ours]


def _has_app(client: FastGptClient, app_id: str) -> bool:
    """Whether the app is there, in whatever folder."""
    try:
        client.app(app_id)
    except NotFound:
        return False
    return True


class FastGptApp(Resource, module="lab", name="FastGptApp"):
    """A simple app, published each time its graph changes.

    Args:
        name: exact, unique.
        nodes, edges, chat_config: the graph, as `provisioning.app_graph` builds it.
        intro: what the app's card says.

    Outputs: `app_id`.
    """

    name: pulumi.Output[str]
    app_id: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        nodes: pulumi.Input[Sequence[Any]],
        edges: pulumi.Input[Sequence[Any]],
        chat_config: pulumi.Input[Mapping[str, Any]],
        name: pulumi.Input[str] | None = None,
        intro: pulumi.Input[str] = "",
        avatar: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptAppProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "name": name if name is not None else resource_name,
                "nodes": nodes,
                "edges": edges,
                "chat_config": chat_config,
                "intro": intro,
                "avatar": avatar,
                "app_id": None,
            },
            secret_outputs(opts, "password"),
        )


class FastGptShareLinkProvider(_FastGptProvider):
    """Upserts one share link of an app by its name."""

    identity = frozenset({"app_id"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        app_id, name = str(props["app_id"]), str(props["name"])
        detail = bool(props["response_detail"])
        with self.client(props) as client:
            named = [link for link in client.share_links(app_id) if link.name == name]
            if named:
                link = named[0]
                client.update_share_link(link.id, name, response_detail=detail)
            else:
                link = client.create_share_link(app_id, name, response_detail=detail)
        return link.share_id, _link_outputs(props, link)

    @override
    def look(self, props: Props) -> Props | None:
        app_id = str(props["app_id"])
        with self.client(props) as client:
            links = client.share_links(app_id) if _has_app(client, app_id) else []
        link = next((link for link in links if link.share_id == props["share_id"]), None)
        if link is None:
            return None
        shown = {"name": link.name, "response_detail": link.response_detail}
        return _with_doubles({**_link_outputs(props, link), **shown}, _other_links(links, props))

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        kept = {key: olds[key] for key in ("share_id", "link_id", "path")}
        with self.client(news) as client:
            client.update_share_link(
                str(olds["link_id"]),
                str(news["name"]),
                response_detail=bool(news["response_detail"]),
            )
            self._revoke_others(client, {**news, **kept})
        return {**news, **kept}

    @override
    def remove(self, props: Props) -> None:
        app_id = str(props["app_id"])
        with self.client(props) as client:
            if _has_app(client, app_id):
                client.delete_share_link(str(props["link_id"]), app_id=app_id)
                self._revoke_others(client, props)

    def _revoke_others(self, client: FastGptClient, props: Props) -> None:
        app_id = str(props["app_id"])
        for double in _other_links(client.share_links(app_id), props):
            client.delete_share_link(double.id, app_id=app_id)

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        if len(str(news.get("name") or "")) > 20:
            yield "name", "FastGPT's page takes 20 characters at the most"


def _other_links(links: Sequence[ShareLink], props: Props) -> list[ShareLink]:
    """Of the same name: doors into the app that the settings do not tell of."""
    ours, name = str(props["share_id"]), str(props["name"])
    return [link for link in links if link.name == name and link.share_id != ours]


def _link_outputs(props: Props, link: ShareLink) -> Props:
    path = f"/chat/share?shareId={link.share_id}"
    return {**props, "share_id": link.share_id, "link_id": link.id, "path": path}


class FastGptShareLink(Resource, module="lab", name="FastGptShareLink"):
    """A public chat page of an app.

    Args:
        name: unique in its app, at most 20 characters.
        response_detail: whether visitors see the citations.

    Outputs: `share_id`, `path` (`/chat/share?shareId=...`).
    """

    name: pulumi.Output[str]
    share_id: pulumi.Output[str]
    path: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        app_id: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        response_detail: pulumi.Input[bool] = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptShareLinkProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "app_id": app_id,
                "name": name if name is not None else resource_name,
                "response_detail": response_detail,
                "share_id": None,
                "link_id": None,
                "path": None,
            },
            secret_outputs(opts, "password"),
        )


class FastGptApiKeyProvider(_FastGptProvider):
    """Makes one API key of an app."""

    identity = frozenset({"app_id"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        app_id, name = str(props["app_id"]), str(props["name"])
        with self.client(props) as client:
            for left in client.api_keys(app_id):
                if left.name == name:
                    client.delete_api_key(left.id, app_id=app_id)
            made = client.create_api_key(app_id, name)
        return made.id, {**props, "key": made.key, "key_id": made.id}

    @override
    def look(self, props: Props) -> Props | None:
        app_id = str(props["app_id"])
        with self.client(props) as client:
            keys = client.api_keys(app_id) if _has_app(client, app_id) else []
        key = next((key for key in keys if key.id == props["key_id"]), None)
        if key is None:
            return None
        return _with_doubles({**props, "name": key.name}, _other_keys(keys, props))

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        kept = {key: olds[key] for key in ("key", "key_id")}
        with self.client(news) as client:
            if "name" in changed:
                client.rename_api_key(str(olds["key_id"]), str(news["name"]))
            self._delete_others(client, {**news, **kept})
        return {**news, **kept}

    @override
    def remove(self, props: Props) -> None:
        app_id = str(props["app_id"])
        with self.client(props) as client:
            if _has_app(client, app_id):
                client.delete_api_key(str(props["key_id"]), app_id=app_id)
                self._delete_others(client, props)

    def _delete_others(self, client: FastGptClient, props: Props) -> None:
        app_id = str(props["app_id"])
        for double in _other_keys(client.api_keys(app_id), props):
            client.delete_api_key(double.id, app_id=app_id)


def _other_keys(keys: Sequence[ApiKey], props: Props) -> list[ApiKey]:
    """Of the same name: ways into the app that the settings do not tell of."""
    ours, name = str(props["key_id"]), str(props["name"])
    return [key for key in keys if key.name == name and key.id != ours]


class FastGptApiKey(Resource, module="lab", name="FastGptApiKey"):
    """An API key of an app. FastGPT shows it once, so a leftover is replaced, never adopted.

    Args:
        name: unique in its app.

    Outputs: `key` (secret), `key_id`.
    """

    name: pulumi.Output[str]
    key: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        app_id: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptApiKeyProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "app_id": app_id,
                "name": name if name is not None else resource_name,
                "key": None,
                "key_id": None,
            },
            secret_outputs(opts, "password", "key"),
        )
        # The engine marks it as well; a test with mocks would see it in plain.
        self.key = pulumi.Output.secret(self.key)


class FastGptAnswerProvider(_FastGptProvider):
    """Asks one question as a visitor would."""

    reach = frozenset({"endpoint"})
    ignored = frozenset({"deadline_minutes"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props) as client:
            answer = self._ask(client, props)
        citations = [
            {"document": hit.document, "passage": hit.passage[:PASSAGE_LENGTH]}
            for hit in answer.citations
        ]
        return "answer", {**props, "answer": answer.text, "citations": citations}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        return self.make(news)[1]

    @override
    def remove(self, props: Props) -> None:
        """Nothing: an answer is not a thing."""

    def _ask(self, client: FastGptClient, props: Props) -> Answer:
        cites = props.get("cites")
        tries = 0

        def look() -> Answer | Waiting:
            nonlocal tries
            try:
                answer = client.ask(
                    str(props["share_id"]),
                    str(props["question"]),
                    visitor=VISITOR,
                    chat_id=uuid.uuid4().hex[:24],
                )
            except (Refused, Unexpected) as error:
                return Waiting(error.answer)
            problem = answer_problem(answer, None if cites is None else str(cites))
            if not problem:
                return answer
            tries += 1
            if tries >= MOST_ANSWERS:
                raise Refused(SERVICE, f"answer {props['question']!r}", problem)
            return Waiting(problem)

        return wait_until(
            "an answer through the share link",
            look,
            service=SERVICE,
            deadline=60 * float(props["deadline_minutes"]),
            advice="ask in the share link's page: the error there names the model or channel that "
            "fails",
            every=POLL_SECONDS,
            clock=self.clock,
            progress=say("answer"),
        )


def answer_problem(answer: Answer, cites: str | None) -> str:
    """What is wrong with an answer; "" if nothing. `cites` as in `FastGptAnswer`."""
    if not answer.text.strip():
        return "the answer is empty"
    if cites is None:
        return ""
    if not answer.citations:
        return (
            f"it cites nothing: {answer.text[:200]!r}; lower the app's similarity, or see whether "
            "its base holds the answer"
        )
    cited = sorted({hit.document for hit in answer.citations})
    if cites and not {cites, PurePosixPath(cites).name} & set(cited):
        return f"it cites {', '.join(cited)}, not {cites}"
    return ""


class FastGptAnswer(Resource, module="lab", name="FastGptAnswer"):
    """A real answer through the share link: the health of the whole lab.

    Args:
        share_id: of the link.
        question: what is asked.
        cites: name of the document that must be cited; "" accepts any, None asks for no citation.
        triggers: any values; a change of one asks again (app, documents, models).
        deadline_minutes: how long first failures are put up with.

    Outputs: `answer`, `citations` (`{"document", "passage"}` each).
    """

    answer: pulumi.Output[str]
    citations: pulumi.Output[list[dict[str, Any]]]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        share_id: pulumi.Input[str],
        question: pulumi.Input[str],
        cites: pulumi.Input[str] | None = "",
        triggers: pulumi.Input[Sequence[Any]] | None = None,
        deadline_minutes: pulumi.Input[float] = 5,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            FastGptAnswerProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "share_id": share_id,
                "question": question,
                "cites": cites,
                "triggers": triggers,
                "deadline_minutes": deadline_minutes,
                "answer": None,
                "citations": None,
            },
            opts,
        )

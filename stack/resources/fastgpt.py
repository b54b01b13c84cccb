"""FastGPT's knowledge bases, documents, apps, links and keys, as resources (`facts/fastgpt.md`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import Resource

from stack.resources.base import Endpoint, LabProvider, secret_outputs


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


class FastGptReadyProvider(LabProvider):
    """Waits until FastGPT serves the catalogue's models and root can log in."""


class FastGptReady(Resource, module="lab", name="FastGptReady"):
    """FastGPT, up with exactly these models.

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


class FastGptDatasetProvider(LabProvider):
    """Upserts one dataset by its exact name."""


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


class FastGptDocumentProvider(LabProvider):
    """Uploads one document as a collection."""


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
        chunk_size: pulumi.Input[int] = 512,
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


class FastGptDocumentsReadyProvider(LabProvider):
    """Waits until documents are indexed and found."""


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


class FastGptAppProvider(LabProvider):
    """Upserts and publishes one app by its exact name."""


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


class FastGptShareLinkProvider(LabProvider):
    """Upserts one share link of an app by its name."""


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


class FastGptApiKeyProvider(LabProvider):
    """Makes one API key of an app."""


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


class FastGptAnswerProvider(LabProvider):
    """Asks one question as a visitor would."""


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

"""FastGPT seeded: bases, documents, apps, share links, and the question that proves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from provisioning.app_graph import Dataset, Graph, simple_app
from provisioning.catalogue import Model, of_kind
from provisioning.chunks import chunk_size
from provisioning.documents import Source, sources
from provisioning.knowledge import App, Base
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.settings import Settings
from provisioning.traits import Kind
from stack.endpoints import endpoint
from stack.gateway import Gateway
from stack.models import Models
from stack.part import part
from stack.resources.fastgpt.answer import FastGptAnswer
from stack.resources.fastgpt.api_key import FastGptApiKey
from stack.resources.fastgpt.app import FastGptApp
from stack.resources.fastgpt.dataset import FastGptDataset
from stack.resources.fastgpt.diagnosis import Chain
from stack.resources.fastgpt.document import FastGptDocument
from stack.resources.fastgpt.documents_ready import FastGptDocumentsReady
from stack.resources.fastgpt.ready import FastGptReady
from stack.resources.fastgpt.share_link import FastGptShareLink
from stack.server import Server
from stack.services import Services


@dataclass(frozen=True)
class KnowledgeOutputs:
    """What the knowledge of the lab comes to.

    Attributes:
        ready: FastGPT runs with this catalogue and root can log in.
        share_links: `app/link` to URL.
        api_keys: `app/key` to key, secret.
        answer: what the configured question was answered with; None without a question.
        citations: of that answer: document and passage.
    """

    ready: FastGptReady
    share_links: dict[str, pulumi.Output[str]]
    api_keys: dict[str, pulumi.Output[str]]
    answer: pulumi.Output[str] | None
    citations: pulumi.Output[list[dict[str, Any]]] | None


def seed_knowledge(
    settings: Settings,
    server: Server,
    services: Services,
    models: Models,
    gateway: Gateway,
    lab: pulumi.Resource,
    project: Path,
) -> KnowledgeOutputs:
    """Make the bases, documents, apps and links of the settings, and ask the question."""
    parent = part("Knowledge", lab)
    seed = _Seed(settings, server, services, models, gateway, parent, project)
    bases = {base.name: seed.base(base) for base in settings.knowledge.bases}
    apps = {app.name: seed.app(app, bases) for app in settings.knowledge.apps}
    links = {
        f"{app.name}/{link.name}": seed.link(
            apps[app.name].app, app, link.name, link.show_citations
        )
        for app in settings.knowledge.apps
        for link in app.links
    }
    keys = {
        f"{app.name}/{key}": seed.api_key(apps[app.name].app, app, key)
        for app in settings.knowledge.apps
        for key in app.api_keys
    }
    answered = seed.question(bases, apps, links)
    parent.register_outputs({})
    return KnowledgeOutputs(
        ready=seed.ready,
        share_links={
            name: pulumi.Output.concat(
                "http://", server.address, f":{FASTGPT_PORT}/chat/share?shareId=", link.id
            )
            for name, link in links.items()
        },
        api_keys=keys,
        answer=answered.answer if answered else None,
        citations=answered.citations if answered else None,
    )


@dataclass(frozen=True)
class _Indexed:
    dataset: FastGptDataset
    embedding: str
    ready: pulumi.Resource
    contents: pulumi.Output[list[str]]


@dataclass(frozen=True)
class _Published:
    app: FastGptApp
    graph: pulumi.Output[Graph]


class _Seed:
    """Makes the resources.

    They refer to one another by `id`, never by the output of the same value: in a preview an
    updated thing keeps its id, but its outputs count as unknown, and the preview would announce
    new documents and share links where none will come.
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        services: Services,
        models: Models,
        gateway: Gateway,
        parent: pulumi.Resource,
        project: Path,
    ) -> None:
        self._settings = settings
        self._models = models
        self._gateway = gateway
        self._parent = parent
        self._project = project
        self._chain: Chain = {
            "oneapi": endpoint(server, ONEAPI_PORT),
            "relay_key": services.relay_key,
        }
        if settings.uses_xinference:
            self._chain["xinference"] = endpoint(server, XINFERENCE_PORT)
        self._session: dict[str, Any] = {
            "endpoint": endpoint(server, FASTGPT_PORT),
            "password": services.fastgpt_password,
        }
        names = {kind: [m.name for m in of_kind(settings.models, kind)] for kind in _KINDS}
        self._chat, self._embeddings = names["chat"], names["embedding"]
        self.ready = FastGptReady(
            "fastgpt-ready",
            **self._session,
            models={"llm": self._chat, "vector": self._embeddings, "rerank": names["rerank"]},
            generation=services.fastgpt.generation.apply(str),
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[services.fastgpt]),
        )

    def base(self, base: Base) -> _Indexed:
        """A base with its documents, indexed. Its embedding model routes before anything starts."""
        embedding = base.embedding or self._embeddings[0]
        file_model = base.file_model or self._chat[0]
        dataset = FastGptDataset(
            f"base-{base.name}",
            **self._session,
            name=base.name,
            vector_model=embedding,
            agent_model=file_model,
            opts=self._after([self.ready]),
        )
        made = [self._document(base, dataset, source) for source in sources(base, self._project)]
        if not made:
            return _Indexed(dataset, embedding, dataset, pulumi.Output.from_input([]))
        ready = FastGptDocumentsReady(
            f"base-{base.name}-ready",
            **self._session,
            documents=[
                {
                    "dataset_id": dataset.id,
                    "collection_id": document.id,
                    "name": document.name,
                }
                for document in made
            ],
            chain=self._chain,
            deadline_minutes=self._settings.document_deadline_minutes,
            opts=self._after(made),
        )
        contents = pulumi.Output.all(*[document.content_hash for document in made])
        return _Indexed(dataset, embedding, ready, contents)

    def _document(
        self,
        base: Base,
        dataset: FastGptDataset,
        source: Source,
    ) -> FastGptDocument:
        document = source.document
        embedding = self._model(base.embedding or self._embeddings[0])
        file_model = self._model(base.file_model or self._chat[0])
        needs = [self._gateway.by_model[embedding.name]]
        if document.training == "qa":
            needs.append(self._gateway.by_model[file_model.name])
        return FastGptDocument(
            # By its name, not by where it lies: a file that moved is the same document.
            f"document-{base.name}/{source.name}",
            **self._session,
            dataset_id=dataset.id,
            file=None if source.file is None else str(source.file),
            text=document.text,
            link=document.link,
            name=source.name,
            training=document.training,
            chunk_size=chunk_size(document, embedding, file_model),
            opts=self._after([*needs, dataset]),
        )

    def app(self, app: App, bases: dict[str, _Indexed]) -> _Published:
        """An app, published. It answers once its chat model routes."""
        model = self._model(app.model or self._chat[0])
        used = [bases[name] for name in app.bases]
        graph = pulumi.Output.all(*[base.dataset.id for base in used]).apply(
            lambda ids: simple_app(
                app,
                model,
                [
                    Dataset(str(dataset_id), base.embedding)
                    for dataset_id, base in zip(ids, used, strict=True)
                ],
            )
        )
        made = FastGptApp(
            f"app-{app.name}",
            **self._session,
            name=app.name,
            nodes=graph.apply(lambda g: g.nodes),
            edges=graph.apply(lambda g: g.edges),
            chat_config=graph.apply(lambda g: g.chat_config),
            opts=self._after([self.ready]),
        )
        return _Published(made, graph)

    def link(self, made: FastGptApp, app: App, name: str, citations: bool) -> FastGptShareLink:
        """A share link of an app."""
        return FastGptShareLink(
            f"link-{app.name}/{name}",
            **self._session,
            app_id=made.id,
            name=name,
            response_detail=citations,
            opts=self._after([]),
        )

    def api_key(self, made: FastGptApp, app: App, name: str) -> pulumi.Output[str]:
        """An API key of an app; FastGPT shows it once."""
        made_key = FastGptApiKey(
            f"key-{app.name}/{name}",
            **self._session,
            app_id=made.id,
            name=name,
            opts=self._after([]),
        )
        return pulumi.Output.secret(made_key.key)

    def question(
        self,
        bases: dict[str, _Indexed],
        apps: dict[str, _Published],
        links: dict[str, FastGptShareLink],
    ) -> FastGptAnswer | None:
        """Ask as a visitor would, once everything it takes is there."""
        question = self._settings.knowledge.question
        if question is None:
            return None
        linked = (app for app in self._settings.knowledge.apps if app.links)
        app = next(a for a in linked if question.app in (None, a.name))
        needs: list[pulumi.Resource] = [self._gateway.by_model[app.model or self._chat[0]]]
        needs += [bases[name].ready for name in app.bases]
        if app.rerank:
            needs += self._models.ready("rerank")
        # An app without a base has nothing to cite.
        cites = (question.cites or "") if app.bases else None
        return FastGptAnswer(
            "answer",
            endpoint=self._session["endpoint"],
            share_id=links[f"{app.name}/{app.links[0].name}"].id,
            question=question.ask,
            cites=cites,
            triggers=[
                apps[app.name].graph.apply(lambda g: g.nodes),
                *[bases[name].contents for name in app.bases],
            ],
            opts=self._after([*needs, apps[app.name].app]),
        )

    def _model(self, name: str) -> Model:
        return next(model for model in self._settings.models if model.name == name)

    def _after(self, needs: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self._parent, depends_on=list(needs))


_KINDS: tuple[Kind, ...] = ("chat", "embedding", "rerank")

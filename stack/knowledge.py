"""FastGPT seeded: bases, documents, apps, share links, and the question that proves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from provisioning.app_graph import Dataset, Graph, simple_app
from provisioning.catalogue import Model, of_kind
from provisioning.chunks import chunk_size
from provisioning.documents import Source, sources
from provisioning.knowledge import App, Base, Question, meant
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
        share_links: `app/link` to URL.
        api_keys: `app/key` to key, secret.
        answer: to the configured question; None without one.
    """

    share_links: Mapping[str, pulumi.Output[str]]
    api_keys: Mapping[str, pulumi.Output[str]]
    answer: FastGptAnswer | None


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
    there = endpoint(server, FASTGPT_PORT)
    session = {"endpoint": there, "password": services.fastgpt_password}
    kinds: dict[str, Kind] = {"llm": "chat", "vector": "embedding", "rerank": "rerank"}
    ready = FastGptReady(
        "fastgpt-ready",
        **session,
        models={
            key: [model.name for model in of_kind(settings.models, kind)]
            for key, kind in kinds.items()
        },
        generation=services.fastgpt.generation.apply(str),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[services.fastgpt]),
    )
    seed = _Seed(settings, models, gateway, project, parent, ready, session)
    told = settings.knowledge
    chain = _chain(settings, server, services)
    bases = {base.name: seed.base(base, chain) for base in told.bases}
    apps = {app.name: seed.app(app, [bases[name] for name in app.bases]) for app in told.apps}
    links = {name: link for app in apps.values() for name, link in seed.links(app).items()}
    keys = {name: key for app in apps.values() for name, key in seed.api_keys(app).items()}
    answer = seed.answer(told.question, apps, links) if told.question else None
    parent.register_outputs({})
    page = pulumi.Output.concat("http://", server.address, f":{FASTGPT_PORT}/chat/share?shareId=")
    addresses = {name: pulumi.Output.concat(page, link.id) for name, link in links.items()}
    return KnowledgeOutputs(addresses, keys, answer)


def _chain(settings: Settings, server: Server, services: Services) -> Chain:
    chain: Chain = {"oneapi": endpoint(server, ONEAPI_PORT), "relay_key": services.relay_key}
    if settings.uses_xinference:
        chain["xinference"] = endpoint(server, XINFERENCE_PORT)
    return chain


@dataclass(frozen=True)
class _Indexed:
    dataset: FastGptDataset
    embedding: Model
    contents: Sequence[pulumi.Output[str]]
    ready: pulumi.Resource


@dataclass(frozen=True)
class _Published:
    told: App
    model: Model
    bases: Sequence[_Indexed]
    graph: pulumi.Output[Graph]
    app: FastGptApp


@dataclass(frozen=True)
class _Seed:
    """Makes the resources.

    They refer to one another by `id`, never by the output of the same value: in a preview an
    updated thing keeps its id, but its outputs count as unknown, and the preview would announce
    new documents and share links where none will come.
    """

    settings: Settings
    models: Models
    gateway: Gateway
    project: Path
    parent: pulumi.Resource
    ready: FastGptReady
    session: Mapping[str, Any]

    def base(self, base: Base, chain: Chain) -> _Indexed:
        """A base with its documents, indexed. Its embedding model routes before anything starts."""
        embedding = self._model("embedding", base.embedding)
        file_model = self._model("chat", base.file_model)
        dataset = FastGptDataset(
            f"base-{base.name}",
            **self.session,
            name=base.name,
            vector_model=embedding.name,
            agent_model=file_model.name,
            opts=self._after([self.ready]),
        )
        documents = {
            source.name: self._document(source, base, dataset, embedding, file_model)
            for source in sources(base, self.project)
        }
        contents = [document.content_hash for document in documents.values()]
        if not documents:
            return _Indexed(dataset, embedding, contents, dataset)
        ready = FastGptDocumentsReady(
            f"base-{base.name}-ready",
            **self.session,
            dataset_id=dataset.id,
            documents={name: document.id for name, document in documents.items()},
            chain=chain,
            deadline_minutes=self.settings.document_deadline_minutes,
            opts=self._after(documents.values()),
        )
        return _Indexed(dataset, embedding, contents, ready)

    def _document(
        self,
        source: Source,
        base: Base,
        dataset: FastGptDataset,
        embedding: Model,
        file_model: Model,
    ) -> FastGptDocument:
        document = source.document
        used = [embedding, file_model] if document.training == "qa" else [embedding]
        return FastGptDocument(
            # By its name, not by where it lies: a file that moved is the same document.
            f"document-{base.name}/{source.name}",
            **self.session,
            dataset_id=dataset.id,
            file=source.file,
            text=document.text,
            link=document.link,
            name=source.name,
            training=document.training,
            chunk_size=chunk_size(document, embedding, file_model),
            opts=self._after([*(self.gateway.by_model[model.name] for model in used), dataset]),
        )

    def app(self, app: App, bases: Sequence[_Indexed]) -> _Published:
        """An app, published. It answers once its chat model routes."""
        model = self._model("chat", app.model)
        graph = pulumi.Output.all(*[base.dataset.id for base in bases]).apply(
            lambda ids: simple_app(
                app,
                model,
                [
                    Dataset(str(dataset_id), base.embedding.name)
                    for dataset_id, base in zip(ids, bases, strict=True)
                ],
            )
        )
        made = FastGptApp(
            f"app-{app.name}",
            **self.session,
            name=app.name,
            nodes=graph.apply(lambda g: g.nodes),
            edges=graph.apply(lambda g: g.edges),
            chat_config=graph.apply(lambda g: g.chat_config),
            opts=self._after([self.ready]),
        )
        return _Published(app, model, bases, graph, made)

    def links(self, app: _Published) -> dict[str, FastGptShareLink]:
        """The share links of an app, by `app/link`."""
        return {
            f"{app.told.name}/{link.name}": FastGptShareLink(
                f"link-{app.told.name}/{link.name}",
                **self.session,
                app_id=app.app.id,
                name=link.name,
                response_detail=link.show_citations,
                opts=self._after([]),
            )
            for link in app.told.links
        }

    def api_keys(self, app: _Published) -> dict[str, pulumi.Output[str]]:
        """The API keys of an app, by `app/key`."""
        return {
            f"{app.told.name}/{name}": FastGptApiKey(
                f"key-{app.told.name}/{name}",
                **self.session,
                app_id=app.app.id,
                name=name,
                opts=self._after([]),
            ).key
            for name in app.told.api_keys
        }

    def answer(
        self,
        question: Question,
        apps: Mapping[str, _Published],
        links: Mapping[str, FastGptShareLink],
    ) -> FastGptAnswer:
        """Ask as a visitor would, once everything it takes is there."""
        linked = (app for app in apps.values() if app.told.links)
        app = next(a for a in linked if question.app in (None, a.told.name))
        needs = [self.gateway.by_model[app.model.name], app.app, *[b.ready for b in app.bases]]
        if app.told.rerank:
            needs += self.models.ready("rerank")
        return FastGptAnswer(
            "answer",
            endpoint=self.session["endpoint"],
            share_id=links[f"{app.told.name}/{app.told.links[0].name}"].id,
            question=question.ask,
            # An app without a base has nothing to cite.
            cites=(question.cites or "") if app.bases else None,
            triggers=[
                app.graph.apply(lambda g: g.nodes),
                *[base.contents for base in app.bases],
            ],
            opts=self._after(needs),
        )

    def _model(self, kind: Kind, name: str | None) -> Model:
        return meant(self.settings.models, kind, name)[0]

    def _after(self, needs: Iterable[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self.parent, depends_on=list(needs))

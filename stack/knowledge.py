"""FastGPT seeded: bases, documents, apps, share links, and the question that proves them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi

from provisioning.app_graph import FORMS, Graph, simple_app
from provisioning.catalogue import Model, of_kind
from provisioning.channels import XINFERENCE_KEY
from provisioning.chunks import chunk_size
from provisioning.documents import Source, sources
from provisioning.knowledge import App, Base, Question, meant
from provisioning.plan import Plan
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.settings import Settings
from provisioning.traits import Kind
from stack.gateway import Gateway
from stack.models import Models
from stack.part import part
from stack.resources.fastgpt.answer import FastGptAnswer
from stack.resources.fastgpt.api_key import FastGptApiKey
from stack.resources.fastgpt.app import FastGptApp
from stack.resources.fastgpt.dataset import FastGptDataset
from stack.resources.fastgpt.document import FastGptDocument
from stack.resources.fastgpt.documents_ready import FastGptDocumentsReady
from stack.resources.fastgpt.indexing import Chain
from stack.resources.fastgpt.models import FastGptModels
from stack.resources.fastgpt.ready import FastGptReady
from stack.resources.fastgpt.share_link import FastGptShareLink
from stack.resources.server.containers_ready import ServerContainersReady
from stack.server import Server
from stack.services import Services


@dataclass(frozen=True)
class KnowledgeOutputs:
    """`share_links` by `app/link`, secret `api_keys` by `app/key`, the answer to the question."""

    share_links: Mapping[str, pulumi.Output[str]]
    api_keys: Mapping[str, pulumi.Output[str]]
    answer: FastGptAnswer | None


def seed_knowledge(
    plan: Plan,
    server: Server,
    services: Services,
    models: Models,
    gateway: Gateway,
    lab: pulumi.Resource,
    project: Path,
) -> KnowledgeOutputs:
    """Make the bases, documents, apps and links of the settings, and ask the question."""
    settings, parent = plan.settings, part("Knowledge", lab)
    fastgpt, password = services.healthy["fastgpt"], services.passwords.fastgpt_root
    there = {"endpoint": server.endpoint(FASTGPT_PORT), "edition": plan.edition}
    session = {**there, "password": password}
    ready = _ready(plan, session, fastgpt, parent)
    if plan.fastgpt_models:
        needs = [ready, *gateway.by_model.values(), *models.ready("rerank")]
        opts = pulumi.ResourceOptions(parent=parent, depends_on=needs)
        ready = _models(plan, services, session, opts)
    chain: Chain = {"oneapi": server.endpoint(ONEAPI_PORT), "relay_key": services.relay_key}
    if settings.uses_xinference:
        chain["xinference"] = server.endpoint(XINFERENCE_PORT)
        chain["xinference_key"] = services.passwords.xinference_key
    seed = _Seed(settings, models, gateway, project, parent, ready, session, chain)
    told = settings.knowledge
    for base in told.bases:
        seed.base(base)
    for app in told.apps:
        seed.app(app)
    answer = seed.answer(told.question) if told.question else None
    parent.register_outputs({})
    page = pulumi.Output.concat(server.share_page(), "/chat/share?shareId=")
    addresses = {name: pulumi.Output.concat(page, link.id) for name, link in seed.links.items()}
    return KnowledgeOutputs(addresses, seed.api_keys, answer)


def _ready(
    plan: Plan,
    session: Mapping[str, Any],
    fastgpt: ServerContainersReady,
    parent: pulumi.Resource,
) -> pulumi.Resource:
    """With the models that it reads from a file, and without those that it is told of later."""
    kinds: dict[str, Kind] = {"llm": "chat", "vector": "embedding", "rerank": "rerank"}
    return FastGptReady(
        "fastgpt-ready",
        **session,
        models={
            key: [model.name for model in of_kind(plan.settings.models, kind)]
            for key, kind in kinds.items()
            if not plan.fastgpt_models
        },
        generation=fastgpt.generation.apply(str),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[fastgpt]),
    )


def _models(
    plan: Plan, services: Services, session: Mapping[str, Any], opts: pulumi.ResourceOptions
) -> FastGptModels:
    """Each is tried, but for those that cost something, as the channels are."""
    told, paid = json.dumps(plan.fastgpt_models), plan.settings.check_paid_channels
    return FastGptModels(
        "fastgpt-models",
        **session,
        models=services.passwords.xinference_key.apply(
            lambda key: json.loads(told.replace(XINFERENCE_KEY, key))
        ),
        tried=[model.name for model in plan.settings.models if paid or model.xinference],
        opts=opts,
    )


@dataclass(frozen=True)
class _Indexed:
    dataset: FastGptDataset
    contents: Sequence[pulumi.Output[str]]
    ready: pulumi.Resource


@dataclass(frozen=True)
class _Seed:
    """Makes the resources, and keeps bases and apps by name, links and keys by `app/name`.

    They refer to one another by `id`, never by the output of the same value: in a preview an
    updated thing keeps its id, but its outputs count as unknown, and the preview would announce
    new documents and share links where none will come.
    """

    settings: Settings
    models: Models
    gateway: Gateway
    project: Path
    parent: pulumi.Resource
    ready: pulumi.Resource
    session: Mapping[str, Any]
    chain: Chain
    bases: dict[str, _Indexed] = field(default_factory=dict)
    apps: dict[str, FastGptApp] = field(default_factory=dict)
    links: dict[str, FastGptShareLink] = field(default_factory=dict)
    api_keys: dict[str, pulumi.Output[str]] = field(default_factory=dict)

    def base(self, base: Base) -> None:
        """A base with its documents, indexed. Its embedding model routes before anything starts."""
        dataset = FastGptDataset(
            f"base-{base.name}",
            **self.session,
            name=base.name,
            vector_model=self._model("embedding", base.embedding).name,
            agent_model=self._model("chat", base.file_model).name,
            opts=self._after([self.ready]),
        )
        documents = {
            source.name: self._document(source, base, dataset)
            for source in sources(base, self.project)
        }
        ready: pulumi.Resource = dataset
        if documents:
            reranker = self._reranker(base)
            needs = self.models.ready("rerank") if reranker else []
            ready = FastGptDocumentsReady(
                f"base-{base.name}-ready",
                **self.session,
                dataset_id=dataset.id,
                documents={name: document.id for name, document in documents.items()},
                chain=self.chain,
                deadline_minutes=self.settings.document_deadline_minutes,
                reranker=reranker,
                opts=self._after([*documents.values(), *needs]),
            )
        contents = [document.content_hash for document in documents.values()]
        self.bases[base.name] = _Indexed(dataset, contents, ready)

    def _document(self, source: Source, base: Base, dataset: FastGptDataset) -> FastGptDocument:
        document = source.document
        embedding = self._model("embedding", base.embedding)
        file_model = self._model("chat", base.file_model)
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

    def app(self, app: App) -> None:
        """An app, published, with its links and keys."""
        graph = self._graph(app)
        made = self.apps[app.name] = FastGptApp(
            f"app-{app.name}",
            **self.session,
            name=app.name,
            nodes=graph.nodes,
            edges=graph.edges,
            chat_config=graph.chat_config,
            opts=self._after([self.ready]),
        )
        for link in app.links:
            name = f"{app.name}/{link.name}"
            self.links[name] = FastGptShareLink(
                f"link-{name}",
                **self.session,
                app_id=made.id,
                name=link.name,
                response_detail=link.show_citations,
                opts=self._after([]),
            )
        for key in app.api_keys:
            name = f"{app.name}/{key}"
            self.api_keys[name] = FastGptApiKey(
                f"key-{name}", **self.session, app_id=made.id, name=key, opts=self._after([])
            ).key

    def answer(self, question: Question) -> FastGptAnswer:
        """Ask as a visitor would, once everything it takes is there."""
        linked = (app for app in self.settings.knowledge.apps if app.links)
        app = next(app for app in linked if question.app in (None, app.name))
        bases = [self.bases[name] for name in app.bases]
        channel = self.gateway.by_model[self._model("chat", app.model).name]
        reranker = self.models.ready("rerank") if app.rerank else []
        return FastGptAnswer(
            "answer",
            endpoint=self.session["endpoint"],
            edition=self.session["edition"],
            share_id=self.links[f"{app.name}/{app.links[0].name}"].id,
            question=question.ask,
            reranked=app.rerank and bool(bases),
            # An app without a base has nothing to cite.
            cites=(question.cites or "") if bases else None,
            triggers=[self._graph(app).nodes, *[base.contents for base in bases]],
            opts=self._after(
                [channel, self.apps[app.name], *[base.ready for base in bases], *reranker]
            ),
        )

    def _graph(self, app: App) -> pulumi.Output[Graph]:
        model = self._model("chat", app.model)
        told = (base for base in self.settings.knowledge.bases if base.name in app.bases)
        embedding = self._model("embedding", next((base.embedding for base in told), None)).name
        form = FORMS[self.session["edition"]]
        ids = pulumi.Output.all(*[self.bases[name].dataset.id for name in app.bases])
        return ids.apply(lambda known: simple_app(app, model, known, embedding, form))

    def _reranker(self, base: Base) -> str:
        """FastGPT's first, where an app asks for one for this base; "" otherwise."""
        asked = any(app.rerank and base.name in app.bases for app in self.settings.knowledge.apps)
        return self._model("rerank", None).name if asked else ""

    def _model(self, kind: Kind, name: str | None) -> Model:
        return meant(self.settings.models, kind, name)[0]

    def _after(self, needs: Iterable[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self.parent, depends_on=list(needs))

"""The setting `knowledge` against the catalogue, and against the files that it names."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from provisioning.app_graph import served_limit
from provisioning.catalogue import Model, of_kind
from provisioning.chunks import chunk_size_problems
from provisioning.documents import source_problems, sources
from provisioning.knowledge import App, Knowledge, meant
from provisioning.problems import Problem, repeated, unknown
from provisioning.traits import Kind

_PATH = "knowledge"


def knowledge_problems(
    knowledge: Knowledge, models: Sequence[Model], project: Path
) -> Iterator[Problem]:
    """What keeps the bases from being filled, the apps from answering, the question from proof."""
    yield from repeated(f"{_PATH}.bases", [base.name for base in knowledge.bases])
    yield from repeated(f"{_PATH}.apps", [app.name for app in knowledge.apps])
    for index, base in enumerate(knowledge.bases):
        path = f"{_PATH}.bases[{index}]"
        yield from _served(f"{path}.embedding", "embedding", base.embedding, models)
        yield from _served(f"{path}.fileModel", "chat", base.file_model, models)
        yield from source_problems(base, project, path)
        yield from chunk_size_problems(base, models, path)
    for index, app in enumerate(knowledge.apps):
        yield from _app_problems(f"{_PATH}.apps[{index}]", app, knowledge, models)
    yield from _question_problems(knowledge, project)


def _app_problems(
    path: str, app: App, knowledge: Knowledge, models: Sequence[Model]
) -> Iterator[Problem]:
    yield from repeated(f"{path}.links", [link.name for link in app.links])
    yield from repeated(f"{path}.apiKeys", app.api_keys)
    yield from _served(f"{path}.model", "chat", app.model, models)
    bases = {base.name: base for base in knowledge.bases}
    for name in app.bases:
        if name not in bases:
            yield unknown(f"{path}.bases", "base", name, bases)
    default = next((model.name for model in of_kind(models, "embedding")), "")
    used = {bases[name].embedding or default for name in app.bases if name in bases}
    if len(used) > 1:
        wrong = f"its bases have different embedding models ({', '.join(sorted(used))})"
        yield Problem(f"{path}.bases", wrong, "give the app bases of one embedding model")
    # 4.8.8 lowers a limit beyond what the model takes, and nobody hears of it; 4.16 keeps it, and
    # asks the model for more than it takes.
    for model in meant(models, "chat", app.model)[:1]:
        if (most := served_limit(app, model)) < app.limit:
            wrong = f"its model has no room for {app.limit} tokens of quotes"
            yield Problem(f"{path}.limit", wrong, f"set it to {most} or less", warning=True)
    if app.rerank and not of_kind(models, "rerank"):
        right = "add a model of kind rerank, or leave `rerank` out"
        yield Problem(f"{path}.rerank", "the catalogue has no reranker", right)


def _served(path: str, kind: Kind, name: str | None, models: Sequence[Model]) -> Iterator[Problem]:
    known = [model.name for model in of_kind(models, kind)]
    if not known:
        wrong = f"it needs a model of kind {kind}, and the catalogue has none"
        yield Problem(path, wrong, "add one to `models`")
    elif name is not None and name not in known:
        yield unknown(path, f"{kind} model", name, known)


def _question_problems(knowledge: Knowledge, project: Path) -> Iterator[Problem]:
    question = knowledge.question
    if question is None:
        return
    path = f"{_PATH}.question"
    linked = {app.name: app for app in knowledge.apps if app.links}
    if not linked:
        right = "give an app `links`, or leave `question` out"
        yield Problem(path, "no app has a share link to ask through", right)
        return
    asked = linked.get(next(iter(linked)) if question.app is None else question.app)
    if asked is None:
        yield unknown(f"{path}.app", "app with a share link", str(question.app), linked)
        return
    used = (base for base in knowledge.bases if base.name in asked.bases)
    known = [source for base in used for source in sources(base, project)]
    # A web page is cited by its title, which only the page knows.
    if question.cites is None or any(source.document.link is not None for source in known):
        return
    names = {source.name for source in known}
    if not names:
        wrong = f"{asked.name} has no document to cite"
        yield Problem(f"{path}.cites", wrong, "give it a base, or leave `cites` out")
    elif PurePosixPath(question.cites).name not in names:
        yield unknown(f"{path}.cites", f"document of {asked.name}", question.cites, names)

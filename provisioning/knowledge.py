"""The setting `knowledge`: bases with documents, apps that answer from them, share links.

Documents' paths are relative to the project (the folder of Pulumi.yaml).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from provisioning.catalogue import Model, Shape, of_kind
from provisioning.problems import Wrong
from provisioning.traits import Kind

Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=30)]
"""A name that people read, never blank."""

KeyName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=30,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        title="at most 30 letters, digits, and . _ - in between",
        examples=["notebook"],
    ),
]
"""Name of a token or key; it becomes a part of an output's name."""

Training = Literal["chunk", "qa"]
SMALLEST_CHUNK = 100
_LARGEST_CHUNK: dict[Training, int] = {"chunk": 3000, "qa": 100_000}
# FastGPT refuses an app the next (`docs/facts/measured.md §1`).
_MOST_API_KEYS = 10


class Document(Shape):
    """One source of a base: exactly one of `file`, `folder`, `text` or `link`."""

    file: str | None = None
    folder: str | None = Field(
        default=None, description="Every readable file below it, none hidden."
    )
    text: str | None = Field(default=None, description="The text itself; needs a `name`.")
    link: str | None = Field(default=None, description="A web page; the server fetches it.")
    name: str | None = Field(default=None, description="Only for a text: what visitors see cited.")
    training: Training = Field(
        default="chunk",
        description="`chunk` cuts the text; `qa` lets the file model write questions and answers, "
        "which costs its tokens.",
    )
    chunk_size: int | None = Field(
        default=None,
        description="Characters, 100 to 3000 for chunk, 100 to 100000 for qa, and no more than "
        "the base's models read at once; as much as suits them if absent.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Document":
        given = [k for k in ("file", "folder", "text", "link") if getattr(self, k) is not None]
        if len(given) != 1:
            wrong = f"it has {' and '.join(given)}" if given else "nothing says what it is"
            raise Wrong(wrong, "give it exactly one of file, folder, text, link")
        if self.text is not None and not self.name:
            right = "give it one: visitors see it as the source of a citation"
            raise Wrong("the text has no name", right)
        if self.text is None and self.name is not None:
            raise Wrong("only a text has a name", "leave it out: a file is called by its file name")
        low, high = SMALLEST_CHUNK, _LARGEST_CHUNK[self.training]
        if self.chunk_size is not None and not low <= self.chunk_size <= high:
            wrong = f"chunkSize {self.chunk_size} is out of range for {self.training}"
            raise Wrong(wrong, f"set it to {low} to {high}")
        return self


class Base(Shape):
    """A knowledge base (FastGPT: dataset)."""

    name: Label
    embedding: str | None = Field(default=None, description="The first embedding model if absent.")
    file_model: str | None = Field(
        default=None, description="Chat model that processes files; the first one if absent."
    )
    documents: tuple[Document, ...] = ()


class ShareLink(Shape):
    """A public chat page. Whoever has the link can ask; to revoke it, remove it."""

    name: str = Field(min_length=1, max_length=20)
    show_citations: bool = True


class App(Shape):
    """A simple app: one chat model that answers from knowledge bases."""

    name: Label
    model: str | None = Field(default=None, description="The first chat model if absent.")
    bases: tuple[str, ...] = ()
    similarity: float = Field(default=0.4, ge=0, le=1)
    limit: int = Field(default=1500, ge=100, le=20000, description="Tokens of quoted knowledge.")
    search_mode: Literal["embedding", "fullTextRecall", "mixedRecall"] = "embedding"
    rerank: bool = False
    temperature: float = Field(default=3, ge=0, le=10)
    history: int = Field(default=6, ge=0, le=30)
    prompt: str = ""
    welcome: str = ""
    links: tuple[ShareLink, ...] = ()
    api_keys: tuple[KeyName, ...] = Field(
        default=(), description="Names of keys, ten at the most; each is a secret output."
    )

    @field_validator("api_keys")
    @classmethod
    def _as_many_as_fastgpt_gives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(names) > _MOST_API_KEYS:
            raise Wrong(f"these are {len(names)} keys", f"name {_MOST_API_KEYS} at the most")
        return names


class Question(Shape):
    """What `up` asks in the end, as a visitor would: the lab's health check."""

    ask: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)] = Field(
        title="a question", examples=["How do I stop paying for the lab?"]
    )
    app: str | None = Field(default=None, description="The first app with a share link if absent.")
    cites: str | None = Field(
        default=None, description="Document that must be cited; any if absent."
    )


class Knowledge(Shape):
    """The setting `knowledge` as a whole; empty by default."""

    bases: tuple[Base, ...] = ()
    apps: tuple[App, ...] = ()
    question: Question | None = None


def meant(models: Sequence[Model], kind: Kind, name: str | None) -> tuple[Model, ...]:
    """The models that a setting may mean, of which the first is meant; by default all of a kind."""
    return tuple(model for model in of_kind(models, kind) if name in (None, model.name))

"""The setting `knowledge`: bases with documents, apps that answer from them, share links.

Documents' paths are relative to the project (the folder of Pulumi.yaml).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from provisioning.catalogue import Shape
from provisioning.problems import Wrong

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
SearchMode = Literal["embedding", "fullTextRecall", "mixedRecall"]


class Document(Shape):
    """One source of a base: exactly one of `file`, `folder`, `text` or `link`."""

    file: str | None = None
    folder: str | None = Field(default=None, description="Every readable file below it, none hidden.")
    text: str | None = Field(default=None, description="The text itself; needs a `name`.")
    link: str | None = Field(default=None, description="A web page; the server fetches it.")
    name: str | None = Field(default=None, description="Only for a text: what visitors see cited.")
    training: Training = Field(
        default="chunk",
        description="`chunk` cuts the text; `qa` lets the file model write questions and answers, "
        "which costs its tokens.",
    )
    chunk_size: int | None = Field(
        default=None, description="100 to 3000 for chunk (512), 4000 and more for qa (8000)."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Document:
        given = [k for k in ("file", "folder", "text", "link") if getattr(self, k) is not None]
        if len(given) != 1:
            wrong = f"it has {' and '.join(given)}" if given else "nothing says what it is"
            raise Wrong(wrong, "give it exactly one of file, folder, text, link")
        if self.text is not None and not self.name:
            right = "give it one: visitors see it as the source of a citation"
            raise Wrong("the text has no name", right)
        if self.text is None and self.name is not None:
            raise Wrong("only a text has a name", "leave it out: a file is called by its file name")
        low, high = (100, 3000) if self.training == "chunk" else (4000, 100_000)
        if self.chunk_size is not None and not low <= self.chunk_size <= high:
            wrong = f"chunkSize {self.chunk_size} is out of range for {self.training}"
            raise Wrong(wrong, f"set it to {low} to {high}")
        return self

    @property
    def size(self) -> int:
        """The chunk size in force, in characters (`facts/fastgpt.md §4`)."""
        return self.chunk_size or (512 if self.training == "chunk" else 8000)


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
    search_mode: SearchMode = "embedding"
    rerank: bool = False
    temperature: float = Field(default=3, ge=0, le=10)
    history: int = Field(default=6, ge=0, le=30)
    prompt: str = ""
    welcome: str = ""
    links: tuple[ShareLink, ...] = ()
    api_keys: tuple[KeyName, ...] = Field(
        default=(), description="Names of keys; each is a secret output."
    )


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

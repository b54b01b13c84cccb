"""What FastGPT shows of its things (`docs/facts/fastgpt.md §3 to §8`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AliasPath, BeforeValidator, Field

from provisioning.clients.http import Json, Row


def _model_name(model: Json) -> Json:
    return model.get("model") or "" if isinstance(model, Mapping) else model


ModelName = Annotated[str, BeforeValidator(_model_name)]


class InitData(Row):
    """What the running FastGPT knows: its version and the models of its config.json."""

    version: str = Field(alias="systemVersion", min_length=1)
    llm: tuple[ModelName, ...] = Field(default=(), alias="llmModels")
    vector: tuple[ModelName, ...] = Field(default=(), alias="vectorModels")
    rerank: tuple[ModelName, ...] = Field(default=(), alias="reRankModels")


class NamedRow(Row):
    """What all of its things have."""

    id: str = Field(alias="_id")
    name: str = ""


class Dataset(NamedRow):
    """A knowledge base. Model names come through FastGPT's fallback to its first model."""

    vector_model: ModelName = Field(default="", alias="vectorModel")
    agent_model: ModelName = Field(default="", alias="agentModel")
    intro: str = ""


class Collection(NamedRow):
    """A document in a dataset; its chunks are indexed or `waiting`, for good where one failed."""

    chunks: int = Field(default=0, alias="dataAmount")
    waiting: int = Field(default=0, alias="trainingAmount")
    link: str = Field(default="", alias="rawLink")

    @property
    def indexed(self) -> bool:
        """Whether it has chunks, and none is waited for."""
        return self.chunks > 0 and self.waiting == 0


class CollectionDetail(NamedRow):
    """How a collection was made; `text_length` is the extracted text's, None if not told."""

    training: str = Field(default="", alias="trainingType")
    chunk_size: int = Field(default=0, alias="chunkSize")
    text_length: int | None = Field(default=None, alias="rawTextLength")
    metadata: dict[str, Json] = Field(default_factory=dict)


class Uploaded(Row):
    """A new collection: its chunks to index, none where no text was found.

    Those `too_long` FastGPT left out; a link's are never judged.
    """

    collection_id: str = Field(alias="collectionId")
    inserted: int = Field(validation_alias=AliasPath("results", "insertLen"))
    too_long: Annotated[
        int, BeforeValidator(lambda rows: rows if isinstance(rows, int) else len(rows or ()))
    ] = Field(default=0, validation_alias=AliasPath("results", "overToken"))


class Hit(Row):
    """One passage that a search found: its text `q`, and the answer `a` to it where it is one."""

    collection_id: str = Field(default="", alias="collectionId")
    document: str = Field(default="", alias="sourceName")
    q: str = ""
    a: str = ""

    @property
    def passage(self) -> str:
        """All of its text."""
        return f"{self.q}\n{self.a}".strip()


class App(NamedRow):
    """An app as its editor shows it; from a list, without its graph (nodes and edges)."""

    intro: str = ""
    nodes: list[Json] = Field(default_factory=list, alias="modules")
    edges: list[Json] = Field(default_factory=list)
    chat_config: dict[str, Json] = Field(default_factory=dict, alias="chatConfig")


class ShareLink(NamedRow):
    """A share link. `id` is for managing it, `share_id` for its address."""

    share_id: str = Field(alias="shareId")
    response_detail: bool = Field(default=False, alias="responseDetail")


class ApiKey(NamedRow):
    """An API key. FastGPT tells `key` once, when it is made; lists end in its last four letters."""

    masked: str = Field(default="", alias="apiKey")
    key: str = Field(default="", repr=False)


@dataclass(frozen=True)
class Answer:
    """What a visitor gets: the text, and the passages it stands on (where the link shows them)."""

    text: str
    citations: tuple[Hit, ...]

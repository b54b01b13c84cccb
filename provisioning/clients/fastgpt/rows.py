"""What FastGPT shows of its things, in either edition (`docs/facts/fastgpt.md §3 to §8`,
`docs/facts/fastgpt-current-measured.md §2, §5`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AliasChoices, AliasPath, BeforeValidator, Field

from provisioning.clients.http import Json, Row


def _model_name(model: Json) -> Json:
    return model.get("model") or "" if isinstance(model, Mapping) else model


MARK, TAG = "aiLab", "ai-lab:"
"""How a document bears our mark: a key of its metadata, or what its tag begins with."""

ModelName = Annotated[str, BeforeValidator(_model_name)]


def _by_name(active: Json) -> Json:
    if isinstance(active, Mapping):
        return active
    return {str(each["model"]): str(each["type"]) for each in active}


class InitData(Row):
    """What the running FastGPT knows: its version and its models.

    `active` are those in use, name to type (`llm`, `embedding`, `rerank`, `tts`, `stt`); none where
    it tells no types.
    """

    version: str = Field(alias="systemVersion", min_length=1)
    llm: tuple[ModelName, ...] = Field(default=(), alias="llmModels")
    vector: tuple[ModelName, ...] = Field(default=(), alias="vectorModels")
    rerank: tuple[ModelName, ...] = Field(default=(), alias="reRankModels")
    active: Annotated[Mapping[str, str], BeforeValidator(_by_name)] = Field(
        default_factory=dict, alias="activeModelList"
    )


class NamedRow(Row):
    """What all of its things have; `deleted` is when, where it is only marked so yet."""

    id: str = Field(alias="_id")
    name: str = ""
    deleted: str = Field(default="", alias="deleteTime")


class Dataset(NamedRow):
    """A knowledge base. Model names come through FastGPT's fallback to its first model."""

    vector_model: ModelName = Field(default="", alias="vectorModel")
    agent_model: ModelName = Field(default="", alias="agentModel")
    intro: str = ""


class Collection(NamedRow):
    """A document in a dataset; its chunks are indexed, `waiting` or given up (`errors`).

    4.8.8 tells neither `errors` nor a `status`: there one that fails waits for good.
    """

    chunks: int = Field(default=0, alias="dataAmount")
    waiting: int = Field(default=0, alias="trainingAmount")
    errors: int = Field(default=0, alias="finalErrorAmount")
    status: str = Field(default="", alias="slowestTrainingStatus")
    link: str = Field(default="", alias="rawLink")

    @property
    def indexed(self) -> bool:
        """Whether it has chunks, and none is waited for."""
        return self.chunks > 0 and self.waiting == 0

    @property
    def failed(self) -> bool:
        """Whether FastGPT has given up on a part of it."""
        return self.errors > 0

    @property
    def empty(self) -> bool:
        """Whether FastGPT is done with it and found no text."""
        return (self.status, self.chunks, self.waiting, self.errors) == ("ready", 0, 0, 0)


class CollectionDetail(NamedRow):
    """How a collection was made; `text_length` is the extracted text's, None if not told."""

    training: str = Field(default="", alias="trainingType")
    chunk_size: int = Field(default=0, alias="chunkSize")
    text_length: int | None = Field(default=None, alias="rawTextLength")
    metadata: dict[str, Json] = Field(default_factory=dict)
    tags: tuple[str, ...] = ()
    # It is gone with its dataset, before the job that deletes it has run.
    deleted: Annotated[str, BeforeValidator(lambda when: when or "")] = Field(
        default="", validation_alias=AliasPath("dataset", "deleteTime")
    )

    @property
    def mark(self) -> str:
        """What `Intake.mark` was; "" of what somebody else uploaded."""
        marks = (tag.removeprefix(TAG) for tag in self.tags if tag.startswith(TAG))
        return str(self.metadata.get(MARK) or next(marks, ""))


@dataclass(frozen=True)
class Intake:
    """How a document is taken in.

    Attributes:
        training: `chunk` or `qa`.
        chunk_size: in characters.
        mark: kept with it, and shown again.
    """

    training: str
    chunk_size: int
    mark: str = ""


class Uploaded(Row):
    """A new collection: its chunks to index, none where no text was found, None where that is not
    known yet.

    Those `too_long` FastGPT left out; a link's are never judged.
    """

    collection_id: str = Field(alias="collectionId")
    inserted: int | None = Field(default=None, validation_alias=AliasPath("results", "insertLen"))
    too_long: Annotated[
        int, BeforeValidator(lambda rows: rows if isinstance(rows, int) else len(rows or ()))
    ] = Field(default=0, validation_alias=AliasPath("results", "overToken"))


class Score(Row):
    """How near a passage is; `type` is what judged it: `embedding`, `fullText`, `reRank`, `rrf`."""

    type: str = ""


class Hit(Row):
    """One passage that a search found: its text `q`, and the answer `a` to it where it is one."""

    collection_id: str = Field(default="", alias="collectionId")
    document: str = Field(default="", alias="sourceName")
    q: str = ""
    a: str = ""
    score: tuple[Score, ...] = ()

    @property
    def passage(self) -> str:
        """All of its text."""
        return f"{self.q}\n{self.a}".strip()

    @property
    def reranked(self) -> bool:
        """Whether a reranker has judged it."""
        return any(score.type == "reRank" for score in self.score)


class App(NamedRow):
    """An app as its editor shows it; from a list, without its graph (nodes and edges)."""

    intro: str = ""
    nodes: list[Json] = Field(default_factory=list, alias="modules")
    edges: list[Json] = Field(default_factory=list)
    chat_config: dict[str, Json] = Field(default_factory=dict, alias="chatConfig")


class ShareLink(NamedRow):
    """A share link. `id` is for managing it, `share_id` for its address."""

    share_id: str = Field(alias="shareId")
    response_detail: bool = Field(
        default=False, validation_alias=AliasChoices("showCite", "responseDetail")
    )


class ApiKey(NamedRow):
    """An API key. Lists end in the last four letters of its `key`, which `api_key` shows."""

    masked: str = Field(default="", alias="apiKey")
    key: str = Field(default="", repr=False)


@dataclass(frozen=True)
class Answer:
    """What a visitor gets: the text, and the passages it stands on (where the link shows them)."""

    text: str
    citations: tuple[Hit, ...]

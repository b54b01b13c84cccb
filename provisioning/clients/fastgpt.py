"""Client of FastGPT v4.8.8: root's session, and the visitor's side of a share link.

Every answer but a chat's is `{"code", "statusText", "message", "data"}`; `code` alone counts, the
HTTP status does not, and a missing object is not a 404 (`docs/facts/fastgpt.md §0, §10`). That
something is gone is therefore concluded from FastGPT's own lists.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import httpx

from provisioning.clients.http import (
    ANSWER_SECONDS,
    SYSTEM_CLOCK,
    Clock,
    Json,
    NotFound,
    Refused,
    ServiceClient,
    Unauthorized,
    Unexpected,
    Waiting,
    call_of,
    said_by,
    wait_until,
)

T = TypeVar("T")

PAGE_SIZE = 30
MOST_PAGES = 1000
UPLOAD_SECONDS = 900.0
CHAT_SECONDS = 300.0
LOGIN_SECONDS = 60.0
VECTORS_SECONDS = 25.0
_NOT_REGISTERED = "用户未注册"
_BAD_CREDENTIAL = frozenset({403, 514})
_UNLIMITED = {"QPM": 100, "maxUsagePoints": -1}


@dataclass(frozen=True)
class InitData:
    """What the running FastGPT knows: its version and the models of its config.json."""

    version: str
    llm: tuple[str, ...]
    vector: tuple[str, ...]
    rerank: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A knowledge base. Model names come through FastGPT's fallback to its first model."""

    id: str
    name: str
    vector_model: str
    agent_model: str
    intro: str


@dataclass(frozen=True)
class Collection:
    """A document in a dataset.

    Attributes:
        chunks: indexed so far.
        waiting: chunks still to index; one that failed stays here for good.
        link: address of a web page; "" for others.
    """

    id: str
    name: str
    chunks: int
    waiting: int
    link: str


@dataclass(frozen=True)
class CollectionDetail:
    """How a collection was made; `text_length` is the extracted text's, None if not told."""

    id: str
    name: str
    training: str
    chunk_size: int
    text_length: int | None
    metadata: Mapping[str, Json]


@dataclass(frozen=True)
class Uploaded:
    """A new collection.

    Attributes:
        inserted: chunks to index; none where no text was found.
        too_long: chunks that FastGPT left out for their length; a link's are never judged.
    """

    collection_id: str
    inserted: int
    too_long: int = 0


@dataclass(frozen=True)
class Hit:
    """One passage that a search found."""

    collection_id: str
    document: str
    passage: str


@dataclass(frozen=True)
class App:
    """An app as its editor shows it."""

    id: str
    name: str
    intro: str
    nodes: Sequence[Json]
    edges: Sequence[Json]
    chat_config: Mapping[str, Json]


@dataclass(frozen=True)
class ShareLink:
    """A share link. `id` is for managing it, `share_id` for its address."""

    id: str
    share_id: str
    name: str
    response_detail: bool


@dataclass(frozen=True)
class ApiKey:
    """An API key as lists show it: only its last four characters."""

    id: str
    name: str
    ending: str


@dataclass(frozen=True)
class Answer:
    """What a visitor gets: the text, and the passages it stands on (where the link shows them)."""

    text: str
    citations: tuple[Hit, ...]


class FastGptClient(ServiceClient):
    """FastGPT with root's session, opened by the first call that needs it.

    Args:
        password: root's.
        token: of an earlier session (7 days), kept by the caller in `token`.
    """

    service = "FastGPT"

    def __init__(
        self,
        base_url: str,
        *,
        password: str = "",
        username: str = "root",
        token: str = "",
        transport: httpx.BaseTransport | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        retry_seconds: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(
            base_url,
            transport=transport,
            answer_seconds=answer_seconds,
            retry_seconds=retry_seconds,
            clock=clock,
        )
        self._username = username
        self._password = password
        self.token = token
        self._hide(password, token)

    # -- system ---------------------------------------------------------------------------------

    def init_data(self) -> InitData:
        """What it runs with; this call also starts FastGPT's lazy set-up, so never two at a time.

        Raises:
            Unexpected: the set-up is not done yet.
        """
        data = self._open("GET", "/api/common/system/getInitData")
        if not isinstance(data, dict) or not data.get("systemVersion"):
            raise Unexpected(self.service, "GET /api/common/system/getInitData", "no version yet")
        return InitData(
            version=str(data["systemVersion"]),
            llm=_names(data.get("llmModels")),
            vector=_names(data.get("vectorModels")),
            rerank=_names(data.get("reRankModels")),
        )

    def count_vectors(self) -> int:
        """Vectors stored for root's team: the cheapest call that needs PostgreSQL (and MongoDB).

        With PostgreSQL away FastGPT lives on: `init_data` and `login` answer as ever
        (`docs/facts/measured.md §1 F3`), and this call is refused, or hangs while FastGPT goes on
        dialling.

        Raises:
            Refused: PostgreSQL cannot be reached, or has no table for vectors.
            Unreachable: nothing came within 25 seconds; one connection attempt takes 20.
        """
        path = "/api/support/user/team/plan/getTeamPlanStatus"
        answer = self._call("GET", path, seconds=VECTORS_SECONDS)
        return int(answer["usedDatasetSize"])

    def login(self) -> str:
        """Open a session; returns its token. "Not registered" is waited out: root is made lazily.

        Raises:
            Unauthorized: wrong password.
            DeadlineExceeded: root never came to be.
        """
        body = {
            "username": self._username,
            "password": hashlib.sha256(self._password.encode()).hexdigest(),
        }
        self._hide(body["password"])

        def attempt() -> str | Waiting:
            try:
                data = self._open(
                    "POST",
                    "/api/support/user/account/loginByPassword",
                    json=body,
                    twice_is_harmless=True,
                )
            except Refused as error:
                if _NOT_REGISTERED in error.answer:
                    return Waiting(error.answer)
                raise Unauthorized(
                    self.service,
                    error.call,
                    f"{error.answer}. If root's password was changed in the web page: FastGPT sets "
                    "the lab's again at its start, so `docker restart fastgpt` on the server helps",
                ) from None
            return str(data["token"])

        self.token = wait_until(
            f"user {self._username} to exist",
            attempt,
            service=self.service,
            deadline=LOGIN_SECONDS,
            advice="see the log of the fastgpt container; MongoDB must run as a replica set",
            clock=self.clock,
        )
        self._http.cookies.clear()
        self._hide(self.token)
        return self.token

    # -- datasets -------------------------------------------------------------------------------

    def datasets(self) -> list[Dataset]:
        """All datasets at the top level."""
        rows = self._call("POST", "/api/core/dataset/list", json={"parentId": None}, reads=True)
        return [_dataset(row) for row in rows or []]

    def dataset(self, dataset_id: str) -> Dataset:
        """One dataset.

        Raises:
            NotFound: it is not among FastGPT's datasets.
        """
        return _dataset(
            self._or_not_found(
                "/api/core/dataset/detail",
                {"id": dataset_id},
                lambda: any(found.id == dataset_id for found in self.datasets()),
            )
        )

    def create_dataset(self, name: str, *, vector_model: str, agent_model: str) -> str:
        """Make a dataset; returns its id. Unknown models silently become FastGPT's first ones.

        An intro is not taken here: update it.
        """
        body = {
            "name": name,
            "parentId": None,
            "type": "dataset",
            "vectorModel": vector_model,
            "agentModel": agent_model,
        }
        return str(self._call("POST", "/api/core/dataset/create", json=body))

    def update_dataset(self, dataset_id: str, *, name: str, agent_model: str, intro: str) -> None:
        """Change what can be changed; the embedding model cannot."""
        # An object here, though create takes a string.
        model = {"model": agent_model}
        body = {"id": dataset_id, "name": name, "intro": intro, "agentModel": model}
        self._call("PUT", "/api/core/dataset/update", json=body)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete it with its documents; one that is not there counts as deleted."""
        self._delete(
            "/api/core/dataset/delete",
            dataset_id,
            lambda: any(found.id == dataset_id for found in self.datasets()),
        )

    # -- collections ----------------------------------------------------------------------------

    def collections(self, dataset_id: str) -> list[Collection]:
        """All documents of a dataset; asking also wakes the indexing."""
        found: dict[str, Collection] = {}
        for page in range(1, MOST_PAGES):
            body = {
                "datasetId": dataset_id,
                "pageNum": page,
                "pageSize": PAGE_SIZE,
                "parentId": None,
                "searchText": "",
            }
            answer = self._call("POST", "/api/core/dataset/collection/list", json=body, reads=True)
            rows = answer.get("data") or []
            found.update({str(row["_id"]): _collection(row) for row in rows})
            if not rows or len(found) >= int(answer.get("total") or 0):
                break
        return list(found.values())

    def collection(self, collection_id: str, *, dataset_id: str) -> CollectionDetail:
        """One document.

        Raises:
            NotFound: it is not in its dataset, or that is gone.
        """
        row = self._or_not_found(
            "/api/core/dataset/collection/detail",
            {"id": collection_id},
            lambda: self._has_collection(dataset_id, collection_id),
        )
        length = row.get("rawTextLength")
        return CollectionDetail(
            id=str(row["_id"]),
            name=str(row.get("name") or ""),
            training=str(row.get("trainingType") or ""),
            chunk_size=int(row.get("chunkSize") or 0),
            text_length=None if length is None else int(length),
            metadata=row.get("metadata") or {},
        )

    def upload_file(
        self, dataset_id: str, name: str, content: bytes, fields: Mapping[str, Json]
    ) -> Uploaded:
        """Upload a file; its `name` is what visitors see. `fields`: trainingType, chunkSize, ..."""
        # The server decodes the name; a bare % would never be answered.
        file_name = quote(name, safe="")
        # Here, and not for texts and links, `metadata` is overwritten (`docs/facts/measured.md §1
        # F2`).
        form = {"datasetId": dataset_id, **fields}
        form["collectionMetadata"] = form.pop("metadata", {})
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        answer = self._call(
            "POST",
            "/api/core/dataset/collection/create/localFile",
            data={"data": json.dumps(form, ensure_ascii=False)},
            files={"file": (file_name, content, kind)},
            seconds=UPLOAD_SECONDS,
        )
        return _uploaded(answer)

    def add_text(
        self, dataset_id: str, name: str, text: str, fields: Mapping[str, Json]
    ) -> Uploaded:
        """Add a text under a name."""
        body = {"datasetId": dataset_id, "name": name, "text": text, **fields}
        path = "/api/core/dataset/collection/create/text"
        return _uploaded(self._call("POST", path, json=body, seconds=UPLOAD_SECONDS))

    def add_link(self, dataset_id: str, link: str, fields: Mapping[str, Json]) -> Uploaded:
        """Add a web page; FastGPT fetches it before it answers, and a dead one inserts nothing."""
        body = {"datasetId": dataset_id, "link": link, **fields}
        path = "/api/core/dataset/collection/create/link"
        return _uploaded(self._call("POST", path, json=body, seconds=UPLOAD_SECONDS))

    def delete_collection(self, collection_id: str, *, dataset_id: str) -> None:
        """Delete a document; one that is not there counts as deleted."""
        self._delete(
            "/api/core/dataset/collection/delete",
            collection_id,
            lambda: self._has_collection(dataset_id, collection_id),
        )

    def take_out_of_folder(self, collection_id: str) -> None:
        """Move a document to the top of its base; only there the list of documents shows it."""
        body = {"id": collection_id, "parentId": None}
        self._call("PUT", "/api/core/dataset/collection/update", json=body)

    def first_passage(self, collection_id: str) -> str:
        """The beginning of a document as it was indexed; "" where there is nothing."""
        body = {"collectionId": collection_id, "pageNum": 1, "pageSize": 1, "searchText": ""}
        answer = self._call("POST", "/api/core/dataset/data/list", json=body, reads=True)
        rows = answer.get("data") or []
        return str(rows[0].get("q") or "") if rows else ""

    def training_queue(self, dataset_id: str) -> tuple[int, int]:
        """(rebuilding, training): chunks of a dataset that are not indexed yet."""
        answer = self._call(
            "GET",
            "/api/core/dataset/training/getDatasetTrainingQueue",
            params={"datasetId": dataset_id},
        )
        return int(answer.get("rebuildingCount") or 0), int(answer.get("trainingCount") or 0)

    def search(
        self,
        dataset_id: str,
        text: str,
        *,
        limit: int = 5000,
        similarity: float = 0.0,
        mode: str = "embedding",
        rerank: bool = False,
    ) -> list[Hit]:
        """A search test."""
        body = {
            "datasetId": dataset_id,
            "text": text,
            "limit": limit,
            "similarity": similarity,
            "searchMode": mode,
            "usingReRank": rerank,
            "datasetSearchUsingExtensionQuery": False,
        }
        answer = self._call("POST", "/api/core/dataset/searchTest", json=body, reads=True)
        # The docs show a list, the code answers an object.
        rows = answer.get("list") if isinstance(answer, dict) else answer
        return [_hit(row) for row in rows or []]

    def _has_collection(self, dataset_id: str, collection_id: str) -> bool:
        if not any(found.id == dataset_id for found in self.datasets()):
            return False
        return any(found.id == collection_id for found in self.collections(dataset_id))

    # -- apps -----------------------------------------------------------------------------------

    def apps(self) -> list[tuple[str, str]]:
        """(id, name) of all apps at the top level."""
        rows = self._call("POST", "/api/core/app/list", json={"parentId": None}, reads=True)
        return [(str(row["_id"]), str(row["name"])) for row in rows or []]

    def app(self, app_id: str) -> App:
        """One app.

        Raises:
            NotFound: it is not among FastGPT's apps.
        """
        row = self._or_not_found(
            "/api/core/app/detail",
            {"appId": app_id},
            lambda: any(found == app_id for found, _ in self.apps()),
        )
        return App(
            id=str(row["_id"]),
            name=str(row.get("name") or ""),
            intro=str(row.get("intro") or ""),
            nodes=row.get("modules") or [],
            edges=row.get("edges") or [],
            chat_config=row.get("chatConfig") or {},
        )

    def create_app(self, name: str, nodes: Sequence[Json], edges: Sequence[Json]) -> str:
        """Make a simple app; returns its id. Nothing else is taken here: update and publish it."""
        body = {
            "name": name,
            "type": "simple",
            # Called nodes everywhere else.
            "modules": list(nodes),
            "edges": list(edges),
            "avatar": "/icon/logo.svg",
        }
        return str(self._call("POST", "/api/core/app/create", json=body))

    def update_app(self, app_id: str, *, name: str, intro: str, avatar: str = "") -> None:
        """Change name and card. The graph is `publish_app`'s: visitors get the newest version."""
        body = {"name": name, "intro": intro, **({"avatar": avatar} if avatar else {})}
        self._call("PUT", "/api/core/app/update", params={"appId": app_id}, json=body)

    def rename_app(self, app_id: str, name: str) -> None:
        """Another name, and nothing else."""
        path = "/api/core/app/update"
        self._call("PUT", path, params={"appId": app_id}, json={"name": name})

    def publish_app(
        self,
        app_id: str,
        *,
        nodes: Sequence[Json],
        edges: Sequence[Json],
        chat_config: Mapping[str, Json],
        version_name: str,
    ) -> None:
        """Make this graph the newest version, which is the one that answers."""
        body = {
            "nodes": list(nodes),
            "edges": list(edges),
            "chatConfig": dict(chat_config),
            "type": "simple",
            "isPublish": True,
            "versionName": version_name,
        }
        path = "/api/core/app/version/publish"
        self._call("POST", path, params={"appId": app_id}, json=body, reads=True)

    def delete_app(self, app_id: str) -> None:
        """Delete it with its links and keys; one that is not there counts as deleted."""
        try:
            self.app(app_id)
        except NotFound:
            return
        for key in self.api_keys(app_id):
            self.delete_api_key(key.id, app_id=app_id)
        self._call("DELETE", "/api/core/app/del", params={"appId": app_id})

    # -- share links ----------------------------------------------------------------------------

    def share_links(self, app_id: str) -> list[ShareLink]:
        """All share links of an app."""
        rows = self._call(
            "GET", "/api/support/outLink/list", params={"appId": app_id, "type": "share"}
        )
        return [_share_link(row) for row in rows or []]

    def create_share_link(self, app_id: str, name: str, *, response_detail: bool) -> str:
        """Make a share link; returns its shareId (its `_id` shows in the list only)."""
        body = {
            "appId": app_id,
            "type": "share",
            "name": name,
            "responseDetail": response_detail,
            "limit": _UNLIMITED,
        }
        return str(self._call("POST", "/api/support/outLink/create", json=body))

    def update_share_link(self, link_id: str, name: str, *, response_detail: bool) -> None:
        """Change a share link."""
        body = {
            "_id": link_id,
            "name": name,
            "responseDetail": response_detail,
            "limit": _UNLIMITED,
        }
        self._call("POST", "/api/support/outLink/update", json=body, reads=True)

    def delete_share_link(self, link_id: str, *, app_id: str) -> None:
        """Delete a share link; one that is not there counts as deleted."""
        self._delete(
            "/api/support/outLink/delete",
            link_id,
            lambda: any(link.id == link_id for link in self.share_links(app_id)),
        )

    # -- API keys -------------------------------------------------------------------------------

    def api_keys(self, app_id: str) -> list[ApiKey]:
        """All API keys of an app, masked."""
        rows = self._call("GET", "/api/support/openapi/list", params={"appId": app_id})
        return [
            ApiKey(
                id=str(row["_id"]),
                name=str(row.get("name") or ""),
                ending=str(row.get("apiKey") or "")[-4:],
            )
            for row in rows or []
        ]

    def create_api_key(self, app_id: str, name: str) -> str:
        """Make an API key of an app (ten at the most); returns it, which FastGPT does only once."""
        body = {"appId": app_id, "name": name, "limit": {"maxUsagePoints": -1}}
        key = str(self._call("POST", "/api/support/openapi/create", json=body))
        self._hide(key)
        return key

    def rename_api_key(self, key_id: str, name: str) -> None:
        """Another name; the key stays."""
        body = {"_id": key_id, "name": name, "limit": {"maxUsagePoints": -1}}
        self._call("PUT", "/api/support/openapi/update", json=body)

    def delete_api_key(self, key_id: str, *, app_id: str) -> None:
        """Delete an API key; one that is not there counts as deleted."""
        self._delete(
            "/api/support/openapi/delete",
            key_id,
            lambda: any(key.id == key_id for key in self.api_keys(app_id)),
        )

    # -- chat -----------------------------------------------------------------------------------

    def ask(self, share_id: str, question: str, *, visitor: str, chat_id: str) -> Answer:
        """Ask through a share link, as a visitor does: without any login.

        Raises:
            Refused: with the upstream's text, e.g. OneAPI's "no channel".
        """
        body = {
            "shareId": share_id,
            "outLinkUid": visitor,
            "chatId": chat_id,
            "stream": False,
            "detail": True,
            "variables": {},
            "messages": [{"role": "user", "content": question}],
        }
        response = self._send(
            "POST",
            "/api/v1/chat/completions",
            json=body,
            seconds=CHAT_SECONDS,
            twice_is_harmless=True,
        )
        answer = self._json(response)
        if isinstance(answer, dict) and answer.get("choices"):
            return _answer(answer)
        if isinstance(answer, dict) and "code" in answer:
            raise self._refusal(response, answer)
        said = self._masked(said_by(response))
        raise Unexpected(self.service, call_of(response), said)

    # -- calls ----------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Json = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        seconds: float | None = None,
        reads: bool = False,
    ) -> Json:
        """One call in root's session; a session that has expired is opened again, once."""
        fresh = not self.token
        if fresh:
            self.login()
        while True:
            try:
                return self._open(
                    method,
                    path,
                    params=params,
                    json=json,
                    data=data,
                    files=files,
                    seconds=seconds,
                    headers={"token": self.token},
                    twice_is_harmless=True if reads else None,
                )
            except Unauthorized:
                if fresh:
                    raise
                fresh = True
                self.login()

    def _open(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Json = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
        twice_is_harmless: bool | None = None,
    ) -> Json:
        response = self._send(
            method,
            path,
            params=params,
            json=json,
            data=data,
            files=files,
            seconds=seconds,
            headers=headers,
            twice_is_harmless=twice_is_harmless,
        )
        body = self._json(response)
        if not isinstance(body, dict) or "code" not in body:
            raise Unexpected(self.service, call_of(response), self._masked(said_by(response)))
        if body["code"] == 200:
            return body.get("data")
        raise self._refusal(response, body)

    def _refusal(self, response: httpx.Response, body: Mapping[str, Json]) -> Refused:
        parts = (body.get("code"), body.get("statusText"), body.get("message"))
        said = self._masked(" ".join(str(part) for part in parts if part))
        kind = Unauthorized if body.get("code") in _BAD_CREDENTIAL else Refused
        return kind(self.service, call_of(response), said)

    def _or_not_found(
        self, path: str, params: Mapping[str, str], is_there: Callable[[], bool]
    ) -> dict[str, Json]:
        try:
            return dict(self._call("GET", path, params=params))
        except Refused as error:
            if is_there():
                raise
            raise NotFound(self.service, error.call, error.answer) from None

    def _delete(self, path: str, object_id: str, is_there: Callable[[], bool]) -> None:
        try:
            self._call("DELETE", path, params={"id": object_id})
        except Refused:
            if is_there():
                raise


def _names(models: Json) -> tuple[str, ...]:
    return tuple(str(model["model"]) for model in models or [])


def _model_name(model: Json) -> str:
    return str(model.get("model") or "") if isinstance(model, dict) else str(model or "")


def _dataset(row: Mapping[str, Json]) -> Dataset:
    return Dataset(
        id=str(row["_id"]),
        name=str(row.get("name") or ""),
        vector_model=_model_name(row.get("vectorModel")),
        agent_model=_model_name(row.get("agentModel")),
        intro=str(row.get("intro") or ""),
    )


def _collection(row: Mapping[str, Json]) -> Collection:
    return Collection(
        id=str(row["_id"]),
        name=str(row.get("name") or ""),
        chunks=int(row.get("dataAmount") or 0),
        waiting=int(row.get("trainingAmount") or 0),
        link=str(row.get("rawLink") or ""),
    )


def _uploaded(answer: Mapping[str, Json]) -> Uploaded:
    results = answer["results"]
    return Uploaded(
        collection_id=str(answer["collectionId"]),
        inserted=int(results["insertLen"]),
        too_long=len(results.get("overToken") or []),
    )


def _share_link(row: Mapping[str, Json]) -> ShareLink:
    return ShareLink(
        id=str(row["_id"]),
        share_id=str(row["shareId"]),
        name=str(row.get("name") or ""),
        response_detail=bool(row.get("responseDetail")),
    )


def _hit(row: Mapping[str, Json]) -> Hit:
    passage = "\n".join(str(row.get(part) or "") for part in ("q", "a")).strip()
    return Hit(
        collection_id=str(row.get("collectionId") or ""),
        document=str(row.get("sourceName") or ""),
        passage=passage,
    )


def _answer(body: Mapping[str, Json]) -> Answer:
    quotes = [
        quote for node in body.get("responseData") or [] for quote in node.get("quoteList") or []
    ]
    seen: dict[str, Hit] = {}
    for quoted in quotes:
        seen.setdefault(str(quoted.get("id") or len(seen)), _hit(quoted))
    content = body["choices"][0]["message"].get("content")
    return Answer(text=_text_of(content), citations=tuple(seen.values()))


def _text_of(content: Json) -> str:
    """A string for one part, a list where there are several (`docs/facts/fastgpt.md §7`)."""
    if not isinstance(content, list):
        return str(content or "")
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(
        str(text.get("content") or "") if isinstance(text, dict) else str(text or "")
        for text in texts
    )

"""FastGPT 4.16: models by its API, errors that are told, deletions that take a while.

`docs/facts/fastgpt-current-measured.md §2, §5`.
"""

import math
import re
from collections.abc import Iterable, Mapping

from typing_extensions import Unpack

from provisioning.clients.errors import (
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unreachable,
)
from provisioning.clients.fastgpt.apps import APP, KEY
from provisioning.clients.fastgpt.datasets import COLLECTION, DATASET, PAGE_SIZE
from provisioning.clients.fastgpt.protocol import FastGptClient
from provisioning.clients.fastgpt.rows import TAG, Answer, ApiKey, Hit, InitData, Intake, Uploaded
from provisioning.clients.fastgpt.session import ACCOUNT, INIT_DATA, VECTORS_SECONDS, Listed
from provisioning.clients.http import Json, Request
from provisioning.clients.waiting import Waiting, wait_until

TRAINING = f"{DATASET}/training"
# During its start the port is open, and nothing is answered at all.
START_SECONDS = 10.0
GONE_SECONDS = 120.0
RENEW_SECONDS = 30.0
_GONE = frozenset({501002, 501003, 502000, 505000, 506000})
_TOO_OFTEN = frozenset({503005, 503006})
_WRONG_PASSWORD, _CODE_USED = 503002, "503004"
# What node-postgres says, and nobody else.
_DATABASE = re.compile(
    r":5432|(ENOTFOUND|EAI_AGAIN) pg|[Cc]onnection terminated|terminating connection|modeldata"
    r"|timeout exceeded when trying to connect|database system is|password authentication failed"
)
# Of a document whose questions a model writes: those are short.
_QA_INDEX = 512


class CurrentClient(FastGptClient):
    """FastGPT 4.16."""

    start_advice = (
        "see `docker ps -a` and `docker logs fastgpt` on the server. A start that hangs waits for "
        "PostgreSQL; `[redis_error]`, `[s3_error]` or a MongoDB that is not reached end it after "
        "20 seconds, `fetch failed` means the plugin, `Unauthorized` its token; a plugin that "
        "exits with code 0 misses Redis or S3"
    )
    stuck_advice = (
        "read `docker logs fastgpt` on the server: a model that fails is logged as `Embedding "
        "request failed`, and shown as an error after 13 minutes only"
    )
    embedding_failed = re.compile(
        r"Embedding request failed"
        r"""([\s:]*\{\s*"?model"?:\s*["'](?P<model>[\w.:/-]{1,64})["'])?"""
    )
    login_seconds = 240.0
    # Its ten logins a minute; a FastGPT that does not answer is the caller's to wait for.
    login_pauses = (60.0, 60.0)
    login_waits_for = ()
    login_advice = "see `docker logs fastgpt` on the server, or run `pulumi up` again later"
    shows_keys = True
    _renew_at = -math.inf
    _update_link = "PUT"

    def init_data(self) -> InitData:
        """In root's session: to anybody else it tells neither its version nor its models."""
        try:
            return self._seen_by_root()
        except Unreachable as error:
            if "Timeout" not in error.answer:
                raise
            said = "it listens and does not answer: a start that hangs waits for PostgreSQL"
            raise Unreachable(self.service, error.call, said) from None

    def end_sessions(self) -> None:
        """They live in Redis for a week, whatever becomes of the password; this one is renewed."""
        self._call("GET", f"{ACCOUNT}/loginout")
        self._renew(self.token)

    def vector_problem(self) -> str:
        """By a search in the first base, if there is one: no cheaper call needs PostgreSQL."""
        try:
            for base in self.datasets()[:1]:
                body = {"datasetId": base.id, "text": "?", "limit": 100, "searchMode": "embedding"}
                self._read(f"{DATASET}/searchTest", body, seconds=VECTORS_SECONDS)
        except Unauthorized:
            raise
        except Unreachable:
            # The embedding model may hang as well: nothing is known.
            return ""
        except Refused as error:
            # Not where the embedding model fails, which is none of PostgreSQL's business.
            if _DATABASE.search(error.answer):
                return f"PostgreSQL does not answer it ({error.answer})"
        return ""

    def delete_dataset(self, dataset_id: str) -> None:
        """Until it is really gone: it is only marked first."""
        super().delete_dataset(dataset_id)
        self._until_gone("dataset", f"{DATASET}/detail", {"id": dataset_id})

    def delete_app(self, app_id: str) -> None:
        """Until it is really gone: its links and keys answer that long."""
        super().delete_app(app_id)
        self._until_gone("app", f"{APP}/detail", {"appId": app_id})

    def add_text(self, dataset_id: str, name: str, text: str, intake: Intake) -> Uploaded:
        """Kept as `name.txt`, and given its own name again."""
        fields = self._fields(intake, file=False)
        body = {"datasetId": dataset_id, "name": name, "text": text, **fields}
        made = self._add("text", json=body)
        self.rename_collection(made.collection_id, name)
        return made

    def delete_collection(self, collection_id: str, *, dataset_id: str) -> None:  # noqa: ARG002
        """With a body, or it is refused."""
        self._delete(f"{COLLECTION}/delete", collection_id, tuple, json={})

    def first_passage(self, collection_id: str) -> str:
        body = {"collectionId": collection_id, "offset": 0, "pageSize": 1}
        rows = self._read(f"{DATASET}/data/v2/list", body).get("list")
        return self._row(Hit, rows[0]).q if rows else ""

    def training_errors(self, collection_id: str) -> list[str]:
        body = {"collectionId": collection_id, "offset": 0, "pageSize": PAGE_SIZE}
        rows = self._read(f"{TRAINING}/getTrainingError", body).get("list") or []
        return sorted({str(row.get("errorMsg") or "no reason told") for row in rows})

    def retry_training(self, dataset_id: str) -> None:
        self._call("PUT", f"{TRAINING}/updateTrainingData", json={"datasetId": dataset_id})

    def ask(self, share_id: str, question: str, *, visitor: str, chat_id: str) -> Answer:
        """An empty answer is a failure that was not told."""
        answer = super().ask(share_id, question, visitor=visitor, chat_id=chat_id)
        if not answer.text.strip():
            raise Refused(self.service, "POST /api/v1/chat/completions", "the answer is empty")
        return answer

    def api_keys(self, app_id: str) -> list[ApiKey]:
        """Those of the team whose names say that they are this app's."""
        keys = (row for row in self._team_keys() if row.name.endswith(_ending(app_id)))
        return [_of_app(row, app_id) for row in keys]

    def find_api_key(self, key_id: str, *, app_id: str) -> ApiKey | None:
        return next((_of_app(row, app_id) for row in self._team_keys() if row.id == key_id), None)

    def create_api_key(self, app_id: str, name: str) -> ApiKey:
        """A key of the team's, with the app that it is for behind it."""
        key = str(self._call("POST", f"{KEY}/create", json={"name": name + _ending(app_id)}))
        self._hide(key)
        ours = (name, key[-4:])
        made = (each for each in self.api_keys(app_id) if (each.name, each.masked[-4:]) == ours)
        found = self._made(made, f"{KEY}/create")
        return found.model_copy(update={"key": f"{key}-{app_id}"})

    def api_key(self, key_id: str, *, app_id: str) -> str:
        key = str(self._read(f"{KEY}/copy", {"id": key_id}))
        self._hide(key)
        return f"{key}-{app_id}"

    def rename_api_key(self, key_id: str, name: str, *, app_id: str) -> None:
        self._call("PUT", f"{KEY}/update", json={"_id": key_id, "name": name + _ending(app_id)})

    def _team_keys(self) -> list[ApiKey]:
        return self._rows(ApiKey, self._call("GET", f"{KEY}/list"))

    def _seen_by_root(self) -> InitData:
        for _ in range(2):
            token = self.token
            found = self._call("GET", INIT_DATA, seconds=START_SECONDS)
            if found.get("systemVersion"):
                return self._row(InitData, found | _by_kind(found.get("activeModelList") or []))
            if self.clock.monotonic() < self._renew_at:
                break
            # A session that has ended is no error here, and logins are few.
            self._renew_at = self.clock.monotonic() + RENEW_SECONDS
            self._renew(token)
        said = "root is logged in and is shown no version: its sessions, in Redis, are lost"
        raise Refused(self.service, f"GET {INIT_DATA}", said)

    def _log_in(self, digest: str) -> str | Waiting:
        who = {"username": "root"}
        try:
            code = self._open("GET", f"{ACCOUNT}/preLogin", params=who, seconds=START_SECONDS)
            body = {**who, "password": digest, "code": str(code["code"])}
            data = self._open("POST", f"{ACCOUNT}/loginByPassword", json=body)
        except RateLimited as error:
            return Waiting(
                "root may log in ten times a minute, and somebody has; waiting until the minute "
                f"is over ({error.answer})"
            )
        except Unauthorized as error:
            raise self._wrong_password(error) from None
        except Refused as error:
            if _CODE_USED not in error.answer:
                raise
            return Waiting(f"somebody else was logging in ({error.answer})")
        return str(data["token"])

    def _kind(self, code: Json) -> type[Refused]:
        if code in _GONE:
            return NotFound
        if code == _WRONG_PASSWORD:
            return Unauthorized
        return RateLimited if code in _TOO_OFTEN else super()._kind(code)

    def _gone(self, error: Refused, object_id: str, listed: Listed) -> bool:  # noqa: ARG002
        return isinstance(error, NotFound)

    def _until_gone(self, what: str, path: str, params: Mapping[str, str]) -> None:
        def look() -> bool | Waiting:
            try:
                self._call("GET", path, params=params)
            except NotFound:
                return True
            return Waiting("it is marked as deleted, and still there")

        wait_until(
            f"the {what} to be gone",
            look,
            service=self.service,
            deadline=GONE_SECONDS,
            advice="a job in Redis deletes it; `docker logs fastgpt` on the server tells of it",
            clock=self.clock,
        )

    def _agent_model(self, name: str) -> Json:
        return name

    def _fields(self, intake: Intake, *, file: bool) -> dict[str, Json]:  # noqa: ARG002
        # Of a link, `metadata` is cut; tags stay everywhere.
        size = intake.chunk_size
        return {
            "parentId": None,
            "trainingType": intake.training,
            "chunkSettingMode": "custom",
            "chunkSplitMode": "size",
            "chunkSize": size,
            "indexSize": min(size, _QA_INDEX) if intake.training == "qa" else size,
            "tags": [TAG + intake.mark],
        }

    def _page(self, dataset_id: str, page: int) -> Iterable[Json]:
        body = {"datasetId": dataset_id, "parentId": None}
        number = {"offset": page * PAGE_SIZE, "pageSize": PAGE_SIZE}
        return self._read(f"{COLLECTION}/listV2", body | number).get("list") or ()

    def _add(self, kind: str, **request: Unpack[Request]) -> Uploaded:
        # It is read later, in a queue, so that none is inserted yet.
        return super()._add(kind, **request).model_copy(update={"inserted": None})

    def _link(self, *, response_detail: bool) -> dict[str, Json]:
        return {"showCite": response_detail}

    def _visit(self, share_id: str, visitor: str) -> dict[str, Json]:
        who = {"shareId": share_id, "outLinkUid": visitor}
        # Without retainDatasetCite, which puts marks into the text.
        return {"outLinkAuthData": who}


def _by_kind(active: Iterable[Mapping[str, Json]]) -> dict[str, list[str]]:
    """The models in use, under the names that 4.8.8 has for their lists."""
    kinds = {"llm": "llmModels", "embedding": "vectorModels", "rerank": "reRankModels"}
    found: dict[str, list[str]] = {name: [] for name in kinds.values()}
    for each in active:
        if each["type"] in kinds:
            found[kinds[each["type"]]].append(each["model"])
    return found


def _of_app(row: ApiKey, app_id: str) -> ApiKey:
    return row.model_copy(update={"name": row.name.removesuffix(_ending(app_id))})


def _ending(app_id: str) -> str:
    """Behind a key's name, of 50 characters at the most, so that two apps may name theirs alike."""
    return f".{app_id[-16:]}"

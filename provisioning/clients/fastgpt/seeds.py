"""FastGPT 4.8.8: models in config.json, no word of what fails (`docs/facts/fastgpt.md`).

That something is gone is concluded from FastGPT's own lists: it has no code for that.
"""

import re
from collections.abc import Iterable

from provisioning.clients.errors import Refused, Unauthorized, Unreachable
from provisioning.clients.fastgpt.apps import KEY, UNLIMITED_KEY
from provisioning.clients.fastgpt.datasets import COLLECTION, DATASET, PAGE_SIZE
from provisioning.clients.fastgpt.protocol import FastGptClient
from provisioning.clients.fastgpt.rows import MARK, ApiKey, Hit, InitData, Intake, Uploaded
from provisioning.clients.fastgpt.session import ACCOUNT, INIT_DATA, VECTORS_SECONDS, Listed
from provisioning.clients.http import Json
from provisioning.clients.waiting import Waiting

_NOT_REGISTERED = "用户未注册"


class SeedsClient(FastGptClient):
    """FastGPT 4.8.8."""

    start_advice = (
        "read `docker logs fastgpt` on the server; it reads config.json at its start only, so a "
        "changed one needs a new container, and it answers nothing at all while it cannot reach "
        "MongoDB (`docker ps -a` shows mongo)"
    )
    stuck_advice = (
        "read `docker logs fastgpt` on the server: a model that fails is logged as `Embedding "
        "Error`, and as `[Error]` with what it answered"
    )
    embedding_failed = re.compile("Embedding Error")
    login_advice = "see the log of the fastgpt container; MongoDB must run as a replica set"
    shows_keys = False
    _update_link = "POST"

    def init_data(self) -> InitData:
        """Anonymous. The first call starts FastGPT's lazy set-up, so never two at a time."""
        return self._row(InitData, self._open("GET", INIT_DATA))

    def count_vectors(self) -> int:
        """Vectors stored for root's team: the cheapest call that needs PostgreSQL (and MongoDB).

        With PostgreSQL away, or without its table, this is Refused, or Unreachable where it hangs
        (FastGPT dials for 20 seconds); others answer as ever (`docs/facts/measured.md §1 F3`).
        """
        path = "/api/support/user/team/plan/getTeamPlanStatus"
        return int(self._call("GET", path, seconds=VECTORS_SECONDS)["usedDatasetSize"])

    def vector_problem(self) -> str:
        """By counting them."""
        try:
            self.count_vectors()
        except Unauthorized:
            raise
        except (Refused, Unreachable) as error:
            return f"PostgreSQL does not answer it ({error.answer})"
        return ""

    def add_text(self, dataset_id: str, name: str, text: str, intake: Intake) -> Uploaded:
        fields = self._fields(intake, file=False)
        body = {"datasetId": dataset_id, "name": name, "text": text, **fields}
        return self._add("text", json=body)

    def first_passage(self, collection_id: str) -> str:
        body = {"collectionId": collection_id, "pageNum": 1, "pageSize": 1, "searchText": ""}
        rows = self._read(f"{DATASET}/data/list", body).get("data")
        return self._row(Hit, rows[0]).q if rows else ""

    def training_errors(self, collection_id: str) -> list[str]:  # noqa: ARG002
        """None is ever told: what fails is tried for ever."""
        return []

    def retry_training(self, dataset_id: str) -> None:
        """It does so by itself."""

    def api_keys(self, app_id: str) -> list[ApiKey]:
        return self._of_app(ApiKey, f"{KEY}/list", app_id)

    def find_api_key(self, key_id: str, *, app_id: str) -> ApiKey | None:
        return next((row for row in self.api_keys(app_id) if row.id == key_id), None)

    def create_api_key(self, app_id: str, name: str) -> ApiKey:
        """Ten of an app at the most; FastGPT shows the key only now."""
        body = {"appId": app_id, "name": name, "limit": UNLIMITED_KEY}
        key = str(self._call("POST", f"{KEY}/create", json=body))
        self._hide(key)
        ours = (name, key[-4:])
        made = (each for each in self.api_keys(app_id) if (each.name, each.masked[-4:]) == ours)
        return self._made(made, f"{KEY}/create").model_copy(update={"key": key})

    def api_key(self, key_id: str, *, app_id: str) -> str:  # noqa: ARG002
        return ""

    def rename_api_key(self, key_id: str, name: str, *, app_id: str) -> None:  # noqa: ARG002
        body = {"_id": key_id, "name": name, "limit": UNLIMITED_KEY}
        self._call("PUT", f"{KEY}/update", json=body)

    def _log_in(self, digest: str) -> str | Waiting:
        who = {"username": "root", "password": digest}
        path = f"{ACCOUNT}/loginByPassword"
        try:
            data = self._open("POST", path, json=who, twice_is_harmless=True)
        except Refused as error:
            if _NOT_REGISTERED in error.answer:
                return Waiting(error.answer)
            raise self._wrong_password(error) from None
        return str(data["token"])

    def _gone(self, error: Refused, object_id: str, listed: Listed) -> bool:  # noqa: ARG002
        return all(row.id != object_id for row in listed())

    def _agent_model(self, name: str) -> Json:
        # An object, though create takes a string.
        return {"model": name}

    def _fields(self, intake: Intake, *, file: bool) -> dict[str, Json]:
        # Of a file, and not of texts and links, `metadata` is overwritten (`docs/facts/measured.md
        # §1 F2`).
        kept = "collectionMetadata" if file else "metadata"
        how = {"trainingType": intake.training, "chunkSize": intake.chunk_size}
        return {"parentId": None, **how, kept: {MARK: intake.mark}}

    def _page(self, dataset_id: str, page: int) -> Iterable[Json]:
        body = {"datasetId": dataset_id, "parentId": None, "searchText": ""}
        number = {"pageSize": PAGE_SIZE, "pageNum": page + 1}
        return self._read(f"{COLLECTION}/list", body | number).get("data") or ()

    def _link(self, *, response_detail: bool) -> dict[str, Json]:
        return {"responseDetail": response_detail}

    def _visit(self, share_id: str, visitor: str) -> dict[str, Json]:
        return {"shareId": share_id, "outLinkUid": visitor}

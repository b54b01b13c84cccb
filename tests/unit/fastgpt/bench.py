"""FastGPT's resources on a bench: the double in process, its clock, and the hands of people."""

import copy
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal.doubles.fastgpt.app import build_app
from rehearsal.doubles.fastgpt.boot import Edition, Service
from rehearsal.doubles.fastgpt.config import Environment
from rehearsal.doubles.fastgpt.envelope import CURRENT as OF_CURRENT
from rehearsal.doubles.fastgpt.models import read_models
from stack.resources.declaration import Thing
from stack.resources.fastgpt.api_key import ApiKey
from stack.resources.fastgpt.app import App
from stack.resources.fastgpt.dataset import Dataset
from stack.resources.fastgpt.document import Document, content_hash
from stack.resources.fastgpt.share_link import ShareLink
from tests.clock import FakeClock
from tests.in_process import InProcess
from tests.unit import subject
from tests.unit.subject import Subject

ENDPOINT = {**subject.ENDPOINT, "port": 3000}
PASSWORD = "root-password"
LOGIN = "/api/support/user/account/loginByPassword"
INIT_DATA = "/api/common/system/getInitData"
PLAN = "/api/support/user/team/plan/getTeamPlanStatus"
BOTH = pytest.mark.parametrize("edition", ["seeds", "current"], indirect=True)
"""Whatever FastGPT's edition."""
CURRENT = pytest.mark.parametrize("edition", ["current"], indirect=True)
MODELS: dict[str, Any] = {
    "llmModels": [{"model": "qwen"}, {"model": "glm"}],
    "vectorModels": [{"model": "m3e"}, {"model": "bge"}],
}
NODES: list[dict[str, Any]] = [
    {
        **{"nodeId": "start", "name": "Question", "flowNodeType": "workflowStart"},
        "inputs": [{"key": "q", "label": "", "renderTypeList": ["reference"], "value": None}],
        "outputs": [],
    },
    {
        **{"nodeId": "search", "name": "Search", "flowNodeType": "datasetSearchNode"},
        "inputs": [
            {"key": "limit", "label": "", "renderTypeList": ["hidden"], "value": 3000},
            {"key": "similarity", "label": "", "renderTypeList": ["hidden"], "value": 0.4},
        ],
        "outputs": [],
    },
]
# As the API of the current edition has them.
RECORDS: list[dict[str, Any]] = [
    {
        "model": model["model"],
        "metadata": {
            **{"type": kind, "provider": "Other", "model": model["model"], "name": model["model"]},
            **{"isActive": True, **numbers},
        },
    }
    for kind, name, numbers in (
        ("llm", "llmModels", {"maxContext": 8192, "maxResponse": 2048, "quoteMaxToken": 4096}),
        ("embedding", "vectorModels", {"defaultToken": 512, "maxToken": 512}),
    )
    for model in MODELS[name]
]
EDGES = [{"source": "start", "target": "search", "sourceHandle": "a", "targetHandle": "b"}]


class Bench(InProcess):
    """FastGPT's double, started, whose training queue stands still; `mongo` is what it keeps."""

    def __init__(self, root: Path, edition: Edition = "seeds") -> None:
        config = root / "app/data/config.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps(MODELS))
        environment = {
            "DEFAULT_ROOT_PSW": PASSWORD,
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "MONGODB_URI": "mongodb://localhost",
            "PG_URL": "postgresql://localhost",
            "REHEARSAL_MEMORY": str(root / "memory.db"),
            # A job that deletes has run by the next call.
            "REHEARSAL_RETRY_SECONDS": "0",
            **dict.fromkeys(OF_CURRENT["variables"], "http://localhost:3000/of-32-characters"),
            **{"REDIS_URL": "redis://localhost", "STORAGE_S3_ENDPOINT": "http://localhost"},
        }
        self.edition = edition
        self.service = Service(Environment.read(environment), edition)
        self.service.check_plugin = lambda: None  # type: ignore[method-assign]
        self.service.queue.start = lambda: None  # type: ignore[method-assign]
        self.service.waits_for()
        assert self.service.ready.wait(30)
        super().__init__(build_app(self.service))
        self.mongo = self.service.mongo
        self.clock = FakeClock()
        if edition == "current":
            for record in RECORDS:
                self.mongo.put("system_models", record)
            read_models(self.service)

    def ids(self, table: str) -> list[str]:
        """Of all that is there, oldest first."""
        return [row["_id"] for row in self.mongo.find(table)]

    def row(self, table: str, id_: str) -> dict[str, Any]:
        return next(row for row in self.mongo.find(table) if row["_id"] == id_)

    def edit(self, table: str, id_: str, **fields: Any) -> None:
        self.mongo.put(table, {**self.row(table, id_), **fields})

    def double(self, table: str, id_: str, **fields: Any) -> str:
        row = {**self.row(table, id_), **fields}
        del row["_id"]
        return str(self.mongo.put(table, row)["_id"])

    def parse(self, collection_id: str) -> None:
        """What the queue of the current edition does first: read it, and cut it."""
        for task in self.mongo.find("trainings", collectionId=collection_id, mode="parse"):
            self.service.queue._do(task)

    def index(self, collection_id: str, most: int | None = None) -> None:
        """What the queue does, for so many chunks of a document."""
        self.parse(collection_id)
        for task in self.mongo.find("trainings", collectionId=collection_id)[:most]:
            self.mongo.put("dataset_datas", task)
            self.mongo.delete("trainings", _id=task["_id"])

    def __call__(self, thing: type[Thing], **inputs: Any) -> Subject:
        made = Subject(thing, {**self.there, **inputs}, self)
        made.provider.clock = self.clock
        return made

    @property
    def there(self) -> dict[str, Any]:
        return {"endpoint": ENDPOINT, "password": PASSWORD, "edition": self.edition}

    def dataset(self, **more: Any) -> Subject:
        fields = {"name": "manual", "vector_model": "m3e", "agent_model": "qwen", "intro": ""}
        return self(Dataset, **{**fields, **more})

    def document(self, dataset_id: str, **more: Any) -> Subject:
        said = content_hash(more.get("file"), more.get("text") or more.get("link") or "")
        fields = {"training": "chunk", "chunk_size": 512, "name": "n", "content_hash": said}
        return self(Document, dataset_id=dataset_id, **{**fields, **more})

    def app(self, **more: Any) -> Subject:
        graph = {"nodes": copy.deepcopy(NODES), "edges": copy.deepcopy(EDGES)}
        chat = {"welcomeText": "Hi", "variables": []}
        return self(App, **{"name": "assistant", **graph, "chat_config": chat, "intro": "", **more})

    def link(self, app_id: str) -> Subject:
        return self(ShareLink, app_id=app_id, name="public", response_detail=True)

    def key(self, app_id: str) -> Subject:
        return self(ApiKey, app_id=app_id, name="site")


def failure(message: str) -> httpx.Response:
    envelope = {"code": 500, "statusText": "", "message": message, "data": None}
    return httpx.Response(500, json=envelope)

"""FastGPTs to put the contract to: rehearsed containers beside one upstream."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx

from provisioning.app_graph import FORMS, Graph, simple_app
from provisioning.catalogue import Model
from provisioning.clients.fastgpt import FastGptClient, SeedsClient
from provisioning.clients.fastgpt.rows import Intake
from provisioning.editions import EditionName
from provisioning.fastgpt_config import config_json
from provisioning.knowledge import App
from tests.contract.processes import (
    PROJECT,
    START_SECONDS,
    Program,
    contained,
    new_address,
    resolve,
)
from tests.contract.upstream import WIDE, Upstream
from tests.waiting import until

MANUAL = PROJECT / "documents" / "lab-manual.pdf"
INTAKE = Intake("chunk", 512, "1")
LIBRARY = "# Library\n\nThe library opens at nine.\n\nA lost card costs five euros.\n"
ROOT_PASSWORD = "root-password-1"
LLM, EMBEDDING, RERANKER = "qwen2.5-instruct", "m3e-base", "bge-reranker-v2-m3"
_KINDS = {LLM: "chat", EMBEDDING: "embedding", WIDE: "embedding", RERANKER: "rerank"}
MODELS = [
    Model.model_validate({"name": name, "kind": kind, "xinference": {}})
    for name, kind in _KINDS.items()
]
ENVIRONMENT = {
    "REHEARSAL_RETRY_SECONDS": "0.3",
    "DEFAULT_ROOT_PSW": ROOT_PASSWORD,
    "OPENAI_BASE_URL": "http://oneapi:3000/v1",
    "CHAT_API_KEY": "sk-chat-key-1",
    "TOKEN_KEY": "token-key-1",
    "MONGODB_URI": "mongodb://fastgpt:pw-1@mongo:27017/fastgpt?authSource=admin",
    "PG_URL": "postgresql://fastgpt:pw-1@pg:5432/postgres",
}


CURRENT_ENVIRONMENT = {
    "REDIS_URL": "redis://default:pw-1@redis:6379",
    "STORAGE_S3_ENDPOINT": "http://minio:9000",
    "STORAGE_EXTERNAL_ENDPOINT": "http://127.0.0.1:9100",
    "PLUGIN_BASE_URL": "http://plugin:3000",
    "PLUGIN_TOKEN": "plugin-auth-1-plugin-auth-1-plugin",
    "FILE_TOKEN_KEY": "file-key-1",
    "AES256_SECRET_KEY": "aes-key-1",
    "INVOKE_TOKEN_SECRET": "invoke-1" * 4,
    "FE_DOMAIN": "http://127.0.0.1:3000",
}
"""What the current edition reads besides."""


def config(**more: Any) -> dict[str, Any]:
    """Our own config.json; `more` replaces top-level keys."""
    return {**json.loads(config_json(MODELS)), **more}


class FastGpt:
    """A FastGPT in a rehearsed container, and a raw HTTP client for it."""

    def __init__(
        self, tree: Path, hosts: dict[str, str], content: str, edition: str = "", **env: str
    ) -> None:
        self.tree = tree
        self._module = f"rehearsal.doubles.fastgpt {edition}"
        self.address = new_address()
        self.config = tree / "root/app/data/config.json"
        self.config.parent.mkdir(parents=True)
        if content:
            self.config.write_text(content)
        resolve(tree, hosts)
        self._env = {**ENVIRONMENT, "REHEARSAL_MEMORY": str(tree / "memory.db"), **env}
        self.http = self.anonymous()

    @property
    def log(self) -> str:
        return self.program.log

    def start(self, **env: str) -> None:
        told = {**self._env, **env}
        self.program = contained(self.tree, self._module, self.address, 3000, **told)

    def up(self, **env: str) -> "FastGpt":
        """Started and listening; nothing has been asked yet."""
        self.start(**env)
        self.program.wait_until_listening()
        return self

    def ready(self) -> "FastGpt":
        """Started up by a first request, and logged in for the requests to come."""
        data(self.http.get("/api/common/system/getInitData"))
        self.http.headers["token"] = data(self.try_login())["token"]
        return self

    def try_login(self, password: str = ROOT_PASSWORD) -> httpx.Response:
        body = {"username": "root", "password": sha256(password)}
        return self.http.post("/api/support/user/account/loginByPassword", json=body)

    def anonymous(self) -> httpx.Client:
        url = f"http://{self.address}:3000"
        return httpx.Client(base_url=url, timeout=START_SECONDS, trust_env=False)

    def client(self, password: str = ROOT_PASSWORD, **more: Any) -> SeedsClient:
        return SeedsClient(f"http://{self.address}:3000", password=password, **more)

    def stop(self) -> None:
        self.http.close()
        if hasattr(self, "program"):
            self.program.stop()
        self.http = self.anonymous()

    def get(self, path: str, **params: str) -> httpx.Response:
        return self.http.get(f"/api/core/{path}", params=params)

    def post(self, path: str, **body: Any) -> Any:
        return data(self.http.post(f"/api/core/{path}", json=body))

    def upload(self, name: str, content: bytes, **fields: Any) -> httpx.Response:
        form: Any = {"files": {"file": (name, content)}, "data": {"data": json.dumps(fields)}}
        return self.http.post("/api/core/dataset/collection/create/localFile", **form)

    def dataset(self, vector_model: str = EMBEDDING) -> str:
        body = {"name": "base", "type": "dataset", "parentId": None, "agentModel": LLM}
        return str(self.post("dataset/create", **body, vectorModel=vector_model))

    def text(self, dataset: str, text: str, **fields: Any) -> Any:
        body = {"datasetId": dataset, "text": text, "name": "note.txt", **fields}
        return self.post("dataset/collection/create/text", **body)

    def waiting(self, dataset: str) -> int:
        found = data(self.get("dataset/training/getDatasetTrainingQueue", datasetId=dataset))
        return int(found["trainingCount"])

    def indexed(self, dataset: str) -> None:
        """Wait until the queue of the dataset is empty."""
        until(lambda: not self.waiting(dataset), "the dataset to be indexed")

    def search(self, dataset: str, text: str, **more: Any) -> Any:
        how = {"limit": 1500, "similarity": 0, "searchMode": "embedding", "usingReRank": False}
        return self.post("dataset/searchTest", datasetId=dataset, text=text, **{**how, **more})


def graph_of(edition: EditionName, dataset: str = "", **more: Any) -> Graph:
    """Of an app that answers from a base, or from its prompt alone."""
    settings = App.model_validate({"name": "app", "similarity": 0, **more})
    datasets = [dataset] if dataset else []
    return simple_app(settings, MODELS[0], datasets, EMBEDDING, FORMS[edition])


def publish(client: FastGptClient, app_id: str, graph: Graph, name: str = "one") -> None:
    told: Any = {"chat_config": graph.chat_config, "version_name": name}
    client.publish_app(app_id, nodes=graph.nodes, edges=graph.edges, **told)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def data(answer: httpx.Response) -> Any:
    envelope = answer.json()
    assert (answer.status_code, envelope["code"]) == (200, 200), envelope
    return envelope["data"]


def error(answer: httpx.Response) -> tuple[int, int, str]:
    """HTTP status, code and message of a failure."""
    envelope = answer.json()
    assert set(envelope) == {"code", "statusText", "message", "data"}
    return answer.status_code, envelope["code"], envelope["message"]


class Stage:
    """Upstream servers, and any number of FastGPT containers beside them."""

    def __init__(self, tree: Path, kind: type[Upstream] = Upstream) -> None:
        address = new_address()
        self.upstream = kind(address, (3000, 9997))
        names = ("oneapi", "xinference", "caddy", "mongo", "pg", "redis", "minio")
        self.hosts = dict.fromkeys(names, address)
        self._tree = tree
        self._made: list[FastGpt] = []
        self._plugins: list[Program] = []

    def fastgpt(self, name: str, content: str | None = None, **env: str) -> FastGpt:
        """A container with its config.json ("" for none), not started."""
        told = json.dumps(config()) if content is None else content
        self._made.append(FastGpt(self._tree / name, self.hosts, told, **env))
        return self._made[-1]

    def current(self, name: str, **env: str) -> FastGpt:
        """A container of the current edition, not started; its plugin is `plugin`'s."""
        told = {**CURRENT_ENVIRONMENT, **env}
        self._made.append(FastGpt(self._tree / name, self.hosts, "", "current", **told))
        return self._made[-1]

    def plugin(self, name: str = "plugin", **env: str) -> Program:
        """A plugin in a container, started, by its name for those that are made from now on."""
        tree, address = self._tree / name, new_address()
        resolve(tree, self.hosts)
        usual = {**ENVIRONMENT, **CURRENT_ENVIRONMENT}
        told = {**usual, "AUTH_TOKEN": CURRENT_ENVIRONMENT["PLUGIN_TOKEN"], **env}
        module = "rehearsal.doubles.fastgpt.plugin"
        self._plugins.append(contained(tree, module, address, 3000, **told))
        self.hosts["plugin"] = address
        return self._plugins[-1]

    def stop(self) -> None:
        for fastgpt in self._made:
            fastgpt.stop()
        for plugin in self._plugins:
            plugin.stop()
        self.upstream.stop()

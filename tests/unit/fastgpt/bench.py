"""FastGPT's resources on a bench: each with its provider, inputs and state."""

from __future__ import annotations

import copy
from typing import Any

from stack.resources.declaration import Thing
from stack.resources.fastgpt.api_key import ApiKey
from stack.resources.fastgpt.app import App
from stack.resources.fastgpt.dataset import Dataset
from stack.resources.fastgpt.document import Document, content_hash
from stack.resources.fastgpt.share_link import ShareLink
from tests.unit import subject
from tests.unit.fake_services import FakeClock, FakeFastGpt
from tests.unit.subject import Subject

ENDPOINT = {**subject.ENDPOINT, "port": 3000}
LOGIN = "/api/support/user/account/loginByPassword"
NODES = [
    {"nodeId": "start", "inputs": [{"key": "q", "value": None}], "outputs": []},
    {
        "nodeId": "search",
        "inputs": [{"key": "limit", "value": 3000}, {"key": "similarity", "value": 0.4}],
    },
]
EDGES = [{"source": "start", "target": "search", "sourceHandle": "a", "targetHandle": "b"}]


class Bench:
    """Puts resources before the fake service."""

    def __init__(self, service: FakeFastGpt, clock: FakeClock) -> None:
        self.service = service
        self.clock = clock

    def __call__(self, thing: type[Thing], **inputs: Any) -> Subject:
        reach = {"endpoint": ENDPOINT, "password": self.service.password}
        subject = Subject(thing, {**reach, **inputs}, self.service)
        subject.provider.clock = self.clock
        return subject

    def dataset(self, **more: Any) -> Subject:
        fields = {"name": "manual", "vector_model": "m3e", "agent_model": "qwen", "intro": ""}
        return self(Dataset, **{**fields, **more})

    def document(self, dataset_id: str, **more: Any) -> Subject:
        said = content_hash(more.get("file"), more.get("text") or more.get("link") or "")
        fields = {"training": "chunk", "chunk_size": 512, "name": "n", "content_hash": said}
        return self(Document, dataset_id=dataset_id, **{**fields, **more})

    def app(self, **more: Any) -> Subject:
        fields = {
            "name": "assistant",
            "nodes": copy.deepcopy(NODES),
            "edges": copy.deepcopy(EDGES),
            "chat_config": {"welcomeText": "Hi", "variables": []},
            "intro": "",
        }
        return self(App, **{**fields, **more})

    def link(self, app_id: str) -> Subject:
        return self(ShareLink, app_id=app_id, name="public", response_detail=True)

    def key(self, app_id: str) -> Subject:
        return self(ApiKey, app_id=app_id, name="site")

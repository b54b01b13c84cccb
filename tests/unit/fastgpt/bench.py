"""FastGPT's resources on a bench: each with its provider, inputs and state."""

from __future__ import annotations

import copy
from typing import Any

from pulumi.dynamic import DiffResult

from stack.resources.base import LabProvider
from stack.resources.declaration import Props, Thing
from stack.resources.fastgpt.api_key import ApiKey
from stack.resources.fastgpt.app import App
from stack.resources.fastgpt.dataset import Dataset
from stack.resources.fastgpt.document import Document, content_hash
from stack.resources.fastgpt.share_link import ShareLink
from tests.unit.fake_services import FakeClock, FakeFastGpt

ENDPOINT = {"host": "1.2.3.4", "ssh_port": 22, "user": "root", "host_key": "k", "port": 3000}
LOGIN = "/api/support/user/account/loginByPassword"
NODES = [
    {"nodeId": "start", "inputs": [{"key": "q", "value": None}], "outputs": []},
    {
        "nodeId": "search",
        "inputs": [{"key": "limit", "value": 3000}, {"key": "similarity", "value": 0.4}],
    },
]
EDGES = [{"source": "start", "target": "search", "sourceHandle": "a", "targetHandle": "b"}]


class Subject:
    """One resource through its life."""

    def __init__(self, provider: LabProvider, wanted: Props) -> None:
        self.provider = provider
        self.wanted = wanted
        self.state: Props = {}

    def create(self) -> Props:
        """Create it, as `pulumi up` does that knows nothing of it."""
        made = self.provider.create(self.wanted).outs
        assert made is not None
        self.state = made
        return made

    def seen(self) -> Props:
        result = self.provider.read("id", self.state)
        assert result.id is not None
        assert result.outs is not None
        return result.outs

    def gone(self) -> bool:
        return self.provider.read("id", self.state).id is None

    def drifts(self) -> bool:
        """Whether a refresh and a preview show a change."""
        return bool(self.provider.diff("id", self.seen(), self.wanted).changes)

    def diff(self, **other: Any) -> DiffResult:
        return self.provider.diff("id", self.state, {**self.wanted, **other})

    def update(self, **other: Any) -> Props:
        self.wanted = {**self.wanted, **other}
        new = self.provider.update("id", self.state, self.wanted).outs
        assert new is not None
        self.state = new
        return new

    def heal(self) -> Props:
        """Refresh and update a thing that drifted; afterwards nothing is left to do."""
        assert self.drifts()
        self.state = self.seen()
        new = self.update()
        assert not self.drifts()
        return new

    def delete(self) -> None:
        self.provider.delete("id", self.state)


class Bench:
    """Puts resources before the fake service."""

    def __init__(self, service: FakeFastGpt, clock: FakeClock) -> None:
        self.service = service
        self.clock = clock

    def __call__(self, thing: type[Thing], **inputs: Any) -> Subject:
        provider = LabProvider(thing)
        provider.transport = self.service.transport
        provider.clock = self.clock
        reach = {"endpoint": ENDPOINT, "password": self.service.password}
        return Subject(provider, {**reach, **inputs})

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

"""One resource through its life, as the engine drives it."""

from typing import Any

from pulumi.dynamic import DiffResult

from stack.resources.base import LabProvider
from stack.resources.declaration import Props, Thing
from tests.clock import FakeClock

ENDPOINT = {"host": "1.2.3.4", "ssh_port": 22, "user": "root", "host_key": "k", "port": 9997}
PAYLOAD: dict[str, Any] = {
    "model_uid": "qwen",
    "model_name": "qwen2.5-instruct",
    "model_type": "LLM",
    "model_engine": "vllm",
    "model_size_in_billions": 14,
    "quantization": "Int4",
    "gpu_memory_utilization": 0.7,
}
"""How a model is launched."""


class Subject:
    """A resource with its provider, its service, the inputs that are wanted, and its state."""

    def __init__(self, thing: type[Thing], wanted: Props, service: Any = None) -> None:
        self.clock = FakeClock()
        self.service = service
        self.provider = LabProvider(thing)
        self.provider.clock = self.clock
        self.provider.transport = getattr(service, "transport", service)
        self.wanted = wanted
        self.state: Props = {}

    def create(self, **other: Any) -> Props:
        """Create it, as `pulumi up` does that knows nothing of it."""
        self.wanted = {**self.wanted, **other}
        made = self.provider.create(self.wanted)
        assert made.outs is not None
        self.id, self.state = made.id, made.outs
        return self.state

    def seen(self) -> Props:
        """What a refresh would write down."""
        result = self.provider.read("id", self.state)
        assert result.id is not None
        assert result.outs is not None
        return result.outs

    def gone(self) -> bool:
        """Whether a refresh finds it gone."""
        return self.provider.read("id", self.state).id is None

    def drifts(self) -> bool:
        """Whether a refresh and a preview show a change."""
        return bool(self.provider.diff("id", self.seen(), self.wanted).changes)

    def diff(self, **other: Any) -> DiffResult:
        """What other inputs would change."""
        return self.provider.diff("id", self.state, {**self.wanted, **other})

    def changes(self, **other: Any) -> bool:
        """Whether `pulumi up` would do anything about other inputs."""
        return bool(self.diff(**other).changes)

    def update(self, **other: Any) -> Props:
        """Bring it to other inputs."""
        self.wanted = {**self.wanted, **other}
        new = self.provider.update("id", self.state, self.wanted).outs
        assert new is not None
        self.state = new
        return new

    def heal(self) -> Props:
        """Refresh and update what drifted, without replacing it; nothing is left to do then."""
        assert self.drifts()
        self.state = self.seen()
        assert not self.diff().replaces
        new = self.update()
        assert not self.drifts()
        return new

    def delete(self) -> None:
        """Delete it."""
        self.provider.delete("id", self.state)

    def complaints(self, **other: Any) -> list[str]:
        """The inputs that `check` refuses."""
        failures = self.provider.check(self.state, {**self.wanted, **other}).failures
        return [failure.property for failure in failures]

"""The gRPC side of attached providers, spoken to as the engine speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import any_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from rehearsal.providers.base import Failure, InitFailed, Kind, ProviderError, unknown_token
from rehearsal.providers.serving import Call, Served, serve
from rehearsal.providers.values import UNKNOWN, Properties, Secret, from_struct, to_struct

URN = "urn:pulumi:dev::lab::lab:stack:Thing$toy:index/thing:Thing::one"


class Thing(Kind):
    """A resource whose behaviour is asked for in its inputs."""

    computed = frozenset({"address"})
    force_new = frozenset({"size"})

    def __init__(self, region: str) -> None:
        self.region = region

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        return {**new, "checked": True}, [("size", "too big")] if new.get("size") == 99 else []

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        if inputs.get("fails") == "refused":
            raise ProviderError("the cloud said no")
        if inputs.get("fails") == "half":
            raise InitFailed("never healthy", "thing-1", inputs, {**inputs, "address": "x"})
        if inputs.get("fails") == "bug":
            raise KeyError("oops")
        return "thing-1", {**inputs, "address": self.region, "password": Secret("hunter2")}

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        return (None, {}, {}) if inputs.get("gone") else (id, inputs, outputs)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Nothing to delete."""


class Toy:
    """A package with one kind."""

    name = "toy"
    version = "1.2.3"

    def configure(self, config: Properties) -> ToyProvider:
        return ToyProvider(config)


class ToyProvider:
    def __init__(self, config: Properties) -> None:
        self.config = config

    def kind(self, token: str) -> Kind:
        if token != "toy:index/thing:Thing":
            raise unknown_token(token)
        return Thing(self.config.get("region", ""))

    def invoke(self, token: str, args: Properties) -> Properties:
        return {"config": self.config, **args}

    def cancel(self) -> None:
        """Nothing waits."""


Stub = provider_pb2_grpc.ResourceProviderStub


class Engine:
    """One connection, as the engine makes one per provider resource."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.stub: Any = Stub(self._channel)

    def configure(self, **config: Any) -> Engine:
        self.stub.Configure(provider_pb2.ConfigureRequest(args=to_struct(config)))
        return self

    def create(self, preview: bool = False, **inputs: Any) -> Any:
        return self.stub.Create(
            provider_pb2.CreateRequest(urn=URN, properties=to_struct(inputs), preview=preview)
        )

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def calls() -> list[Call]:
    return []


@pytest.fixture
def served(calls: list[Call]) -> Iterator[Served]:
    running = serve(Toy(), calls.append)
    yield running
    running.stop()


@pytest.fixture
def engine(served: Served) -> Iterator[Engine]:
    made = Engine(served.port).configure(region="here")
    yield made
    made.close()


def test_a_preview_does_not_know_what_only_a_create_can_tell(engine: Engine) -> None:
    made = engine.create(preview=True, size=3, other=UNKNOWN)
    assert made.id == ""
    assert from_struct(made.properties) == {"size": 3, "other": UNKNOWN, "address": UNKNOWN}


def test_a_create_tells_and_keeps_its_secret(engine: Engine) -> None:
    made = engine.create(size=3)
    found = from_struct(made.properties)
    assert (made.id, found["address"], found["password"]) == ("thing-1", "here", Secret("hunter2"))


def test_each_connection_has_its_own_settings(served: Served, engine: Engine) -> None:
    other = Engine(served.port).configure(region="there")
    assert from_struct(other.create().properties)["address"] == "there"
    assert from_struct(engine.create().properties)["address"] == "here"
    other.close()


def test_nested_settings_arrive_decoded(served: Served) -> None:
    engine = Engine(served.port).configure(sshOpts='["-i","key"]', host="ssh://[::1]", odd="[x")
    answer = engine.stub.Invoke(provider_pb2.InvokeRequest(tok="t", args=to_struct({"a": 1})))
    found = from_struct(getattr(answer, "return"))
    assert found["config"] == {"sshOpts": ["-i", "key"], "host": "ssh://[::1]", "odd": "[x"}
    assert found["a"] == 1
    engine.close()


def test_an_error_carries_the_providers_words(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        engine.create(fails="refused")
    assert failed.value.details() == "the cloud said no"
    with pytest.raises(grpc.RpcError, match="the rehearsal itself failed"):
        engine.create(fails="bug")


def test_a_half_made_resource_goes_into_the_state(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        engine.create(fails="half")
    trailing = dict(failed.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    packed: any_pb2.Any = status.details[0]
    assert packed.Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("thing-1", ["never healthy"])
    assert from_struct(detail.properties)["address"] == "x"


def test_check_names_property_and_reason(engine: Engine) -> None:
    request = provider_pb2.CheckRequest(urn=URN, news=to_struct({"size": 99}))
    answer = engine.stub.Check(request)
    assert [(f.property, f.reason) for f in answer.failures] == [("size", "too big")]
    assert from_struct(answer.inputs)["checked"] is True


def _diff(engine: Engine, old: Properties, new: Properties, *ignore: str) -> Any:
    return engine.stub.Diff(
        provider_pb2.DiffRequest(
            urn=URN,
            id="thing-1",
            olds=to_struct(old),
            old_inputs=to_struct(old),
            news=to_struct(new),
            ignoreChanges=ignore,
        )
    )


def test_a_diff_sorts_changes(engine: Engine) -> None:
    kinds = provider_pb2.DiffResponse
    old: Properties = {"size": 1, "tags": {"a": "b"}, "__defaults": []}
    assert _diff(engine, old, {"size": 1, "tags": {"a": "b"}}).changes == kinds.DIFF_NONE
    tagged = _diff(engine, old, {"size": 1, "tags": {"a": "c"}})
    assert (list(tagged.diffs), list(tagged.replaces)) == (["tags"], [])
    assert list(_diff(engine, old, {**old, "size": 2}).replaces) == ["size"]
    assert list(_diff(engine, old, {**old, "size": UNKNOWN}).replaces) == ["size"]
    assert _diff(engine, old, {**old, "size": 2}, "size").changes == kinds.DIFF_NONE


def test_gone_is_an_empty_answer(engine: Engine) -> None:
    def read(**inputs: Any) -> Any:
        return engine.stub.Read(
            provider_pb2.ReadRequest(urn=URN, id="thing-1", inputs=to_struct(inputs))
        )

    assert read(gone=True).id == ""
    assert read(size=1).id == "thing-1"


def test_an_unknown_type_is_named(engine: Engine) -> None:
    urn = "urn:pulumi:dev::lab::toy:index/other:Other::one"
    with pytest.raises(grpc.RpcError, match="toy:index/other:Other"):
        engine.stub.Check(provider_pb2.CheckRequest(urn=urn))


def test_calls_are_told_with_their_time_and_error(engine: Engine, calls: list[Call]) -> None:
    with pytest.raises(grpc.RpcError):
        engine.create(fails="refused")
    call = calls[-1]
    assert (call.package, call.method, call.subject) == ("toy", "Create", URN)
    assert call.error == "the cloud said no"
    assert call.seconds >= 0

"""The gRPC side of attached providers, spoken to as the engine speaks to it."""

from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import any_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from rehearsal.providers.base import Failure, InitFailed, Kind, ProviderError, unknown_token
from rehearsal.providers.serving import Call, serve
from rehearsal.providers.values import (
    ASSET_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE,
    UNKNOWN,
    Properties,
    from_struct,
    to_struct,
)

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
        errors = {
            "refused": ProviderError("the cloud said no"),
            "half": InitFailed("never healthy", "thing-1", inputs, {"address": "x"}),
            "bug": KeyError("oops"),
        }
        if "fails" in inputs:
            raise errors[inputs["fails"]]
        return "thing-1", {**inputs, "address": self.region}

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        return (None, {}, {}) if inputs.get("gone") else (id, inputs, outputs)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Nothing to delete."""


class Toy:
    """A package with one kind, and its provider."""

    name = "toy"
    version = "1.2.3"

    def __init__(self, config: Properties | None = None) -> None:
        self.config = config or {}

    def configure(self, config: Properties) -> "Toy":
        return Toy(config)

    def kind(self, token: str) -> Kind:
        if token != "toy:index/thing:Thing":
            raise unknown_token(token)
        return Thing(self.config.get("region", ""))

    def invoke(self, token: str, args: Properties) -> Properties:
        return {"config": self.config, **args}

    def cancel(self) -> None:
        """Nothing waits."""


class Engine:
    """One connection, as the engine makes one per provider resource."""

    def __init__(self, port: int, **config: Any) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.stub: Any = provider_pb2_grpc.ResourceProviderStub(self._channel)
        self.stub.Configure(provider_pb2.ConfigureRequest(args=to_struct(config)))

    def create(self, preview: bool = False, **inputs: Any) -> Any:
        return self.stub.Create(
            provider_pb2.CreateRequest(urn=URN, properties=to_struct(inputs), preview=preview)
        )

    def close(self) -> None:
        self._channel.close()


CALLS: list[Call] = []


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    running = serve(Toy(), CALLS.append)
    yield running.port
    running.stop()


@pytest.fixture
def engine(port: int) -> Iterator[Engine]:
    made = Engine(port, region="here")
    yield made
    made.close()


def test_a_preview_does_not_know_what_only_a_create_can_tell(engine: Engine) -> None:
    seen = engine.create(preview=True, size=3, other=UNKNOWN)
    assert seen.id == ""
    assert from_struct(seen.properties) == {"size": 3, "other": UNKNOWN, "address": UNKNOWN}
    made = engine.create(size=3)
    assert made.id == "thing-1"
    assert from_struct(made.properties) == {"size": 3, "address": "here"}


def test_each_connection_has_its_own_settings_with_nested_ones_decoded(
    port: int, engine: Engine
) -> None:
    other = Engine(port, region="there", sshOpts='["-i","key"]', host="ssh://[::1]", odd="[x")
    assert from_struct(engine.create().properties)["address"] == "here"
    answer = other.stub.Invoke(provider_pb2.InvokeRequest(tok="t", args=to_struct({"a": 1})))
    config = {"region": "there", "sshOpts": ["-i", "key"], "host": "ssh://[::1]", "odd": "[x"}
    assert from_struct(getattr(answer, "return")) == {"config": config, "a": 1}
    other.close()


def test_an_error_carries_the_providers_words_and_is_noted(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        engine.create(fails="refused")
    assert failed.value.details() == "the cloud said no"
    call = CALLS[-1]
    told = (call.package, call.method, call.subject, call.error)
    assert told == ("toy", "Create", URN, "the cloud said no")
    with pytest.raises(grpc.RpcError, match="the rehearsal itself failed"):
        engine.create(fails="bug")
    urn = "urn:pulumi:dev::lab::toy:index/other:Other::one"
    with pytest.raises(grpc.RpcError, match="toy:index/other:Other"):
        engine.stub.Check(provider_pb2.CheckRequest(urn=urn))


def test_a_half_made_resource_goes_into_the_state(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        engine.create(fails="half")
    trailing = dict(failed.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    packed: any_pb2.Any = status.details[0]
    assert packed.Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("thing-1", ["never healthy"])
    assert from_struct(detail.properties) == {"address": "x"}


def test_check_names_property_and_reason(engine: Engine) -> None:
    request = provider_pb2.CheckRequest(urn=URN, news=to_struct({"size": 99}))
    answer = engine.stub.Check(request)
    assert [(f.property, f.reason) for f in answer.failures] == [("size", "too big")]
    assert from_struct(answer.inputs) == {"size": 99, "checked": True}


@pytest.mark.parametrize(
    ("new", "ignored", "diffs", "replaces"),
    [
        ({"size": 1, "tags": {"a": "b"}}, [], [], []),
        ({"size": 1, "tags": {"a": "c"}}, [], ["tags"], []),
        ({"size": 2, "tags": {"a": "b"}}, [], ["size"], ["size"]),
        ({"size": UNKNOWN, "tags": {"a": "b"}}, [], ["size"], ["size"]),
        ({"size": 2, "tags": {"a": "b"}}, ["size"], [], []),
    ],
)
def test_a_diff_sorts_changes(
    engine: Engine, new: Properties, ignored: list[str], diffs: list[str], replaces: list[str]
) -> None:
    old = to_struct({"size": 1, "tags": {"a": "b"}, "__defaults": []})
    told = {"olds": old, "old_inputs": old, "news": to_struct(new), "ignoreChanges": ignored}
    answer = engine.stub.Diff(provider_pb2.DiffRequest(urn=URN, id="thing-1", **told))
    assert (list(answer.diffs), list(answer.replaces)) == (diffs, replaces)
    assert answer.changes == (answer.DIFF_SOME if diffs else answer.DIFF_NONE)


@pytest.mark.parametrize(("inputs", "id"), [({"gone": True}, ""), ({"size": 1}, "thing-1")])
def test_gone_is_an_empty_answer(engine: Engine, inputs: Properties, id: str) -> None:
    request = provider_pb2.ReadRequest(urn=URN, id="thing-1", inputs=to_struct(inputs))
    assert engine.stub.Read(request).id == id


def test_what_the_engine_sends_comes_back_as_it_was_without_its_secrets() -> None:
    asset = {SIGNATURE: ASSET_SIGNATURE, "text": "hello", "hash": "x"}
    given = {"whole": 3, "part": 0.5, "no": False, "none": None, "list": [1, {"b": UNKNOWN}, asset]}
    assert from_struct(to_struct(given)) == given
    assert type(from_struct(to_struct(given))["whole"]) is int
    secret = {SIGNATURE: SECRET_SIGNATURE, "value": {"b": "c"}}
    assert from_struct(to_struct({"a": [secret]})) == {"a": [{"b": "c"}]}
    with pytest.raises(TypeError, match="unknown value"):
        bool(UNKNOWN)
    with pytest.raises(TypeError, match=r"b\[0\]"):
        to_struct({"b": [object()]})

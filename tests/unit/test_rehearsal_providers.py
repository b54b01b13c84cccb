"""What of the attached providers' gRPC side a rehearsal that goes well does not show."""

from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import any_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from rehearsal.providers.base import InitFailed, Kind, ProviderError, unknown_token
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
CALLS: list[Call] = []


class Thing(Kind):
    """A resource that cannot be made."""

    force_new = frozenset({"size"})

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        errors = {
            "refused": ProviderError("the cloud said no"),
            "half": InitFailed("never healthy", "thing-1", inputs, {"address": "x"}),
            "bug": KeyError("oops"),
        }
        raise errors[inputs["fails"]]

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Nothing to delete."""


class Toy:
    """A package with one kind, and its provider."""

    name = "toy"
    version = "1.2.3"

    def configure(self, config: Properties) -> "Toy":
        return self

    def kind(self, token: str) -> Kind:
        if token != "toy:index/thing:Thing":
            raise unknown_token(token)
        return Thing()

    def invoke(self, token: str, args: Properties) -> Properties:
        raise unknown_token(token)

    def cancel(self) -> None:
        """Nothing waits."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    """As the engine speaks to it."""
    running = serve(Toy(), CALLS.append)
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)
        stub.Configure(provider_pb2.ConfigureRequest())
        yield stub
    running.stop()


def failure(provider: Any, how: str, urn: str = URN) -> Any:
    request = provider_pb2.CreateRequest(urn=urn, properties=to_struct({"fails": how}))
    with pytest.raises(grpc.RpcError) as failed:
        provider.Create(request)
    return failed.value


def test_an_error_carries_the_providers_words_and_is_noted(provider: Any) -> None:
    assert failure(provider, "refused").details() == "the cloud said no"
    call = CALLS[-1]
    told = (call.package, call.method, call.subject, call.error)
    assert told == ("toy", "Create", URN, "the cloud said no")
    assert "the rehearsal itself failed" in failure(provider, "bug").details()
    other = URN.replace("thing:Thing", "other:Other")
    assert "toy:index/other:Other" in failure(provider, "", other).details()


def test_a_half_made_resource_goes_into_the_state(provider: Any) -> None:
    trailing = dict(failure(provider, "half").trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    detail = provider_pb2.ErrorResourceInitFailed()
    packed: any_pb2.Any = status.details[0]
    assert packed.Unpack(detail)
    assert (detail.id, list(detail.reasons)) == ("thing-1", ["never healthy"])
    assert from_struct(detail.properties) == {"address": "x"}


@pytest.mark.parametrize(
    ("new", "ignored", "diffs", "replaces"),
    [
        ({"size": 1, "tags": {"a": "b"}}, [], [], []),
        ({"size": 1, "tags": {"a": "c"}}, [], ["tags"], []),
        ({"size": UNKNOWN, "tags": {"a": "b"}}, [], ["size"], ["size"]),
        ({"size": 2, "tags": {"a": "b"}}, ["size"], [], []),
    ],
)
def test_a_diff_sorts_changes(
    provider: Any, new: Properties, ignored: list[str], diffs: list[str], replaces: list[str]
) -> None:
    old = to_struct({"size": 1, "tags": {"a": "b"}, "__defaults": []})
    told = {"olds": old, "old_inputs": old, "news": to_struct(new), "ignoreChanges": ignored}
    answer = provider.Diff(provider_pb2.DiffRequest(urn=URN, id="thing-1", **told))
    assert (list(answer.diffs), list(answer.replaces)) == (diffs, replaces)
    assert answer.changes == (answer.DIFF_SOME if diffs else answer.DIFF_NONE)


def test_what_the_engine_sends_comes_back_as_it_was_without_its_secrets() -> None:
    asset = {SIGNATURE: ASSET_SIGNATURE, "text": "hello", "hash": "x"}
    given = {"whole": 3, "part": 0.5, "no": False, "none": None, "list": [1, {"b": UNKNOWN}, asset]}
    assert from_struct(to_struct(given)) == given
    assert type(from_struct(to_struct(given))["whole"]) is int
    secret = {SIGNATURE: SECRET_SIGNATURE, "value": {"b": "c"}}
    assert from_struct(to_struct({"a": [secret]})) == {"a": [{"b": "c"}]}
    with pytest.raises(TypeError, match="unknown value"):
        bool(UNKNOWN)

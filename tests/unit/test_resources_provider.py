"""What the engine is told of a declared thing: changes, drift, gone and unreachable, errors."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import httpx
import pulumi
import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct
from pulumi.dynamic import ConfigureRequest
from pulumi.dynamic.config import Config
from pulumi.runtime.proto.provider_pb2 import CreateRequest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.errors import NotFound, Unauthorized, Unreachable
from provisioning.clients.oneapi import OneApiRelay
from provisioning.tunnel import ServerUnreachable
from stack.resources import declaration
from stack.resources.base import LabProvider, Props
from stack.resources.declaration import ID, IDENTITY, IGNORED, OUTPUT, REACH, STEADY
from tests.tables import table

pytestmark = pytest.mark.usefixtures("warnings")


@dataclass(frozen=True, kw_only=True)
class Noted(declaration.Thing):
    """A thing that has written down what is asked of it."""

    delete_first: ClassVar[bool] = True

    endpoint: Annotated[Props, REACH]
    token: Annotated[str, REACH]
    kind: Annotated[str, IDENTITY, ID]
    size: int
    path: Annotated[str, IGNORED]
    made: Annotated[int | None, OUTPUT] = None
    healthy: Annotated[bool, OUTPUT, STEADY] = True

    def create(self, lab: Any) -> Noted:
        lab.note("create")
        return self

    def read(self, lab: Any) -> Noted | None:
        lab.note("read")
        return None if lab.seen is None else replace(self, **lab.seen)

    def update(self, lab: Any, old: Noted, changed: frozenset[str]) -> Noted:
        lab.note("update")
        return self

    def delete(self, lab: Any) -> None:
        lab.note("delete")

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:
        if news.get("size") == 0:
            yield "size", "too small"


class Noting(LabProvider):
    """The provider of a `Noted`, with the notes."""

    def __init__(self) -> None:
        super().__init__(Noted)
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.seen: Props | None = {}

    def note(self, what: str) -> None:
        self.asked.append(what)
        if self.error:
            raise self.error


@pytest.fixture
def provider() -> Noting:
    return Noting()


NEW: Props = {"endpoint": {"host": "1"}, "token": "a", "kind": "x", "size": 1.0, "path": "p"}
STATE: Props = {**NEW, "made": 5, "healthy": True}
REFUSED = Unreachable("S", "GET /", "refused")


def at(port: int) -> Props:
    return {**STATE, "endpoint": {"host": "lab", "port": port}}


@table("resources_provider")
def test_what_a_changed_input_means(
    changed: Props, changes: bool, replaces: list[str], provider: Noting
) -> None:
    result = provider.diff("id", STATE, {**NEW, **changed})

    assert (result.changes, result.replaces) == (changes, replaces)
    assert result.delete_before_replace is bool(replaces)


def test_a_new_way_to_it_is_written_down_and_nothing_is_called(provider: Noting) -> None:
    new = {**NEW, "endpoint": {"host": "2"}, "token": "b", "path": "q"}

    assert provider.update("id", STATE, new).outs == {**STATE, **new}
    assert provider.asked == []


@pytest.mark.parametrize(("olds", "news"), [({}, {"size": 2}), ({"healthy": False}, {})])
def test_any_other_change_and_drift_update(provider: Noting, olds: Props, news: Props) -> None:
    state, wanted = {**STATE, **olds}, {**NEW, **news}

    assert provider.diff("id", state, wanted).changes
    outs = provider.update("id", state, wanted).outs
    assert provider.asked == ["update"]
    assert outs is not None
    assert outs["made"] == 5
    provider.seen = {"size": 7}
    seen = provider.read("id", STATE).outs
    assert provider.diff("id", seen or {}, NEW).changes, "drift that a read found"


def test_the_engine_knows_it_by_what_is_marked_so_or_by_its_kind(provider: Noting) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Only(declaration.Thing):
        def create(self, lab: Any) -> Only:
            return self

    assert provider.create(NEW).id == "x"
    assert LabProvider(Only).create({}).id == "only"


@pytest.mark.parametrize(
    ("given", "wrong"), [({**NEW, "sise": 1}, "sise"), ({"kind": "x"}, "'size'")]
)
def test_an_unknown_or_missing_input_is_an_error_of_the_program(given: Props, wrong: str) -> None:
    with pytest.raises(TypeError, match=wrong):
        Noted.inputs(given)


def test_gone_is_what_the_service_calls_gone_and_unreachable_never_is(
    provider: Noting, warnings: list[str]
) -> None:
    provider.seen = None
    result = provider.read("id", STATE)
    assert (result.id, result.outs) == (None, {})
    provider.error = REFUSED
    result = provider.read("id", STATE)
    assert (result.id, result.outs) == ("id", STATE)
    (told,) = warnings
    assert "S: GET /: refused. The state stays as it is; `pulumi up` says what is down" in told
    with pytest.raises(Unreachable):
        provider.delete("id", STATE)
    provider.error = NotFound("S", "GET /", "no")
    with pytest.raises(NotFound):
        provider.read("id", at(3001))


def test_a_service_that_did_not_answer_is_told_once_and_not_waited_for_again(
    provider: Noting, warnings: list[str]
) -> None:
    provider.error = REFUSED
    for name in ("first", "second", "third"):
        assert provider.read(name, at(3000)).id == name

    assert len(warnings) == 1
    provider.error = None
    assert provider.read("id", at(3001)).id == "id"
    provider.update("id", at(3000), {**at(3000), "kind": "y"})
    assert provider.asked == ["read", "read", "update"]


@pytest.mark.parametrize(
    ("error", "ports", "looks"),
    [
        # A server that is off takes all its services with it.
        (ServerUnreachable("SSH", "connect", "no route"), (3000, 3001, 9997), 1),
        # Another resource of the service may hand out a new credential: each one looks.
        (Unauthorized("S", "GET /", "no"), (3000, 3000), 2),
    ],
)
def test_what_is_off_or_refuses_a_credential_is_told_once_and_the_state_stays(
    provider: Noting, warnings: list[str], error: Exception, ports: tuple[int, ...], looks: int
) -> None:
    provider.error = error
    for port in ports:
        result = provider.read("id", at(port))
        assert (result.id, result.outs) == ("id", at(port))
    assert len(warnings) == 1
    assert provider.asked == ["read"] * looks


def _misread() -> Exception:
    """What a client ends in whose service answers in another shape."""
    answer = httpx.Response(200, json={"choices": []})
    with pytest.raises(IndexError) as error:
        OneApiRelay("http://x", "k", transport=httpx.MockTransport(lambda _: answer)).chat("m", "?")
    return error.value


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (REFUSED, "^S: GET /: refused$"),
        (
            _misread(),
            r"^oneapi answered what this lab cannot read \(IndexError in .*relay, line \d+",
        ),
        (FileNotFoundError(2, "No such file", "a.md"), r"^FileNotFoundError: .*'a.md'\. It could"),
        (httpx.DecodingError("cut off"), "^DecodingError: cut off. .*`pulumi up` tries it again$"),
        (KeyError("a fault of our own"), "^Traceback.*raise self.error.*a fault of our own"),
    ],
)
def test_what_the_engine_is_told_of_an_error(
    provider: Noting, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """By the SDK's own server, whose answer to every error is a stack."""
    sdk = _sdk_server(monkeypatch)
    provider.error = error
    provider.configure(ConfigureRequest(Config({}, "ai-lab")))
    monkeypatch.setattr(sdk, "get_provider", lambda *_: provider)
    told: list[str] = []

    class Context:
        def abort(self, code: object, text: str) -> None:
            told.append(text)

    request = CreateRequest(properties=json_format.ParseDict({}, Struct()))
    sdk.DynamicResourceProviderServicer().Create(request, Context())

    assert re.search(said, "".join(told), re.DOTALL)


def _sdk_server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`python -m pulumi.dynamic`, in the place where that puts it, without its endless main()."""
    spec = importlib.util.find_spec("pulumi.dynamic.__main__")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    sdk = types.ModuleType("__main__")
    exec(compile(source.rpartition("\nmain()")[0], spec.origin, "exec"), vars(sdk))
    monkeypatch.setitem(sys.modules, "__main__", sdk)
    return sdk


@pytest.mark.parametrize(
    ("size", "refused"),
    # The SDK hands `check` other unknown values than the wire has; seen as a preview that failed.
    [(0.0, ["size"]), (UNKNOWN, []), ([UNKNOWN], []), (pulumi.output.Unknown(), [])],
)
def test_bad_inputs_are_refused_and_unknown_ones_are_not_judged(
    provider: Noting, size: object, refused: list[str]
) -> None:
    assert [f.property for f in provider.check({}, {"size": size}).failures] == refused


def test_whole_numbers_come_back_as_such_at_any_depth() -> None:
    found = declaration.plain({"a": 14.0, "b": {"c": [1.0, 0.7, None, True]}, "__provider": "x"})

    assert found == {"a": 14, "b": {"c": [1, 0.7, None, True]}}
    assert isinstance(found["a"], int)

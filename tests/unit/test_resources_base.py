"""What every seeding resource keeps to: state format, ways to the service, gone and unreachable."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import pickle
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import dill
import pulumi
import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct
from pulumi.dynamic import ConfigureRequest, ResourceProvider
from pulumi.dynamic.config import Config
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto.provider_pb2 import CreateRequest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.http import NotFound, Unauthorized, Unreachable
from provisioning.tunnel import ServerUnreachable
from stack.resources import base, declaration
from stack.resources.base import LabProvider, LabResource, Props
from stack.resources.declaration import IDENTITY, IGNORED, OUTPUT, REACH
from stack.resources.fastgpt.answer import FastGptAnswer
from stack.resources.fastgpt.api_key import FastGptApiKey
from stack.resources.fastgpt.app import FastGptApp
from stack.resources.fastgpt.dataset import FastGptDataset
from stack.resources.fastgpt.document import FastGptDocument
from stack.resources.fastgpt.documents_ready import FastGptDocumentsReady
from stack.resources.fastgpt.ready import FastGptReady
from stack.resources.fastgpt.share_link import FastGptShareLink
from stack.resources.oneapi import channel, root, token
from stack.resources.server import choice, containers_ready, file, host_key, lease, ready
from stack.resources.xinference.eviction import XinferenceEviction
from stack.resources.xinference.model import XinferenceModel
from stack.resources.xinference.models_ready import XinferenceModelsReady

# State format: an entry here may be added, never changed (docs/facts/engine.md).
# A declared resource: its token, and where its thing is.
DECLARED: dict[type[LabResource], tuple[str, str]] = {
    host_key.ServerHostKey: ("server:HostKey", "stack.resources.server.host_key.HostKey"),
    lease.Lease: ("server:Lease", "stack.resources.server.lease.Term"),
    choice.ServerChoice: ("server:Choice", "stack.resources.server.choice.Choice"),
    ready.ServerReady: ("server:Ready", "stack.resources.server.ready.Ready"),
    containers_ready.ServerContainersReady: (
        "server:ContainersReady",
        "stack.resources.server.containers_ready.ContainersReady",
    ),
    file.ServerFile: ("server:File", "stack.resources.server.file.File"),
    root.OneApiRoot: ("oneapi:Root", "stack.resources.oneapi.root.Root"),
    channel.OneApiChannel: ("oneapi:Channel", "stack.resources.oneapi.channel.Channel"),
    token.OneApiToken: ("oneapi:Token", "stack.resources.oneapi.token.Token"),
    XinferenceModel: ("xinference:Model", "stack.resources.xinference.model.Model"),
    XinferenceModelsReady: (
        "xinference:ModelsReady",
        "stack.resources.xinference.models_ready.ModelsReady",
    ),
    XinferenceEviction: (
        "xinference:Eviction",
        "stack.resources.xinference.eviction.Eviction",
    ),
    FastGptReady: ("fastgpt:Ready", "stack.resources.fastgpt.ready.Ready"),
    FastGptDataset: ("fastgpt:Dataset", "stack.resources.fastgpt.dataset.Dataset"),
    FastGptDocument: ("fastgpt:Document", "stack.resources.fastgpt.document.Document"),
    FastGptDocumentsReady: (
        "fastgpt:DocumentsReady",
        "stack.resources.fastgpt.documents_ready.DocumentsReady",
    ),
    FastGptApp: ("fastgpt:App", "stack.resources.fastgpt.app.App"),
    FastGptShareLink: ("fastgpt:ShareLink", "stack.resources.fastgpt.share_link.ShareLink"),
    FastGptApiKey: ("fastgpt:ApiKey", "stack.resources.fastgpt.api_key.ApiKey"),
    FastGptAnswer: ("fastgpt:Answer", "stack.resources.fastgpt.answer.Answer"),
}


@pytest.mark.parametrize("resource", DECLARED)
def test_declared_resources_keep_their_token_and_their_things_place(
    resource: type[LabResource],
) -> None:
    name, place = DECLARED[resource]

    stored = dill.loads(pickle_of(LabProvider(resource.thing)))

    assert resource._resource_type_name == f"dynamic/ailab/{name}"
    assert f"{stored.thing.__module__}.{stored.thing.__qualname__}" == place
    assert stored.thing is resource.thing
    # By value it would be kilobytes, and a code change would not take effect.
    assert len(pickle_of(stored)) < 200
    assert vars(stored) == {"thing": resource.thing}


def pickle_of(provider: ResourceProvider) -> bytes:
    assert pickle.DEFAULT_PROTOCOL
    return base64.b64decode(serialize_provider(provider))


@dataclass(frozen=True, kw_only=True)
class Noted(declaration.Thing):
    """A thing that has written down what is asked of it."""

    delete_first: ClassVar[bool] = True

    endpoint: Annotated[Props, REACH]
    token: Annotated[str, REACH]
    kind: Annotated[str, IDENTITY]
    size: int
    path: Annotated[str, IGNORED]
    made: Annotated[int | None, OUTPUT] = None

    @property
    def id(self) -> str:
        return "id"

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


class Thing(LabProvider):
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


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run of its own tells the operator: the engine starts a process for each run."""
    told: list[str] = []
    monkeypatch.setattr(base, "_silent", set())
    monkeypatch.setattr(base, "_told", set())
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    return told


OLD: Props = {"endpoint": {"host": "1"}, "token": "a", "kind": "x", "size": 1.0, "path": "p"}
STATE: Props = {**OLD, "made": 5}


def test_nothing_changed() -> None:
    result = Thing().diff("id", STATE, OLD)

    assert (result.changes, result.replaces) == (False, [])


def test_a_new_way_to_it_is_written_down_and_nothing_is_called() -> None:
    thing, new = Thing(), {**OLD, "endpoint": {"host": "2"}, "token": "b", "path": "q"}

    assert thing.diff("id", OLD, new).changes
    assert thing.diff("id", OLD, new).replaces == []
    outs = thing.update("id", STATE, new).outs
    assert outs == {**new, "made": 5}
    assert thing.asked == []


def test_what_means_nothing_is_no_change() -> None:
    assert not Thing().diff("id", OLD, {**OLD, "path": "q"}).changes


def test_another_identity_replaces_and_the_old_one_leaves_first() -> None:
    result = Thing().diff("id", OLD, {**OLD, "kind": "y"})

    assert (result.replaces, result.delete_before_replace) == (["kind"], True)


def test_any_other_change_updates() -> None:
    thing = Thing()

    assert not thing.diff("id", OLD, {**OLD, "size": 2}).replaces
    thing.update("id", OLD, {**OLD, "size": 2})
    assert thing.asked == ["update"]


def test_a_value_still_unknown_is_a_change() -> None:
    assert Thing().diff("id", OLD, {**OLD, "size": UNKNOWN}).changes


def test_drift_that_read_found_is_a_change() -> None:
    thing = Thing()
    thing.seen = {"size": 7}

    outs = thing.read("id", OLD).outs

    assert outs is not None
    assert thing.diff("id", outs, OLD).changes


def test_gone_is_what_the_service_calls_gone() -> None:
    thing = Thing()
    thing.seen = None

    result = thing.read("id", OLD)

    assert (result.id, result.outs) == (None, {})


def test_unreachable_is_never_gone(warnings: list[str]) -> None:
    thing = Thing()
    thing.error = Unreachable("S", "GET /", "refused")

    result = thing.read("id", STATE)

    assert (result.id, result.outs) == ("id", STATE)
    (told,) = warnings
    assert "S: GET /: refused. The state stays as it is; `pulumi up` says what is down" in told
    with pytest.raises(Unreachable):
        thing.delete("id", OLD)


def test_a_service_that_did_not_answer_is_told_once_and_not_waited_for_again(
    warnings: list[str],
) -> None:
    there = {"host": "lab", "port": 3000}
    thing = Thing()
    thing.error = Unreachable("S", "GET /", "refused")
    for name in ("first", "second", "third"):
        assert thing.read(name, {**OLD, "endpoint": there}).id == name

    assert len(warnings) == 1
    thing.error = None
    assert thing.read("id", {**OLD, "endpoint": {**there, "port": 3001}}).id == "id"
    thing.update("id", {**OLD, "endpoint": there}, {**OLD, "endpoint": there, "kind": "y"})
    assert thing.asked == ["read", "read", "update"]


def test_a_server_that_is_off_is_told_once_for_all_its_services(warnings: list[str]) -> None:
    thing = Thing()
    thing.error = ServerUnreachable("SSH", "connect", "no route")
    for port in (3000, 3001, 9997):
        thing.read("id", {**OLD, "endpoint": {"host": "lab", "port": port}})

    assert len(warnings) == 1
    assert thing.asked == ["read"]


def test_a_refused_credential_leaves_the_state_as_it_is(warnings: list[str]) -> None:
    thing = Thing()
    thing.error = Unauthorized("S", "GET /", "no")

    for _ in range(2):
        result = thing.read("id", STATE)
        assert (result.id, result.outs) == ("id", STATE)
    # Another resource of the service may hand out a new credential: each one looks.
    assert thing.asked == ["read", "read"]
    assert len(warnings) == 1


def test_other_refusals_are_errors() -> None:
    thing = Thing()
    thing.error = NotFound("S", "GET /", "no")

    with pytest.raises(NotFound):
        thing.read("id", OLD)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("S", "GET /", "refused"), "^S: GET /: refused$"),
        (KeyError("a fault of our own"), "^Traceback.*raise self.error.*a fault of our own"),
    ],
)
def test_what_the_engine_is_told_of_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """By the SDK's own server, whose answer to every error is a stack."""
    sdk = _sdk_server(monkeypatch)
    thing = Thing()
    thing.error = error
    monkeypatch.setattr(sdk, "get_provider", lambda *_: _configured(thing))
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


def _configured(thing: Thing) -> Thing:
    thing.configure(ConfigureRequest(Config({}, "ai-lab")))
    return thing


def test_bad_inputs_are_refused_and_unknown_ones_are_not_judged() -> None:
    thing = Thing()

    assert [f.property for f in thing.check({}, {"size": 0.0}).failures] == ["size"]
    assert thing.check({}, {"size": UNKNOWN}).failures == []
    assert thing.check({}, {"size": [UNKNOWN]}).failures == []


def test_whole_numbers_come_back_as_such_at_any_depth() -> None:
    found = base.plain({"a": 14.0, "b": {"c": [1.0, 0.7, None, True]}, "__provider": "x"})

    assert found == {"a": 14, "b": {"c": [1, 0.7, None, True]}}
    assert isinstance(found["a"], int)


def test_the_ssh_key_is_the_operators_and_never_an_input(tmp_path: Path) -> None:
    provider = Thing()
    config = Config({"ai-lab:sshKeyFile": "~/.ssh/lab"}, "ai-lab")

    provider.configure(ConfigureRequest(config))

    assert provider.ssh_key_file == Path("~/.ssh/lab").expanduser()
    for resource in DECLARED:
        names = {field.name for field in fields(resource.thing)}
        assert not any("ssh_key" in name or "key_file" in name for name in names)


class _Recorder(pulumi.runtime.Mocks):
    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}

    def new_resource(
        self, args: pulumi.runtime.MockResourceArgs
    ) -> tuple[str | None, dict[Any, Any]]:
        self.inputs[args.typ] = args.inputs
        return args.name, args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        return {}


ENDPOINT: Any = {"host": "h", "ssh_port": 22, "user": "root", "host_key": "k", "port": 1}
IN_FASTGPT: dict[str, Any] = {"endpoint": ENDPOINT, "password": "hidden"}
IN_ONEAPI: dict[str, Any] = {"endpoint": ENDPOINT, "access_token": "hidden"}
SECRETS = [
    (root.OneApiRoot, {"endpoint": ENDPOINT, "password": "hidden"}, ["password", "access_token"]),
    (
        channel.OneApiChannel,
        {**IN_ONEAPI, "type": 1, "kind": "chat", "models": [], "key": "hidden", "relay_key": "r"},
        ["access_token", "key", "relay_key"],
    ),
    (token.OneApiToken, IN_ONEAPI, ["access_token", "key"]),
    (FastGptReady, {**IN_FASTGPT, "models": {}}, ["password"]),
    (
        FastGptDataset,
        {**IN_FASTGPT, "name": "n", "vector_model": "v", "agent_model": "a"},
        ["password"],
    ),
    (
        FastGptDocument,
        {**IN_FASTGPT, "dataset_id": "d", "name": "n", "text": "t", "chunk_size": 256},
        ["password"],
    ),
    (
        FastGptDocumentsReady,
        {**IN_FASTGPT, "documents": [], "chain": {"relay_key": "hidden"}},
        ["password", "chain"],
    ),
    (
        FastGptApp,
        {**IN_FASTGPT, "name": "n", "nodes": [], "edges": [], "chat_config": {}},
        ["password"],
    ),
    (FastGptShareLink, {**IN_FASTGPT, "name": "n", "app_id": "a"}, ["password"]),
    (FastGptApiKey, {**IN_FASTGPT, "name": "n", "app_id": "a"}, ["password", "key"]),
]


@pytest.mark.parametrize(
    ("cls", "arguments", "secret"), SECRETS, ids=[s[0].__name__ for s in SECRETS]
)
def test_secrets_are_secret_from_the_start(
    cls: Any, arguments: dict[str, Any], secret: list[str]
) -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = _Recorder()
    pulumi.runtime.set_mocks(recorder, project="ai-lab", stack="test", preview=False)
    found: dict[str, bool] = {}

    @pulumi.runtime.test
    def program() -> pulumi.Output[None]:
        made = cls("thing", **arguments)

        async def look() -> None:
            for name in (*secret, "endpoint"):
                found[name] = await getattr(made, name).is_secret()

        return pulumi.Output.from_input(look())

    program()

    assert found == {**dict.fromkeys(secret, True), "endpoint": False}
    (inputs,) = recorder.inputs.values()
    assert not {"ssh_key", "key_file"} & set(inputs)


def test_the_name_in_the_service_is_the_resources_unless_given() -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = _Recorder()
    pulumi.runtime.set_mocks(recorder, project="ai-lab", stack="test", preview=False)

    @pulumi.runtime.test
    def program() -> None:
        token.OneApiToken("users", **IN_ONEAPI)
        FastGptDataset("base", **IN_FASTGPT, name="manual", vector_model="v", agent_model="a")

    program()

    assert {inputs["name"] for inputs in recorder.inputs.values()} == {"users", "manual"}


def test_a_preview_s_unknown_values_are_no_reason_to_complain() -> None:
    # What the SDK really hands to `check` in a preview; seen as a preview that failed.
    failures = LabProvider(channel.Channel).check({}, {"key": pulumi.output.Unknown()}).failures
    assert failures == []

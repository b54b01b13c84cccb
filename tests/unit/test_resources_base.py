"""What every declared resource keeps to: its place in the state, its secrets, its name."""

import asyncio
import base64
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import dill
import pulumi
import pytest
from pulumi.dynamic import ConfigureRequest, ResourceProvider
from pulumi.dynamic.config import Config
from pulumi.dynamic.dynamic import serialize_provider

from stack.resources.base import LabProvider, LabResource
from stack.resources.fastgpt.answer import FastGptAnswer
from stack.resources.fastgpt.api_key import FastGptApiKey
from stack.resources.fastgpt.app import FastGptApp
from stack.resources.fastgpt.dataset import FastGptDataset
from stack.resources.fastgpt.document import FastGptDocument
from stack.resources.fastgpt.documents_ready import FastGptDocumentsReady
from stack.resources.fastgpt.ready import FastGptReady
from stack.resources.fastgpt.share_link import FastGptShareLink
from stack.resources.lab.password import LabPassword
from stack.resources.oneapi import channel, root, token
from stack.resources.server import choice, containers_ready, file, host_key, lease, ready
from stack.resources.xinference.eviction import XinferenceEviction
from stack.resources.xinference.model import XinferenceModel
from stack.resources.xinference.models_ready import XinferenceModelsReady

# State format: an entry here may be added, never changed (docs/facts/engine.md).
# A declared resource: its token, and where its thing is.
DECLARED: dict[type[LabResource], tuple[str, str]] = {
    LabPassword: ("lab:Password", "stack.resources.lab.password.Password"),
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


def test_the_ssh_key_is_the_operators_and_never_an_input() -> None:
    provider = LabProvider(root.Root)

    provider.configure(ConfigureRequest(Config({"ai-lab:sshKeyFile": "~/.ssh/lab"}, "ai-lab")))

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
    (LabPassword, {"length": 20}, ["result"]),
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
        {
            **IN_FASTGPT,
            "dataset_id": "d",
            "documents": {},
            "deadline_minutes": 1,
            "chain": {"relay_key": "hidden"},
        },
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
            for name in (*secret, *arguments):
                found[name] = await getattr(made, name).is_secret()

        return pulumi.Output.from_input(look())

    program()

    assert found == {**dict.fromkeys(arguments, False), **dict.fromkeys(secret, True)}
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

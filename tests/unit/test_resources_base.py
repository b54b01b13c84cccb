"""What every declared resource keeps to: its place in the state, its secrets, its name."""

import asyncio
import base64
import importlib
import pickle
import pkgutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import dill
import pulumi
import pytest
import yaml
from pulumi.dynamic import ConfigureRequest, ResourceProvider
from pulumi.dynamic.config import Config
from pulumi.dynamic.dynamic import serialize_provider

import stack.resources
from stack.resources import base
from stack.resources.base import LabProvider, LabResource
from stack.resources.fastgpt.dataset import FastGptDataset
from stack.resources.oneapi import root, token
from tests.tables import CASES, table
from tests.unit.subject import ENDPOINT

for module in pkgutil.walk_packages(stack.resources.__path__, "stack.resources."):
    importlib.import_module(module.name)
DECLARED: dict[str, type[LabResource]] = {
    cls._resource_type_name: cls
    for cls in LabResource.__subclasses__()
    if cls.__module__.startswith("stack.")
}


@table("resources_base")
def test_declared_resources_keep_their_token_and_their_things_place(token: str, place: str) -> None:
    resource = DECLARED[f"dynamic/ailab/{token}"]
    stored = dill.loads(pickle_of(LabProvider(resource.thing)))
    assert f"{stored.thing.__module__}.{stored.thing.__qualname__}" == place
    assert stored.thing is resource.thing
    # By value it would be kilobytes, and a code change would not take effect.
    assert len(pickle_of(stored)) < 200
    assert vars(stored) == {"thing": resource.thing}
    tokens = yaml.safe_load((CASES / "resources_base.yaml").read_text())
    rows = tokens["declared_resources_keep_their_token_and_their_things_place"]
    assert {f"dynamic/ailab/{token}" for token, _ in rows} == DECLARED.keys(), "none is missing"


def pickle_of(provider: ResourceProvider) -> bytes:
    assert pickle.DEFAULT_PROTOCOL
    return base64.b64decode(serialize_provider(provider))


def test_the_ssh_key_is_the_operators_and_never_an_input() -> None:
    provider = LabProvider(root.Root)

    provider.configure(ConfigureRequest(Config({"ai-lab:sshKeyFile": "~/.ssh/lab"}, "ai-lab")))

    assert provider.ssh_key_file == Path("~/.ssh/lab").expanduser()
    for resource in DECLARED.values():
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


@table("resources_base")
def test_secrets_are_secret_from_the_start(
    token: str, arguments: dict[str, Any], secret: list[str]
) -> None:
    arguments = {k: ENDPOINT if v == "ENDPOINT" else v for k, v in arguments.items()}
    found: dict[str, bool] = {}

    def program() -> pulumi.Output[None]:
        made: Any = DECLARED[f"dynamic/ailab/{token}"]
        thing = made("thing", **arguments)

        async def look() -> None:
            for name in (*secret, *arguments):
                found[name] = await getattr(thing, name).is_secret()

        return pulumi.Output.from_input(look())

    (inputs,) = recorded(program)
    assert found == {**dict.fromkeys(arguments, False), **dict.fromkeys(secret, True)}
    assert not {"ssh_key", "key_file"} & set(inputs)


def test_the_name_in_the_service_is_the_resources_unless_given() -> None:
    there: Any = {"endpoint": ENDPOINT, "password": "hidden"}

    def program() -> None:
        token.OneApiToken("users", endpoint=ENDPOINT, access_token="hidden")
        FastGptDataset("base", **there, name="manual", vector_model="v", agent_model="a")

    assert {inputs["name"] for inputs in recorded(program)} == {"users", "manual"}


def recorded(program: Callable[[], pulumi.Output[None] | None]) -> list[dict[str, Any]]:
    """The inputs of what a program declares."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = _Recorder()
    pulumi.runtime.set_mocks(recorder, project="ai-lab", stack="test", preview=False)
    pulumi.runtime.test(program)()
    return list(recorder.inputs.values())


def test_it_ends_when_its_engine_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    def end(code: int) -> None:
        ended.append(code)
        raise SystemExit

    def follow(place: tuple[str, int]) -> None:
        with suppress(SystemExit):
            base._follow(place)

    monkeypatch.setattr(base, "_ENGINE_SECONDS", 0.01)
    monkeypatch.setattr(base.os, "_exit", end)
    with socket.create_server(("127.0.0.1", 0)) as engine:
        place = engine.getsockname()
        following = threading.Thread(target=follow, args=(place,))
        following.start()
        engine.accept()[0].close()
        assert following.is_alive()
        assert ended == []
    following.join(10)
    assert ended == [1]

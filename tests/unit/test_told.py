"""What ends the program: a sentence where one is known, the stack where it is our own fault."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from provisioning import remote
from provisioning.clients.errors import Unexpected
from provisioning.problems import PlanError
from provisioning.tunnel import ServerUnreachable, SshServer
from provisioning.vocabulary import VocabularyError
from stack import market, told
from stack.market import MarketError

REFUSED = (
    "invoke of alicloud:ecs/getImages:getImages failed: invocation of alicloud:ecs/getImages:"
    "getImages returned an error: Resource alicloud_images DescribeImages Failed!!! "
)
STACK = "Program failed with an unhandled exception:\nTraceback (most recent call last):\n  ..."


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine is told. No mocks: the SDK would keep a stack of theirs for the next run."""
    texts: list[str] = []
    monkeypatch.setattr(told, "_sdk_error", texts.append)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    return texts


def end_by(error: BaseException) -> None:
    """As the SDK does where a program ends by this error."""
    try:
        raise error
    except BaseException:
        told._log_error(STACK)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PlanError("zone", "it is wrong", "it would be right"), "zone: it is wrong; "),
        (MarketError("waited 60 s"), "waited 60 s"),
        (VocabularyError("no vocabulary"), "no vocabulary"),
        (Unexpected("OneAPI", "GET /", "a page"), "OneAPI: GET /: a page"),
        (Exception(f"{REFUSED}Code: Forbidden.RAM"), "Forbidden.RAM: The RAM user may not do Desc"),
        (Exception(f"{REFUSED}it is broken"), REFUSED),
        (KeyError("ours"), STACK),
    ],
)
def test_an_error_of_a_known_kind_is_told_without_its_stack(
    error: Exception, expected: str, said: list[str]
) -> None:
    outer = Exception("as the SDK wraps it")
    outer.__cause__ = error
    for each in (error, outer):
        end_by(each)
    assert [text[: len(expected)] for text in said] == [expected] * 2


def test_what_is_told_otherwise_stays_as_it_is(said: list[str]) -> None:
    try:
        raise MarketError("something else")
    except MarketError:
        told._log_error("by the program")
    assert said == ["by the program"]


@pytest.mark.usefixtures("said")
def test_a_refused_question_names_question_and_remedy() -> None:
    class Answer:
        async def future(self) -> None:
            raise ValueError(f"{REFUSED}Code: Forbidden.RAM")

    answer: Any = Answer()
    loop = asyncio.new_event_loop()
    with pytest.raises(MarketError, match=r"which images fit\. Forbidden.RAM: .*DescribeImages"):
        loop.run_until_complete(market.answered("which images fit", answer))
    loop.close()


def test_without_a_real_engine_there_are_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with mocks, where the SDK pretends to know them."""
    monkeypatch.setattr(told, "monitor_supports_feature", lambda feature: True)
    monkeypatch.setattr(told, "get_engine", object)
    monkeypatch.setattr(pulumi, "ErrorHook", None)
    told.explain_failures()


class Engine(engine_pb2_grpc.EngineStub):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def Log(self, request: engine_pb2.LogRequest) -> None:
        self.said.append(request.message)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What is said when a resource `fastgpt` of this type fails."""
    engine, hooks = Engine(), []
    monkeypatch.setattr(told, "monitor_supports_feature", lambda feature: True)
    monkeypatch.setattr(told, "get_engine", lambda: engine)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    monkeypatch.setattr(pulumi, "ErrorHook", lambda name, callback: hooks.append(callback))
    monkeypatch.setattr(pulumi, "ResourceHookBinding", lambda **hooks: None)
    monkeypatch.setattr(pulumi.runtime, "register_stack_transformation", lambda each: None)

    def failed(kind: str) -> str:
        told.explain_failures()
        error = "container failed to be in healthy state: context deadline exceeded"
        args: Any = SimpleNamespace(type=kind, name="fastgpt", urn="urn", errors=[error])
        assert hooks[-1](args) is False, "nothing is tried again"
        return engine.said[-1]

    return failed


@pytest.mark.usefixtures("lab")
def test_of_a_container_that_does_not_start_its_log_is_asked(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[[str], str]
) -> None:
    """In the run that makes it nothing else looks at the server (stack/services.py)."""
    asked: list[SshServer] = []
    container, otherwise = "docker:index/container:Container", "`docker logs NAME` tells why"
    shown = {"docker ps": "fastgpt restarting Restarting (1) 2 seconds ago", "docker logs": ""}

    def run(server: SshServer, command: str) -> str:
        asked.append(server)
        return next(text for words, text in shown.items() if command.startswith(words))

    monkeypatch.setattr(remote, "run", run)
    assert otherwise in fails(container)
    shown["docker logs"] = "[redis_error] connect"
    assert "it does not reach Redis, see `docker logs redis`" in fails(container)
    assert asked[0].user == "root"
    assert asked[0].host_key.startswith("ssh-ed25519 ")
    assert asked[0].key_file is not None
    assert otherwise in fails("another:index:Type")

    def away(server: SshServer, command: str) -> str:
        raise ServerUnreachable("SSH", f"connect {server.place}", "no route to host")

    monkeypatch.setattr(remote, "run", away)
    assert otherwise in fails(container)

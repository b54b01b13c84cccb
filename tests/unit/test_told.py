"""What ends the program: a sentence where one is known, the stack where it is our own fault."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from provisioning.clients.errors import Unexpected
from provisioning.problems import PlanError
from provisioning.vocabulary import VocabularyError
from stack import market, told
from stack.market import MarketError

REFUSED = (
    "invoke of alicloud:ecs/getImages:getImages failed: invocation of alicloud:ecs/getImages:"
    "getImages returned an error: Resource alicloud_images DescribeImages Failed!!! "
)
STACK = "Program failed with an unhandled exception:\nTraceback (most recent call last):\n  ..."


@pytest.fixture
def end_by(caplog: pytest.LogCaptureFixture) -> Callable[[BaseException], str]:
    """What is told where a program ends by this error, as the SDK tells it."""
    pulumi.runtime.set_mocks(_NoCloud(), project="ai-lab", stack="dev", preview=False)
    caplog.set_level(logging.ERROR)

    def ended(error: BaseException) -> str:
        caplog.clear()
        try:
            raise error
        except BaseException:
            told._log_error(STACK)
        return str(caplog.messages[-1])

    return ended


class _NoCloud(pulumi.runtime.Mocks):
    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict]:
        return args.name, {}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict:
        return {}


@pytest.mark.parametrize(
    ("error", "said"),
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
    error: Exception, said: str, end_by: Callable[[BaseException], str]
) -> None:
    assert end_by(error).startswith(said)
    outer = Exception("as the SDK wraps it")
    outer.__cause__ = error
    assert end_by(outer).startswith(said)


def test_what_is_told_otherwise_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise MarketError("something else")
    except MarketError:
        told._log_error("by the program")
    assert caplog.messages[-1] == "by the program"


@pytest.mark.usefixtures("end_by")
def test_a_refused_question_names_question_and_remedy() -> None:
    class Answer:
        async def future(self) -> None:
            raise ValueError(f"{REFUSED}Code: Forbidden.RAM")

    answer: Any = Answer()
    loop = asyncio.new_event_loop()
    with pytest.raises(MarketError, match=r"which images fit\. Forbidden.RAM: .*DescribeImages"):
        loop.run_until_complete(market._answered("which images fit", answer))
    loop.close()


def test_without_an_engine_that_knows_them_there_are_no_hooks(
    end_by: Callable[[BaseException], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with mocks, where the SDK pretends to know them."""
    monkeypatch.setattr(pulumi, "ErrorHook", None)
    told.explain_failures()

"""The question is asked as a visitor would, until the answer is right."""

from __future__ import annotations

import json

import pytest

from provisioning.clients.fastgpt.rows import Answer as Given
from provisioning.clients.fastgpt.rows import Hit
from provisioning.clients.http import DeadlineExceeded, Refused
from stack.resources.fastgpt.answer import Answer, answer_problem
from tests.unit.fake_services import FakeClock, FakeFastGpt
from tests.unit.fastgpt.bench import LOGIN, Bench
from tests.unit.subject import Subject

NO_CHANNEL = "对于模型 qwen 无可用渠道"


@pytest.fixture
def answer(bench: Bench) -> Subject:
    asked = {"share_id": "share1", "question": "When does the lab end?", "cites": "manual.pdf"}
    return bench(Answer, **asked, triggers=["1"])


def test_the_answer_and_its_citations_are_outputs(answer: Subject, service: FakeFastGpt) -> None:
    outs = answer.create()
    passage = {"document": "manual.pdf", "passage": "The lab ends by its lease."}
    assert (outs["answer"], outs["citations"]) == ("By its lease.", [passage])
    assert LOGIN not in service.called("POST")


def test_a_channel_that_is_not_there_yet_is_put_up_with(
    answer: Subject, service: FakeFastGpt, clock: FakeClock
) -> None:
    service.chat_error = NO_CHANNEL

    def routes() -> None:
        if clock.passed > 30:
            service.chat_error = ""

    clock.on_sleep = routes
    answer.create()
    assert clock.passed > 30


def test_an_error_that_stays_is_shown(answer: Subject, service: FakeFastGpt) -> None:
    service.chat_error = NO_CHANNEL
    with pytest.raises(DeadlineExceeded, match="无可用渠道"):
        answer.create()


def test_the_wrong_citation_is_asked_for_three_times_only(
    answer: Subject, service: FakeFastGpt
) -> None:
    answer.wanted["cites"] = "docs/other.pdf"
    with pytest.raises(Refused, match=r"cites manual\.pdf, not docs/other\.pdf"):
        answer.create()
    assert len(service.asked) == 3
    chats = {json.loads(request.content)["chatId"] for request in service.asked}
    # A chat of its own each, or the history would answer.
    assert len(chats) == 3


def test_it_is_asked_again_when_something_changed(answer: Subject, service: FakeFastGpt) -> None:
    made = answer.create()
    assert not answer.drifts()
    assert answer.seen() == made
    assert answer.diff(triggers=["2"]).changes
    answer.update(triggers=["2"])
    assert len(service.asked) == 2


HIT = Hit(document="a.md", q="text")


@pytest.mark.parametrize(
    ("answer", "cites", "wrong"),
    [
        (Given("yes", (HIT,)), "a.md", False),
        (Given("yes", (HIT,)), "docs/a.md", False),
        (Given("yes", (HIT,)), "", False),
        (Given("yes", ()), "", True),
        (Given("yes", ()), None, False),
        (Given("yes", (HIT,)), "b.md", True),
        (Given(" ", (HIT,)), None, True),
    ],
)
def test_what_a_good_answer_is(answer: Given, cites: str | None, wrong: bool) -> None:
    assert bool(answer_problem(answer, cites)) is wrong

"""The question is asked as a visitor would, until the answer is right."""

import json

import httpx
import pytest

from provisioning.clients.errors import DeadlineExceeded, Refused
from provisioning.clients.fastgpt.rows import Answer as Given
from provisioning.clients.fastgpt.rows import Hit
from stack.resources.fastgpt.answer import Answer, answer_problem
from tests.unit.fastgpt.bench import ENDPOINT, failure
from tests.unit.subject import Subject

NO_CHANNEL = failure("对于模型 qwen 无可用渠道")
QUOTE = {"id": "q1", "q": "The lab ends by its lease.", "sourceName": "manual.pdf"}
ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "By its lease."}}],
    "responseData": [{"moduleType": "datasetSearchNode", "quoteList": [QUOTE]}],
}


class Chat(httpx.BaseTransport):
    """Answers every question alike; `chats` are those that it was asked in."""

    def __init__(self) -> None:
        self.says = httpx.Response(200, json=ANSWER)
        self.chats: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # A visitor's way is the only one that is taken.
        assert request.url.path == "/api/v1/chat/completions"
        self.chats.append(json.loads(request.content)["chatId"])
        return self.says


@pytest.fixture
def chat() -> Chat:
    return Chat()


@pytest.fixture
def answer(chat: Chat) -> Subject:
    asked = {"share_id": "share1", "question": "When does the lab end?", "cites": "manual.pdf"}
    return Subject(Answer, {"endpoint": ENDPOINT, **asked, "triggers": ["1"]}, chat)


def test_the_answer_and_its_citations_are_outputs_and_asked_again_when_something_changed(
    answer: Subject, chat: Chat
) -> None:
    outs = answer.create()
    passage = {"document": "manual.pdf", "passage": "The lab ends by its lease."}
    assert (outs["answer"], outs["citations"]) == ("By its lease.", [passage])
    assert not answer.drifts()
    assert answer.seen() == outs
    assert answer.changes(triggers=["2"])
    answer.update(triggers=["2"])
    assert len(chat.chats) == 2


def test_a_channel_that_is_not_there_yet_is_put_up_with(answer: Subject, chat: Chat) -> None:
    right, chat.says = chat.says, NO_CHANNEL

    def routes() -> None:
        if answer.clock.passed > 30:
            chat.says = right

    answer.clock.on_sleep = routes
    answer.create()
    assert answer.clock.passed > 30


def test_an_error_that_stays_is_shown(answer: Subject, chat: Chat) -> None:
    chat.says = NO_CHANNEL
    with pytest.raises(DeadlineExceeded, match="无可用渠道"):
        answer.create()


def test_the_wrong_citation_is_asked_for_three_times_only(answer: Subject, chat: Chat) -> None:
    with pytest.raises(Refused, match=r"cites manual\.pdf, not docs/other\.pdf"):
        answer.create(cites="docs/other.pdf")
    # A chat of its own each, or the history would answer.
    assert len(chat.chats) == len(set(chat.chats)) == 3


@pytest.mark.fault("a reranker failing without a word")
def test_a_reranker_that_failed_without_a_word_is_noticed(answer: Subject, chat: Chat) -> None:
    with pytest.raises(Refused, match=r"not reranked: .*Xinference's reranker.*make status"):
        answer.create(reranked=True)
    judged = {**QUOTE, "score": [{"type": "embedding"}, {"type": "reRank", "value": 0.9}]}
    nodes = [{"moduleType": "datasetSearchNode", "quoteList": [judged]}]
    chat.says = httpx.Response(200, json={**ANSWER, "responseData": nodes})
    answer.create()


def test_an_error_beside_an_answer_is_no_answer(answer: Subject, chat: Chat) -> None:
    chat.says = httpx.Response(200, json={**ANSWER, "error": "503 embedding down"})
    with pytest.raises(DeadlineExceeded, match="503 embedding down"):
        answer.create()


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

"""`make ask`: which link, which question, what is said when it fails."""

import io
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from rich.console import Console

from provisioning.clients.fastgpt.rows import Answer, Hit
from tests.unit.standing import OUTPUTS, REAL
from tools import ask as tool
from tools.ask import CannotAsk, ask, choose_link, main, show
from tools.standing import Lab, NoLab, read_lab

# Of the visitors' door, where only their page may ask.
LINK = "https://lab.example.com/chat/share?shareId=abc"
LINKS = {"Guide/staff": "u1", "Guide/visitors": "u2", "Guide 2/visitors": "u3"}


def a_lab(links: dict[str, str]) -> Lab:
    return replace(read_lab(REAL, OUTPUTS), share_links=links)


def answering(*answers: httpx.Response) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """FastGPT with one answer for each question, and what it was asked."""
    left, asked = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return left.pop(0)

    return httpx.MockTransport(answer), asked


def said(text: str) -> httpx.Response:
    quote = {"id": "q1", "q": "The lab ends by its lease.", "sourceName": "manual.pdf"}
    choice = {"message": {"role": "assistant", "content": text}}
    nodes = [{"moduleType": "datasetSearchNode", "quoteList": [quote]}]
    return httpx.Response(200, json={"choices": [choice], "responseData": nodes})


def test_asks_as_a_visitor_through_the_link_each_time_anew() -> None:
    service, asked = answering(said("By its lease."), said("As before."))
    answer = ask(a_lab(LINKS), LINK, "How does the lab end?", service)
    ask(a_lab(LINKS), LINK, "And else?", service)

    first, second = (json.loads(request.content) for request in asked)
    assert str(asked[0].url).startswith("http://127.0.0.9:3000/api/v1/")
    assert first["shareId"] == "abc"
    assert first["messages"] == [{"role": "user", "content": "How does the lab end?"}]
    assert first["chatId"] != second["chatId"]
    assert answer.text == "By its lease."
    assert [hit.document for hit in answer.citations] == ["manual.pdf"]


def test_an_unreachable_service_names_the_likely_causes_and_a_refusal_or_no_answer_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tool, "_RETRY_SECONDS", 0.0)

    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(CannotAsk, match="allowedCidrs") as error:
        ask(a_lab(LINKS), LINK, "?", httpx.MockTransport(nobody))
    assert "http://127.0.0.9:3000 was not reached" in str(error.value)
    assert "`make status STACK=dev`" in str(error.value)
    refusal = {"code": 500, "message": "当前分组 default 下对于模型 qwen 无可用渠道"}
    for answer, words in ((httpx.Response(500, json=refusal), "无可用渠道"), (said(" "), "empty")):
        with pytest.raises(CannotAsk, match=words):
            ask(a_lab(LINKS), LINK, "?", answering(answer)[0])


def test_app_or_link_is_chosen_by_its_whole_name_or_told_with_those_that_are_there() -> None:
    chosen = {"": "u1", "Guide": "u1", "Guide/visitors": "u2", "Guide 2": "u3"}
    assert {app: choose_link(a_lab(LINKS), app)[1] for app in chosen} == chosen
    with pytest.raises(CannotAsk, match=r"'Gui' .*Guide/staff, Guide/visitors, Guide 2/visitors"):
        choose_link(a_lab(LINKS), "Gui")
    with pytest.raises(CannotAsk, match=r"links: .*`make up STACK=dev`"):
        choose_link(a_lab({}), "")


def test_an_empty_question_is_refused_before_anything_else_and_no_lab_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(environ: Any) -> Lab:
        raise NoLab("No lab stands.")

    monkeypatch.setattr(tool, "find_lab", none)
    for arguments in ([], [""], ["  "]):
        assert main(arguments, {}) == 2
        assert 'make ask Q="' in capsys.readouterr().err
    assert main(["why?"], {}) == 2
    assert capsys.readouterr().err == "No lab stands.\n"


def test_the_app_comes_from_the_environment_as_make_hands_it_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "find_lab", lambda environ: a_lab(LINKS))

    monkeypatch.setattr(tool, "ask", lambda _, *asked: Answer(f"Because [{asked}] must.", ()))
    assert main(["why?"], {"APP": "Guide 2"}) == 0
    assert "Because [('u3', 'why?')] must." in capsys.readouterr().out


def test_citations_are_shown_with_document_and_the_passage_on_one_line() -> None:
    out = io.StringIO()
    hits = (Hit(document="手册.pdf", q="实验室" * 200), Hit(document="a [b].md", q="one\n  two"))

    show(Console(file=out, soft_wrap=True), Answer("It ends.", hits))

    lines = out.getvalue().splitlines()
    assert "It ends." in lines
    first = lines[lines.index("[1] 手册.pdf") + 1].strip()
    assert first.startswith("实验室")
    assert first.endswith("…")
    assert len(first) < 310
    assert lines[lines.index("[2] a [b].md") + 1].strip() == "one two"

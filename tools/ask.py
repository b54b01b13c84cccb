"""`make ask Q="..."`: ask the standing lab, as a visitor of its share link would.

python -m tools.ask "How do I end the bill?" [--app NAME]

STACK and APP are read from the environment too. The exit code: 0 answered, 1 not, 2 nothing to ask.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import httpx
from rich.console import Console
from rich.markup import escape

from provisioning.clients.errors import ServiceError, Unreachable
from provisioning.clients.fastgpt import client_class
from provisioning.clients.fastgpt.rows import Answer
from tools.standing import Lab, NoLab, find_lab, up_command

VISITOR = "lab-make-ask"
PASSAGE_LENGTH = 300
_RETRY_SECONDS = 3.0


class CannotAsk(Exception):
    """The question cannot be asked, or had no answer; the text says why and what to do."""


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """The command line."""
    options = _parser(environ).parse_args(arguments)
    question = " ".join(options.question).strip()
    console = Console(highlight=False, soft_wrap=True)
    try:
        if not question:
            raise NoLab('There is no question: make ask Q="How do I end the bill?"')
        lab = find_lab(environ)
        name, url = choose_link(lab, options.app)
    except (NoLab, CannotAsk) as problem:
        print(problem, file=sys.stderr)
        return 2
    console.print(f"{escape(name)}, lab {escape(lab.stack.title)}", style="dim")
    try:
        with _waiting(console):
            answer = ask(lab, url, question)
    except CannotAsk as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show(console, answer)
    return 0


def choose_link(lab: Lab, app: str = "") -> tuple[str, str]:
    """`app/link` and its URL: of `app` (or of this very `app/link`), else the first.

    Raises:
        CannotAsk: the lab has no share link, or none of that name.
    """
    links = lab.share_links
    if not links:
        raise CannotAsk(
            f"The lab {lab.stack.title} has no share link to ask through. Give an app of the "
            f"setting `knowledge` one (`links: [{{name: visitors}}]`), then {up_command(lab.stack)}"
        )
    for name, url in links.items():
        if not app or name == app or name.startswith(f"{app}/"):
            return name, url
    raise CannotAsk(f"No app {app!r} has a share link. There are: {', '.join(links)}")


def ask(lab: Lab, url: str, question: str, transport: httpx.BaseTransport | None = None) -> Answer:
    """The answer of the app behind the share link at `url`, in a conversation of its own.

    Asked at FastGPT's page: the visitors' door has no way for programs.

    Raises:
        CannotAsk: FastGPT is not reached, refuses, or answers with nothing.
    """
    stack, base = lab.stack, lab.fastgpt_url
    share_id = parse_qs(urlsplit(url).query).get("shareId", [""])[0]
    status = "make status" if stack.rehearsed else f"make status STACK={stack.name}"
    made = client_class(lab.edition)
    with made(base, retry_seconds=_RETRY_SECONDS, transport=transport) as client:
        try:
            answer = client.ask(share_id, question, visitor=VISITOR, chat_id=uuid.uuid4().hex[:24])
        except Unreachable as error:
            raise CannotAsk(
                f"FastGPT at {base} was not reached: {error.answer}\n"
                "Does the server run, has its lease ended, does allowedCidrs hold the address you "
                f"come from? `{status}` tells."
            ) from None
        except ServiceError as error:
            raise CannotAsk(
                f"The lab could not answer: {error.answer}\n`{status}` tells what is wrong first."
            ) from None
    if not answer.text.strip():
        raise CannotAsk(f"The answer was empty. `{status}` tells whether the models are served.")
    return answer


def show(console: Console, answer: Answer) -> None:
    """Print the answer, and the document and passage of each citation."""
    console.print(f"\n{escape(answer.text.strip())}\n")
    if not answer.citations:
        console.print("It cites nothing.", style="dim")
    for number, hit in enumerate(answer.citations, 1):
        console.print(f"[bold]\\[{number}] {escape(hit.document)}[/bold]")
        console.print(f"    {escape(_shortened(hit.passage))}")


def _shortened(text: str) -> str:
    """On one line. Not by words: Chinese has no spaces between them."""
    line = " ".join(text.split())
    return line if len(line) <= PASSAGE_LENGTH else f"{line[:PASSAGE_LENGTH]} …"


def _waiting(console: Console) -> contextlib.AbstractContextManager[object]:
    if console.is_terminal:
        return console.status("The lab thinks ...")
    return contextlib.nullcontext()


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.ask",
        description='Ask the standing lab. With make: make ask Q="..." [APP=name] [STACK=name]',
    )
    parser.add_argument("question", nargs="*", help="what to ask")
    parser.add_argument(
        "--app", default=environ.get("APP") or "", help="which app, where there are several"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A real answer through the share link: the health of the whole lab."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Any

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Answer as Given
from provisioning.clients.http import Refused, Unexpected, Waiting, wait_until
from stack.resources.base import LabResource, say
from stack.resources.declaration import IGNORED, OUTPUT, REACH, Endpoint, Lab, Thing
from stack.resources.fastgpt.session import POLL_SECONDS, SERVICE, session

PASSAGE_LENGTH = 400
MOST_ANSWERS = 3
"""How often an answer without the right citation is asked for again."""
VISITOR = "ai-lab-health"


@dataclass(frozen=True, kw_only=True)
class Answer(Thing):
    """Asks one question as a visitor would: without a password."""

    endpoint: Annotated[Endpoint, REACH]
    share_id: str
    question: str
    cites: str | None
    triggers: Sequence[Any] = ()
    deadline_minutes: Annotated[float, IGNORED] = 5
    answer: Annotated[str, OUTPUT] = ""
    citations: Annotated[Sequence[Mapping[str, str]], OUTPUT] = ()

    @property
    def id(self) -> str:
        """There is one."""
        return "answer"

    def create(self, lab: Lab) -> Answer:
        """Ask until the answer is right."""
        tries: list[str] = []
        with session(lab, self.endpoint, "") as client:
            given = wait_until(
                "an answer through the share link",
                lambda: self._ask(client, tries),
                service=SERVICE,
                deadline=60 * float(self.deadline_minutes),
                advice="ask in the share link's page: the error there names the model or channel "
                "that fails",
                every=POLL_SECONDS,
                clock=lab.clock,
                progress=say("answer"),
            )
        citations = [
            {"document": hit.document, "passage": hit.passage[:PASSAGE_LENGTH]}
            for hit in given.citations
        ]
        return replace(self, answer=given.text, citations=citations)

    def _ask(self, client: FastGptClient, tries: list[str]) -> Given | Waiting:
        chat_id = uuid.uuid4().hex[:24]
        try:
            given = client.ask(self.share_id, self.question, visitor=VISITOR, chat_id=chat_id)
        except (Refused, Unexpected) as error:
            return Waiting(error.answer)
        problem = answer_problem(given, self.cites)
        if not problem:
            return given
        tries.append(problem)
        if len(tries) >= MOST_ANSWERS:
            raise Refused(SERVICE, f"answer {self.question!r}", problem)
        return Waiting(problem)


def answer_problem(answer: Given, cites: str | None) -> str:
    """What is wrong with an answer; "" if nothing. `cites` as in `FastGptAnswer`."""
    if not answer.text.strip():
        return "the answer is empty"
    if cites is None:
        return ""
    if not answer.citations:
        return (
            f"it cites nothing: {answer.text[:200]!r}; lower the app's similarity, or see whether "
            "its base holds the answer"
        )
    cited = sorted({hit.document for hit in answer.citations})
    if cites and not {cites, PurePosixPath(cites).name} & set(cited):
        return f"it cites {', '.join(cited)}, not {cites}"
    return ""


class FastGptAnswer(LabResource, thing=Answer, token="fastgpt:Answer"):
    """A real answer through the share link.

    Args:
        share_id: of the link.
        question: what is asked.
        cites: name of the document that must be cited; "" accepts any, None asks for no citation.
        triggers: any values; a change of one asks again (app, documents, models).
        deadline_minutes: how long first failures are put up with.

    Outputs: `answer`, `citations` (`{"document", "passage"}` each).
    """

    answer: pulumi.Output[str]
    citations: pulumi.Output[list[dict[str, Any]]]

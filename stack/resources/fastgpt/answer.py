"""A real answer through the share link: the health of the whole lab."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Any

import pulumi

from provisioning.clients.errors import Refused, Unexpected, Unreachable
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Answer as Given
from provisioning.editions import EditionName
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, OUTPUT, REACH, Endpoint, Lab, Thing
from stack.resources.fastgpt.session import NOT_RERANKED, SERVICE, session, wait

ANSWER_SECONDS = 300.0
PASSAGE_LENGTH = 400
MOST_ANSWERS = 3
"""How often an answer is asked for that cites the right document."""
VISITOR = "ai-lab-health"


@dataclass(frozen=True, kw_only=True)
class Answer(Thing):
    """Asks one question as a visitor would: without a password."""

    endpoint: Annotated[Endpoint, REACH]
    edition: Annotated[EditionName, REACH] = "seeds"
    share_id: str
    question: str
    cites: str | None
    reranked: Annotated[bool, IGNORED] = False
    triggers: Sequence[Any] = ()
    answer: Annotated[str, OUTPUT] = ""
    citations: Annotated[Sequence[Mapping[str, str]], OUTPUT] = ()

    def create(self, lab: Lab) -> "Answer":
        """Ask until the answer is right."""
        with session(lab, self.endpoint, "", self.edition) as client:
            for _ in range(MOST_ANSWERS):
                given = self._answer(client)
                problem = answer_problem(given, self.cites, reranked=self.reranked)
                if not problem:
                    break
            else:
                raise Refused(SERVICE, f"answer {self.question!r}", problem)
        citations = [
            {"document": hit.document, "passage": hit.passage[:PASSAGE_LENGTH]}
            for hit in given.citations
        ]
        return replace(self, answer=given.text, citations=citations)

    def _answer(self, client: FastGptClient) -> Given:
        return wait(
            "an answer through the share link",
            # In a chat of its own, or the history would answer.
            lambda: client.ask(
                self.share_id, self.question, visitor=VISITOR, chat_id=uuid.uuid4().hex[:24]
            ),
            clock=client.clock,
            deadline=ANSWER_SECONDS,
            advice="ask in the share link's page: the error there names the model or channel that "
            "fails",
            tolerate=(Unreachable, Refused, Unexpected),
        )


def answer_problem(answer: Given, cites: str | None, *, reranked: bool = False) -> str:
    """What is wrong with an answer; "" if nothing. The rest as in `FastGptAnswer`."""
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
    if reranked and not any(hit.reranked for hit in answer.citations):
        return f"its passages were not reranked: {NOT_RERANKED}"
    return ""


class FastGptAnswer(LabResource, thing=Answer, token="fastgpt:Answer"):
    """A real answer through the share link; a change of the `triggers` asks again.

    `cites` is the document that must be cited; "" accepts any, None asks for no citation. With
    `reranked`, a reranker must have judged what is cited. Outputs:
    `answer`, `citations` (`{"document", "passage"}` each).
    """

    answer: pulumi.Output[str]
    citations: pulumi.Output[list[dict[str, str]]]

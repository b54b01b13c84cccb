"""A chat through a share link, as a visitor has it (`docs/facts/fastgpt.md §6, §7`)."""

from __future__ import annotations

from collections.abc import Mapping

from provisioning.clients.fastgpt.rows import Answer, Hit
from provisioning.clients.fastgpt.session import Session
from provisioning.clients.http import Json

CHAT_SECONDS = 300.0


class Chat(Session):
    """The visitor's side."""

    def ask(self, share_id: str, question: str, *, visitor: str, chat_id: str) -> Answer:
        """Ask through a share link, as a visitor does: without any login.

        Raises:
            Refused: with the upstream's text, e.g. OneAPI's "no channel".
        """
        body = {
            "shareId": share_id,
            "outLinkUid": visitor,
            "chatId": chat_id,
            "stream": False,
            "detail": True,
            "variables": {},
            "messages": [{"role": "user", "content": question}],
        }
        response = self._send(
            "POST",
            "/api/v1/chat/completions",
            json=body,
            seconds=CHAT_SECONDS,
            twice_is_harmless=True,
        )
        answer = self._json(response)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise self._refusal(response, answer)
        text = _text_of(answer["choices"][0]["message"].get("content"))
        return Answer(text, self._citations(answer))

    def _citations(self, answer: Mapping[str, Json]) -> tuple[Hit, ...]:
        """What the answer stands on, each passage once."""
        seen: dict[str, Hit] = {}
        for node in answer.get("responseData") or []:
            for quoted in node.get("quoteList") or []:
                seen.setdefault(str(quoted.get("id") or len(seen)), self._row(Hit, quoted))
        return tuple(seen.values())


def _text_of(content: Json) -> str:
    """A string for one part, a list where there are several (`docs/facts/fastgpt.md §7`)."""
    if not isinstance(content, list):
        return str(content or "")
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(
        str(text.get("content") or "") if isinstance(text, dict) else str(text or "")
        for text in texts
    )

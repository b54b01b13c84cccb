"""How the current edition says no, and what its validator says of an input, as recorded."""

import json
import re
from collections.abc import Mapping
from typing import Any

from rehearsal.doubles.fastgpt.envelope import CURRENT, Answer, Document, Problem

_KINDS = {str: "string", dict: "object", list: "array", bool: "boolean", int: "number"}
_KINDS |= {float: "number", type(None): "null"}
_FORMS = {
    "id": r"[0-9a-fA-F]{24}",
    "url": r"[a-z]+://\S+",
    "library": "|".join(CURRENT["issues"]["library"]["values"]),
}
COOKIE = "fastgpt_token"
COOKIE_IS = "Path=/; HttpOnly; SameSite=Strict"


class Invalid(Problem):
    """HTTP 400 with a list of what is wrong; of an upload 500, and the list is the message too."""

    def __init__(self, issues: list[Document], status: int = 400) -> None:
        listed = json.dumps(issues, ensure_ascii=False, indent=2)
        super().__init__("Data validation error" if status == 400 else listed)
        self.issues, self.status = issues, status


def refusal(problem: Problem) -> Answer:
    """In the words of this edition; the HTTP status has a meaning here."""
    plain = {"code": 500, "statusText": "error", "message": problem.message}
    name = problem.status_text or problem.message
    status, told = CURRENT["errors"].get(name, (500, plain))
    body = {**told, "data": None}
    if isinstance(problem, Invalid):
        status = problem.status
        body |= {"code": status, "zodError": problem.issues}
    answer = Answer(body, status)
    if status == 403:
        answer.headers["Set-Cookie"] = f"{COOKIE}=; Max-Age=0; {COOKIE_IS}"
    return answer


def check(
    given: Mapping[str, Any], needed: Mapping[str, str], path: tuple[Any, ...] = ()
) -> list[Document]:
    """The issues with `given`; `needed` has the kind of each key: a JSON type, with `?` where it
    may lack, or a form of text."""
    found = []
    for key, kind in needed.items():
        if kind[-1] == "?" and key not in given:
            continue
        kind, value = kind.rstrip("?"), given.get(key)
        got = _KINDS[type(value)] if key in given else "undefined"
        wanted = "string" if kind in _FORMS or kind == "account" else kind
        if got != wanted and kind != "library":
            issue = CURRENT["issues"]["account" if kind == "account" else "type"]
        elif kind in _FORMS and not (got == "string" and re.fullmatch(_FORMS[kind], str(value))):
            issue = CURRENT["issues"][kind]
        else:
            continue
        told = json.dumps(issue).replace("{wanted}", wanted).replace("{got}", got)
        found.append({**json.loads(told), "path": [*path, key]})
    return found

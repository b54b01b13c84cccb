"""What the account's RAM user may do: a policy in RAM's language, action by action.

Only what a policy for the lab needs: Allow and Deny of actions on every resource, `*` in names.
"""

import fnmatch
import json
from collections.abc import Iterable, Iterator

from rehearsal.cloud.refusals import Refusal

_FREE = frozenset({"sts:GetCallerIdentity"})
"""Actions that need no permission: whoever has a key may ask who he is."""


class Ram:
    """A user's permissions; without a policy everything is allowed."""

    def __init__(self, policy: str | None = None) -> None:
        """`policy` is a RAM policy document (JSON).

        Raises:
            ValueError: it is not one, or narrows its resources, which is not rehearsed.
        """
        self.allowed: list[str] = ["*"] if policy is None else []
        self.denied: list[str] = []
        for statement in json.loads(policy)["Statement"] if policy else []:
            if statement["Resource"] != "*":
                raise ValueError(f"the rehearsal knows no resources in a policy: {statement}")
            known = {"Allow": self.allowed, "Deny": self.denied}[statement["Effect"]]
            known += _listed(statement["Action"])

    def check(self, action: str) -> None:
        """Refuse `action` (`ecs:RunInstances`) unless it is allowed; a Deny comes first.

        Raises:
            Refusal: not allowed.
        """
        if action in _FREE or (
            _matches(action, self.allowed) and not _matches(action, self.denied)
        ):
            return
        raise Refusal(
            403,
            "Forbidden.RAM",
            "User not authorized to operate on the specified resource, or this API doesn't "
            f"support RAM. AuthAction: {action}",
        )


def policy_in(text: str) -> str:
    """The RAM policy in a page of Markdown: its one JSON block that has a `Statement`.

    Raises:
        ValueError: there is none.
    """
    for block in _json_blocks(text):
        if "Statement" in block:
            return block
    raise ValueError("the page holds no RAM policy: a block of JSON with a Statement")


def _json_blocks(text: str) -> Iterator[str]:
    for part in text.split("```json\n")[1:]:
        yield part.split("```", 1)[0]


def _listed(action: str | list[str]) -> list[str]:
    return [action] if isinstance(action, str) else action


def _matches(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns)

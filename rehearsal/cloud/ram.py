"""What the account's RAM user may do: a policy in RAM's language, action by action.

Only what a policy for the lab needs: Allow and Deny of actions on every resource, `*` in names.
"""

import fnmatch
import json

from rehearsal.cloud.refusals import Refusal

_ALL = '{"Statement": [{"Effect": "Allow", "Resource": "*", "Action": ["*"]}]}'


class Ram:
    """A user's permissions; without a policy everything is allowed."""

    def __init__(self, policy: str | None = None) -> None:
        """`policy` is a RAM policy document (JSON). Raises ValueError: it narrows its resources,
        which is not rehearsed."""
        self._actions: dict[str, list[str]] = {"Allow": [], "Deny": []}
        for statement in json.loads(policy or _ALL)["Statement"]:
            if statement["Resource"] != "*":
                raise ValueError(f"the rehearsal knows no resources in a policy: {statement}")
            self._actions[statement["Effect"]] += statement["Action"]

    def check(self, action: str) -> None:
        """Refuse `action` (`ecs:RunInstances`) unless it is allowed; a Deny comes first. Raises
        Refusal: not allowed."""
        if self._has("Deny", action) or not self._has("Allow", action):
            message = (
                "User not authorized to operate on the specified resource, or this API doesn't "
                f"support RAM. AuthAction: {action}"
            )
            raise Refusal(403, "Forbidden.RAM", message)

    def _has(self, effect: str, action: str) -> bool:
        return any(fnmatch.fnmatchcase(action, pattern) for pattern in self._actions[effect])


def policy_in(text: str) -> str:
    """The RAM policy in a page of Markdown: its one JSON block that has a `Statement`. Raises
    ValueError: there is none."""
    blocks = (part.split("```", 1)[0] for part in text.split("```json\n")[1:])
    found = next((block for block in blocks if "Statement" in block), None)
    if found is None:
        raise ValueError("the page holds no RAM policy: a block of JSON with a Statement")
    return found

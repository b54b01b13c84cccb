"""What the account's RAM user may do: a policy in RAM's language, call by call.

Only what a policy for the lab needs: Allow and Deny of actions, on resources by their names, under
the condition that they bear a tag (docs/facts/alicloud.md §6). `*` in all of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rehearsal.cloud.refusals import Refusal

if TYPE_CHECKING:
    from rehearsal.cloud.rpc import Request

README_REGION = "cn-hangzhou"
"""The region that the README's policy stands for."""

_ALL = '{"Statement": [{"Effect": "Allow", "Resource": "*", "Action": ["*"]}]}'
_TAG = "acs:ResourceTag/"
# "All Resources" in the cloud's manual: a policy that narrows them grants nothing.
_UNNAMED = ("*:Describe*", "*:ListTagResources", "ecs:RunInstances", "ecs:AuthorizeSecurityGroup")
_KINDS: dict[str, str] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""The parameter that names a thing, to its kind."""

Tags = Mapping[str, str]


@dataclass(frozen=True)
class _Statement:
    effect: str
    actions: Sequence[str]
    resources: Sequence[str]
    tags: Tags

    def covers(self, action: str, resource: str, tags: Tags) -> bool:
        return (
            _any(action, self.actions)
            and _any(resource, self.resources)
            and all(key in tags and fnmatchcase(tags[key], like) for key, like in self.tags.items())
        )


class Ram:
    """A user's permissions; without a policy everything is allowed."""

    def __init__(self, policy: str | None = None) -> None:
        """`policy` is a RAM policy document (JSON). Raises ValueError: it has a condition that is
        not rehearsed."""
        self._statements = [_statement(one) for one in json.loads(policy or _ALL)["Statement"]]

    def check(self, action: str, asked: "Request", tags: Mapping[str, Tags]) -> None:
        """Refuse `action` (`ecs:RunInstances`) unless it is allowed on every resource that the
        call names; a Deny comes first. `tags`: those of things, by id. Raises Refusal: not
        allowed."""
        for resource, id in _named(action, asked):
            has = tags.get(id, {})
            covering = (one for one in self._statements if one.covers(action, resource, has))
            if {one.effect for one in covering} != {"Allow"}:
                message = (
                    "User not authorized to operate on the specified resource, or this API doesn't "
                    f"support RAM. AuthAction: {action} AuthResource: {resource}"
                )
                raise Refusal(403, "Forbidden.RAM", message)


def _statement(said: Mapping[str, Any]) -> _Statement:
    like = dict(said.get("Condition", {}))
    tags = like.pop("StringLike", {})
    if like or not all(key.startswith(_TAG) for key in tags):
        raise ValueError(f"the rehearsal knows no such condition in a policy: {said}")
    resources = said["Resource"] if isinstance(said["Resource"], list) else [said["Resource"]]
    named = {key.removeprefix(_TAG): value for key, value in tags.items()}
    return _Statement(said["Effect"], said["Action"], resources, named)


def _named(action: str, asked: "Request") -> Iterator[tuple[str, str]]:
    """The names (ARN) of what a call is about, with the ids: of one that makes a thing, any."""
    if _any(action, _UNNAMED):
        yield "*", ""
        return
    product, region = action.split(":")[0], asked.text("RegionId")
    kinds = {**_KINDS, "ResourceId": f"{product}:{asked.text('ResourceType').lower()}"}
    found = [(kind, id) for name, kind in kinds.items() for id in asked.listed(name)]
    for kind, id in found or [(f"{product}:*", "*")]:
        owner, type_name = kind.split(":")
        yield f"acs:{owner}:{region}:1:{type_name}/{id}", id


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def policy_in(text: str, region: str = README_REGION) -> str:
    """The RAM policy in a page of Markdown: its one JSON block that has a `Statement`, for a lab in
    `region`. Raises ValueError: there is none."""
    blocks = (part.split("```", 1)[0] for part in text.split("```json\n")[1:])
    found = next((block for block in blocks if "Statement" in block), None)
    if found is None:
        raise ValueError("the page holds no RAM policy: a block of JSON with a Statement")
    return found.replace(README_REGION, region)

"""What OneAPI lists: channels and tokens, as wanted and as found (`docs/facts/oneapi.md §4`)."""

import json
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer

from provisioning.clients.http import Json, Row

ENABLED = 1


def _names(listed: object) -> object:
    # As stored, blanks included: they are drift, not noise.
    return tuple(n for n in listed.split(",") if n) if isinstance(listed, str) else listed


def _mapping(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    # OneAPI itself ignores what is no mapping; shown as it is, it differs from what was asked for.
    return found if isinstance(found, dict) else {"": text}


def clean_models(models: Iterable[str]) -> tuple[str, ...]:
    """Names without blanks, each once whatever its case: a double breaks the channel (`§4`)."""
    seen: dict[str, str] = {}
    for name in filter(None, map(str.strip, models)):
        seen.setdefault(name.lower(), name)
    return tuple(seen.values())


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    PlainSerializer(lambda names: ",".join(clean_models(names))),
]
Mapping = Annotated[
    dict[str, str],
    BeforeValidator(_mapping),
    PlainSerializer(
        lambda found: json.dumps(found, ensure_ascii=False, sort_keys=True) if found else ""
    ),
]


class Listed(Row):
    """A channel or a token, as wanted (with `id` 0 where there is none yet) or as found.

    `status`: 1 enabled, 2 disabled by hand, 3 disabled by OneAPI or expired, 4 used up. `key`: a
    channel's, which OneAPI never shows, or a token's without `sk-`.
    """

    name: str
    models: Names = ()
    status: int = ENABLED
    key: str = Field(default="", repr=False)
    id: int = 0

    def body(self, **more: Json) -> dict[str, Json]:
        """What a POST or PUT of it says; OneAPI has its own say on `status`, `id` and keys."""
        return self.model_dump(by_alias=True, exclude={"status", "key", "id"}) | more


AnyListed = TypeVar("AnyListed", bound=Listed)


class Channel(Listed):
    """A channel of a `type` (by its id); the highest `priority` wins.

    `base_url`: without `/v1`, "" for the vendor's own. `model_mapping`: from public names, which
    must be in `models` too, to the upstream's.
    """

    type: int = 0
    base_url: Annotated[str, PlainSerializer(lambda url: url.rstrip("/"))] = ""
    model_mapping: Mapping = Field(default_factory=dict)
    priority: int = 0

    def body(self, **more: Json) -> dict[str, Json]:
        """With its key on one line: OneAPI would make a channel of each."""
        return super().body(key=self.key.strip(), group="default", **more)


class Token(Listed):
    """A relay token; `expired_time` -1 is never."""

    unlimited: bool = Field(default=False, alias="unlimited_quota")
    expired_time: int = -1

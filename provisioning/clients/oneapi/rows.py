"""What OneAPI lists: channels and tokens, as wanted and as found (`docs/facts/oneapi.md §4`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from provisioning.clients.http import Json, Row

ENABLED = 1
EXHAUSTED = 4
"""A token whose quota is used up."""


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


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class Channel(Row):
    """A channel: as wanted (with `key`), or as found (without: OneAPI never shows it).

    Attributes:
        type: channel type id.
        base_url: without `/v1`, without trailing slash; "" for the vendor's own.
        models: public names.
        model_mapping: public name -> upstream name; the public name must be in `models` too.
        priority: the highest wins.
        status: 1 enabled, 2 disabled by hand, 3 disabled by OneAPI.
        id: OneAPI's; 0 where there is none yet.
    """

    name: str
    type: int = 0
    base_url: str = ""
    models: Names = ()
    model_mapping: Annotated[dict[str, str], BeforeValidator(_mapping)] = Field(
        default_factory=dict
    )
    priority: int = 0
    key: str = Field(default="", repr=False)
    status: int = ENABLED
    id: int = 0


class Token(Row):
    """A relay token. `key` comes without `sk-`; `remain_quota` falls by use.

    `status`: 1 enabled, 2 disabled by hand, 3 expired, 4 quota used up.
    """

    name: str
    models: Names = ()
    unlimited: bool = Field(default=False, alias="unlimited_quota")
    remain_quota: int = 0
    expired_time: int = -1
    status: int = ENABLED
    id: int = 0
    key: str = Field(default="", repr=False)


def clean_models(models: Iterable[str]) -> tuple[str, ...]:
    """Names without blanks, each once whatever its case, in order.

    OneAPI splits without trimming, and a double breaks the channel (`§4`).
    """
    seen: dict[str, str] = {}
    for model in models:
        name = model.strip()
        if name:
            seen.setdefault(name.lower(), name)
    return tuple(seen.values())


def mapping_text(mapping: Mapping[str, str]) -> str:
    """A model mapping as OneAPI stores it: a JSON string, "" for none."""
    return json.dumps(dict(sorted(mapping.items())), ensure_ascii=False) if mapping else ""


def token_body(token: Token) -> dict[str, Json]:
    return {
        "name": token.name,
        "models": ",".join(clean_models(token.models)),
        "unlimited_quota": token.unlimited,
        "remain_quota": token.remain_quota,
        "expired_time": token.expired_time,
    }

"""Alibaba's RPC: a request is an action and flat parameters, an answer is JSON.

Form, error bodies and paging as in docs/facts/alicloud-http.md. The signature is not checked; the
access key has to be known.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import Refusal, refusal

Answer = dict[str, Any]
_SHOWN: dict[str, Answer] = json.loads(Path(__file__).with_name("shown.json").read_text())
_PRODUCTS = {"2014-05-26": "ecs", "2016-04-28": "vpc", "2015-04-01": "sts"}


class Request:
    """The parameters of one call, and what is to happen once the account's lock is free again."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self.later: list[Callable[[], None]] = []

    def text(self, name: str, default: str = "") -> str:
        """A parameter, `default` if it is missing or empty."""
        return self._parameters.get(name) or default

    def number(self, name: str, default: int = 0) -> int:
        """A whole number.

        Raises:
            Refusal: it is none.
        """
        try:
            return int(self.text(name, str(default)))
        except ValueError:
            raise Refusal(
                400, f"InvalidParameter.{name}", f"The specified {name} is not valid."
            ) from None

    def flag(self, name: str) -> bool:
        """Whether it is `true`."""
        return self.text(name).lower() == "true"

    def given(self, name: str) -> bool:
        """Whether it was sent at all."""
        return name in self._parameters

    def needed(self, name: str) -> str:
        """A parameter that must not be missing.

        Raises:
            Refusal: it is.
        """
        if not self.text(name):
            raise Refusal(
                400,
                "MissingParameter",
                f'The input parameter "{name}" that is mandatory for processing this request is '
                "not supplied.",
            )
        return self.text(name)

    @property
    def region(self) -> str:
        """The region that is spoken to."""
        return self.needed("RegionId")

    def many(self, name: str) -> list[str]:
        """`name.1`, `name.2` and so on."""
        found: list[str] = []
        while (value := self.text(f"{name}.{len(found) + 1}")) != "":
            found.append(value)
        return found

    def listed(self, name: str) -> list[str]:
        """A list that is sent as JSON (`InstanceIds`)."""
        try:
            return [str(item) for item in json.loads(self.text(name, "[]"))]
        except ValueError:
            raise Refusal(
                400, f"InvalidParameter.{name}", f"The specified {name} is not a list in JSON."
            ) from None

    def tags(self) -> dict[str, str]:
        """`Tag.1.Key` and `Tag.1.Value` and so on."""
        found: dict[str, str] = {}
        while key := self.text(f"Tag.{len(found) + 1}.Key"):
            found[key] = self.text(f"Tag.{len(found) + 1}.Value")
        return found

    def page(self, outer: str, inner: str, rows: Sequence[Answer]) -> Answer:
        """One page of `rows`, as `{outer: {inner: [...]}}` with its number and the total."""
        size, number = self.number("PageSize", 10), self.number("PageNumber", 1)
        shown = list(rows[(number - 1) * size : number * size])
        total = {"TotalCount": len(rows), "PageNumber": number, "PageSize": size}
        return {outer: {inner: shown}, **total}


Handler = Callable[[Cloud, Request], Answer]
_ACTIONS: dict[tuple[str, str], Handler] = {}


def action(product: str, name: str) -> Callable[[Handler], Handler]:
    """Let the decorated function answer `name` of `product` (`ecs`, `vpc`, `sts`)."""

    def register(handler: Handler) -> Handler:
        _ACTIONS[product, name] = handler
        return handler

    return register


def answer(cloud: Cloud, keys: frozenset[str], parameters: Mapping[str, str]) -> tuple[int, Answer]:
    """HTTP status and body for one call, from a caller with one of `keys`."""
    request_id = str(uuid.uuid4()).upper()
    try:
        body = _answered(cloud, keys, parameters)
    except Refusal as refusal:
        said = {"Code": refusal.code, "Message": refusal.message, "HostId": "rehearsal"}
        return refusal.status, {**said, "RequestId": request_id}
    return 200, {**body, "RequestId": request_id}


def _answered(cloud: Cloud, keys: frozenset[str], parameters: Mapping[str, str]) -> Answer:
    name = parameters.get("Action", "")
    product = _PRODUCTS.get(parameters.get("Version", ""), "")
    handler = _ACTIONS.get((product, name))
    if parameters.get("AccessKeyId") not in keys:
        raise refusal("InvalidAccessKeyId.NotFound")
    if handler is None:
        raise Refusal(
            404,
            "InvalidAction.NotFound",
            f"Specified api is not found: the rehearsal has no {product}:{name}; add it to "
            "rehearsal/cloud.",
        )
    cloud.ram.check(f"{product}:{name}")
    request = Request(parameters)
    with cloud.lock:
        cloud.may(name)
        body = handler(cloud, request)
    for work in request.later:
        work()
    return body


def shown(kind: str, **known: object) -> Answer:
    """How the API shows a thing of that kind: what is the same for all (`shown.json`), and this."""
    return {**_SHOWN[kind], **known}


def tagged(cloud: Cloud, id: str, request: Request) -> bool:
    """Whether `id` bears all tags that the request filters by; a tag without a value: any value."""
    has = cloud.tags.get(id, {})
    return all(key in has and value in ("", has[key]) for key, value in request.tags().items())


def shown_tags(cloud: Cloud, id: str, prefix: str = "") -> Answer:
    """`{"Tag": [...]}`; with the prefix `Tag`, keys are `TagKey` and `TagValue`."""
    pairs = cloud.tags.get(id, {}).items()
    return {"Tag": [{f"{prefix}Key": key, f"{prefix}Value": value} for key, value in pairs]}


def to_the_second(when: datetime) -> str:
    """A time as most of the API writes it."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_the_minute(when: datetime | None) -> str:
    """A time as ECS writes it; "" for none."""
    return when.strftime("%Y-%m-%dT%H:%MZ") if when else ""

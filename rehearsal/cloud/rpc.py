"""Alibaba's RPC: a request is an action and flat parameters, an answer is JSON.

Form, error bodies and paging as in docs/facts/alicloud-http.md. The signature is not checked; the
access key has to be known. The fault `cloud.CODE` with an action's name as its key refuses it so;
`cloud.silence` keeps its answer back until it is switched off, the work done.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rehearsal import faults
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import Refusal, not_found, refusal

Answer = dict[str, Any]
_T = TypeVar("_T")
_SILENCE, _SILENCE_SECONDS = "silence", 120.0
_PRODUCTS = {"2014-05-26": "ecs", "2016-04-28": "vpc"}


class Request:
    """The parameters of one call, and what is to happen once the account's lock is free again."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self.later: list[Callable[[], None]] = []

    def text(self, name: str, default: str = "") -> str:
        """A parameter, `default` if it is missing or empty."""
        return self._parameters.get(name) or default

    def number(self, name: str, default: int = 0) -> int:
        """A whole number; a Refusal for anything else."""
        try:
            return int(self.text(name, str(default)))
        except ValueError:
            message = f"The specified {name} is not valid."
            raise Refusal(400, f"InvalidParameter.{name}", message) from None

    def flag(self, name: str) -> bool:
        return self.text(name).lower() == "true"

    def needed(self, name: str) -> str:
        """A parameter; a Refusal without it."""
        if not self.text(name):
            message = (
                f'The input parameter "{name}" that is mandatory for processing this request is '
                "not supplied."
            )
            raise Refusal(400, "MissingParameter", message)
        return self.text(name)

    def named(self, name: str, held: Mapping[str, _T]) -> _T:
        """The one of the things `held` whose id a parameter has; a Refusal if there is none."""
        if self.needed(name) not in held:
            raise not_found(name)
        return held[self.needed(name)]

    @property
    def region(self) -> str:
        return self.needed("RegionId")

    def fresh(self, cloud: Cloud, prefix: str, name: str) -> dict[str, Any]:
        """What every `Thing` has, of one that is made now; `name`: the parameter of its name."""
        told = {"region": self.region, "name": self.text(name)}
        return {"id": cloud.new_id(prefix), "created": cloud.now(), **told}

    def listed(self, name: str) -> list[str]:
        """All that it names: a JSON list (`InstanceIds`), one, or `name.1`, `name.2` and so on."""
        given = self.text(name)
        found = json.loads(given) if given.startswith("[") else [given] if given else []
        while value := self.text(f"{name}.{len(found) + 1}"):
            found.append(value)
        return found

    def tags(self) -> dict[str, str]:
        """`Tag.1.Key` and `Tag.1.Value` and so on."""
        found: dict[str, str] = {}
        while key := self.text(f"Tag.{len(found) + 1}.Key"):
            found[key] = self.text(f"Tag.{len(found) + 1}.Value")
        return found

    def page(self, path: str, rows: Sequence[Answer]) -> Answer:
        """One page of `rows` at `path` (`Vpcs.Vpc`), with its number and the total."""
        outer, inner = path.split(".")
        size, number = self.number("PageSize", 10), self.number("PageNumber", 1)
        shown = list(rows[(number - 1) * size : number * size])
        total = {"TotalCount": len(rows), "PageNumber": number, "PageSize": size}
        return {outer: {inner: shown}, "RegionId": self.region, **total}


Handler = Callable[[Cloud, Request], Answer | None]
"""Answers a call; None where there is nothing to tell."""

_ACTIONS: dict[str, Handler] = {}


def action(name: str) -> Callable[[Handler], Handler]:
    """Let the decorated function answer `name` (`ecs:RunInstances`)."""

    def register(handler: Handler) -> Handler:
        _ACTIONS[name] = handler
        return handler

    return register


def answer(cloud: Cloud, keys: frozenset[str], parameters: Mapping[str, str]) -> tuple[int, Answer]:
    """HTTP status and body for one call, from a caller with one of `keys`."""
    request_id = str(uuid.uuid4()).upper()
    try:
        body = _answered(cloud, keys, parameters)
        ends = time.monotonic() + _SILENCE_SECONDS
        while faults.take(f"cloud.{_SILENCE}", parameters["Action"]) and time.monotonic() < ends:
            time.sleep(0.05)
    except Refusal as refusal:
        said = {"Code": refusal.code, "Message": refusal.message, "HostId": "rehearsal"}
        return refusal.status, {**said, "RequestId": request_id}
    return 200, {**body, "RequestId": request_id}


def _answered(cloud: Cloud, keys: frozenset[str], parameters: Mapping[str, str]) -> Answer:
    product = _PRODUCTS.get(parameters.get("Version", ""), "")
    name = f"{product}:{parameters.get('Action')}"
    handler = _ACTIONS.get(name)
    if parameters.get("AccessKeyId") not in keys:
        raise refusal("InvalidAccessKeyId.NotFound")
    if handler is None:
        message = f"the rehearsal has no {name}; add it to rehearsal/cloud."
        raise Refusal(404, "InvalidAction.NotFound", f"Specified api is not found: {message}")
    if (code := faults.taken("cloud.", parameters["Action"])) not in ("", _SILENCE):
        raise refusal(code)
    request = Request(parameters)
    cloud.ram.check(name, request, cloud.tags)
    with cloud.lock:
        body = handler(cloud, request) or {}
    for work in request.later:
        work()
    return body

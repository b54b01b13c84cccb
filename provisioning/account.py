"""What bears a lab's tag in its region, whatever a state says of it: found, and removed.

Kinds, calls and the order of removal are in `account_kinds.json` (docs/facts/alicloud.md §6, §8).
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from provisioning.account_api import SERVICE, Api, CloudRefusal, region_of
from provisioning.account_kinds import (
    KINDS,
    ORDER,
    SOON,
    Belonging,
    Kind,
    bears,
    belonging_of,
    is_labs,
)
from provisioning.clients.errors import ServiceError, Unreachable
from provisioning.clients.waiting import SYSTEM_CLOCK, Clock, Waiting, wait_until
from provisioning.server_problems import OWN_TAG

LAST_LOOK_SECONDS = 20.0
_MOST_PAGES = 100


class Account:
    """One region of the account that the alicloud provider would use; see `Api`."""

    def __init__(
        self,
        region: str,
        config: Mapping[str, Any],
        environ: Mapping[str, str] = os.environ,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.region = region
        self._api = Api(region, config, environ)
        self._clock = clock

    def belongings(self, tag_key: str, tag_value: str) -> list[Belonging]:
        """All that bears the tag or, where a tag may not be there yet, is called like the lab.

        In the order in which it can be removed.

        Raises:
            ServiceError: who asks is not known, the API refused, or did not answer.
        """
        tag = (tag_key, tag_value)
        # Ask for the credentials before seven threads do.
        networks = self._rows(KINDS["VPC"], tag)
        others = {name: kind for name, kind in KINDS.items() if name != "VPC"}
        with ThreadPoolExecutor(len(others)) as pool:
            asked = {name: pool.submit(self._rows, kind, tag) for name, kind in others.items()}
        rows = {name: future.result() for name, future in asked.items()} | {"VPC": networks}
        own = {row["VpcId"] for row in networks if bears(row, tag)}
        return [
            belonging_of(name, row, tag)
            for name in ORDER
            for row in rows[name]
            if is_labs(KINDS[name], row, tag, own)
        ]

    def standing(self, server: str) -> bool:
        """Whether the region has the server of this id, whatever it bears. Raises ServiceError."""
        ids = json.dumps([server])
        answer = self._api.call("ecs", "DescribeInstances", InstanceIds=ids)
        return bool(answer["Instances"]["Instance"])

    def remove(
        self, belongings: Iterable[Belonging], say: Callable[[str], None] = lambda _: None
    ) -> list[str]:
        """Remove these for good, servers first; what has gone meanwhile is no error.

        Returns:
            A sentence for each that is still there, and why. The others are gone: looked for.
        """
        left = []
        for belonging in sorted(belongings, key=lambda one: ORDER.index(one.kind)):
            try:
                self._remove(belonging)
                say(f"removed: {belonging}")
            except ServiceError as error:
                left.append(f"{belonging} is still there: {error}")
        return left

    def _remove(self, belonging: Belonging) -> None:
        kind = KINDS[belonging.kind]
        told = {name: text.replace("ID", belonging.id) for name, text in kind.with_.items()}

        def look() -> Waiting | bool:
            if not self._is_there(kind, belonging):
                return True
            try:
                self._prepare(kind, belonging)
                self._api.call(kind.api, kind.remove, **told)
            except CloudRefusal as error:
                # RAM forbids to end what has gone: it bears no tag.
                if not self._is_there(kind, belonging):
                    return True
                if not error.code.startswith(SOON):
                    raise
                return Waiting(error.answer)
            return Waiting("it is listed still") if self._is_there(kind, belonging) else True

        wait_until(
            f"{belonging.kind} {belonging.id} to be gone",
            look,
            service=SERVICE,
            deadline=kind.seconds,
            advice="run it again; if it stays, remove it in the cloud's console",
            clock=self._clock,
        )

    def _prepare(self, kind: Kind, belonging: Belonging) -> None:
        """The permissions end what bears the tag (README, Permissions), and nothing that is used
        by a server."""
        if not belonging.tagged:
            key, value = belonging.tag
            asked = {"ResourceType": kind.tag_type, "ResourceId": [belonging.id]}
            self._api.call(kind.api, "TagResources", **asked, Tag=[{"Key": key, "Value": value}])
        if kind.detach and belonging.attached_to:
            try:
                self._api.call(kind.api, kind.detach, **{kind.id: belonging.id})
            except CloudRefusal as error:
                # It went with the server meanwhile.
                if not error.code.startswith("IncorrectEipStatus"):
                    raise

    def _is_there(self, kind: Kind, belonging: Belonging) -> bool:
        return any(row[kind.id] == belonging.id for row in self._rows(kind, belonging.tag))

    def _rows(self, kind: Kind, tag: tuple[str, str]) -> list[dict[str, Any]]:
        """All pages of what the listing has."""
        picked = {"Tag": [{"Key": tag[0], "Value": tag[1]}]} if kind.tag_filter else {}
        outer, inner = kind.rows.split(".")
        found: list[dict[str, Any]] = []
        for number in range(1, _MOST_PAGES + 1):
            page = {"PageNumber": number, "PageSize": kind.page}
            answer = self._api.call(kind.api, kind.list, **picked, **page)
            rows = (answer.get(outer) or {}).get(inner) or []
            found += rows
            if not rows or len(found) >= int(answer.get("TotalCount") or 0):
                return found
        raise Unreachable(SERVICE, f"{kind.api} {kind.list}", "its pages have no end")


def last_look(
    region: str, tag_value: str, config: Mapping[str, Any], seconds: float = LAST_LOOK_SECONDS
) -> str:
    """For the end of `pulumi destroy`: what bears the lab's tag still, in a sentence; "" for
    nothing.

    Args:
        region: "" takes the one of `config` or the environment.
        tag_value: the stack's name.
        config: the alicloud provider's settings; see `Api`.
        seconds: how long it may take in all. Never raises.
    """
    told = [f"nobody could look whether anything of it is left: no answer within {seconds:.0f} s"]

    def look() -> None:
        try:
            account = Account(region or region_of(config), config)
            found = account.belongings(OWN_TAG, tag_value)
            told[0] = _left(found, account.region) if found else ""
        except Exception as error:  # whatever it is, the destroy is over
            told[0] = f"nobody could look whether anything of it is left: {error}"

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(seconds)
    said = told[0]
    return said and f"{said}. To look, and to remove what is left: make sweep STACK={tag_value}"


def _left(found: Iterable[Belonging], region: str) -> str:
    paid = [str(one) for one in found if one.costs]
    free = [str(one) for one in found if not one.costs]
    what = f"in {region} still stands and costs: {'; '.join(paid)}" if paid else ""
    rest = f"in {region} still stands, free of charge: {'; '.join(free)}" if free else ""
    return " and ".join(part for part in (what, rest) if part)

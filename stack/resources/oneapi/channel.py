"""A channel: a source of models of one kind, proven by a request that goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, TypedDict

import pulumi

from provisioning.clients.http import (
    Busy,
    NotFound,
    RateLimited,
    Unexpected,
    Waiting,
    wait_until,
)
from provisioning.clients.oneapi import Channel as Row
from provisioning.clients.oneapi import (
    NoChannel,
    OneApiClient,
    OneApiRelay,
    UpstreamFailed,
    clean_models,
)
from stack.resources.base import LabResource, say
from stack.resources.declaration import OUTPUT, SECRET, Lab, Props
from stack.resources.oneapi.management import Managed

PROBE_SECONDS = 240.0
PROBE_POLL_SECONDS = 3.0
# An upstream that says one of these will say it again: wrong request, wrong key, no money.
_FINAL_UPSTREAM = frozenset({400, 401, 402, 403})


class Probe(TypedDict):
    """A real request that proves a channel: `kind` as in the catalogue, `relay_key` of root's."""

    kind: pulumi.Input[str]
    model: pulumi.Input[str]
    relay_key: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class Channel(Managed[Row]):
    """Upserts one channel by its exact name."""

    # Somebody made it again, with whatever key: ours has to be set.
    made_again: ClassVar[Mapping[str, Any] | None] = {"key": ""}

    type: int
    models: Sequence[str]
    key: Annotated[str, SECRET]
    base_url: str = ""
    model_mapping: Mapping[str, str] | None = None
    priority: int = 0
    probe: Annotated[Probe | None, SECRET] = None
    channel_id: Annotated[int, OUTPUT] = 0

    def create(self, lab: Lab) -> Channel:
        """Adopt or make it, and prove it."""
        made = super().create(lab)
        made._prove(lab)
        return made

    def update(self, lab: Lab, old: Channel, changed: frozenset[str]) -> Channel:
        """Set it right and prove it; another proof alone touches no channel."""
        made = self if changed == {"probe"} else super().update(lab, old, changed)
        made._prove(lab)
        return made

    def changes(self, old: Channel) -> frozenset[str]:
        """As ever, but which key a probe uses is only a way to the proof."""
        changed = super().changes(old)
        same = _proof(self.probe) == _proof(old.probe)
        return changed - {"probe"} | {"access_token"} if same and "probe" in changed else changed

    def named(self, client: OneApiClient) -> Sequence[Row]:
        """See `NamedThing.named`."""
        return client.channels_named(self.name)

    def find(self, client: OneApiClient) -> Row | None:
        """See `NamedThing.find`."""
        try:
            return client.channel(self.channel_id) if self.channel_id else None
        except NotFound:
            return None

    def make(self, client: OneApiClient) -> Row:
        """See `NamedThing.make`."""
        return self._wanted(client.create_channel(self._wanted()))

    def set_right(self, client: OneApiClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        """See `NamedThing.set_right`."""
        client.update_channel(found.id, self._wanted())
        return self._wanted(found.id)

    def put_aside(self, client: OneApiClient, other: Row) -> None:
        """See `NamedThing.put_aside`."""
        client.delete_channel(other.id)

    def seen(self, found: Row) -> Channel:
        """What the channel is; an equal value keeps the form it was given in."""
        wanted = self._wanted()
        shown = {
            name: getattr(found, name)
            for name in ("name", "type", "base_url", "models", "model_mapping", "priority")
            if getattr(found, name) != getattr(wanted, name)
        }
        return replace(self, **shown, status=found.status, channel_id=found.id)

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """What OneAPI would refuse, or take and never route."""
        if "key" in news and not str(news["key"]).strip():
            yield "key", "OneAPI refuses an empty key; Xinference takes any"
        if "models" in news and not clean_models(news["models"]):
            yield "models", "a channel needs at least one model"
        if str(news.get("base_url") or "").rstrip("/").endswith("/v1"):
            yield "base_url", "OneAPI adds /v1 itself; leave it out"
        unrouted = sorted(set(news.get("model_mapping") or {}) - set(news.get("models") or []))
        if "models" in news and unrouted:
            yield "model_mapping", f"{', '.join(unrouted)} must be in models too"

    def _wanted(self, channel_id: int = 0) -> Row:
        return Row(
            id=channel_id,
            name=self.name,
            type=self.type,
            base_url=self.base_url.rstrip("/"),
            models=clean_models(self.models),
            model_mapping=dict(self.model_mapping or {}),
            priority=self.priority,
            key=self.key,
        )

    def _prove(self, lab: Lab) -> None:
        """Send the probe until it goes through this channel, then until its model's name routes.

        By name alone, a channel made by hand that lists the same model could answer for ours, or
        fail for it; through ours alone, nothing shows that users reach it.
        """
        if not self.probe:
            return
        kind, model = str(self.probe["kind"]), str(self.probe["model"])
        with self._relay(lab, self.probe, self.channel_id) as relay:
            self._wait(
                lab,
                f"a {kind} request for {model} to go through channel {self.name}",
                lambda: _try(relay, kind, model),
                "is the model served (Xinference), and are the provider's key, address and model "
                "name right? OneAPI's web page shows the channel",
            )
        with self._relay(lab, self.probe, None) as relay:
            self._wait(
                lab,
                f"a {kind} request for {model} to be routed",
                lambda: _try_by_name(relay, kind, model),
                f"channel {self.name} itself answers. If another channel lists {model}, one "
                "made by hand, delete it in OneAPI's web page",
            )

    def _relay(self, lab: Lab, probe: Probe, channel_id: int | None) -> OneApiRelay:
        return OneApiRelay(
            lab.address(self.endpoint),
            str(probe["relay_key"]),
            channel_id=channel_id,
            transport=lab.transport,
            clock=lab.clock,
        )

    def _wait(self, lab: Lab, what: str, look: Callable[[], bool | Waiting], advice: str) -> None:
        wait_until(
            what,
            look,
            service=OneApiRelay.service,
            deadline=PROBE_SECONDS,
            advice=advice,
            every=PROBE_POLL_SECONDS,
            clock=lab.clock,
            progress=say(f"channel {self.name}"),
        )


def _try(relay: OneApiRelay, kind: str, model: str) -> bool | Waiting:
    try:
        relay.probe(kind, model)
    except UpstreamFailed as error:
        if error.connected and error.status in _FINAL_UPSTREAM:
            raise
        return Waiting(error.answer)
    except (NoChannel, NotFound, Busy, RateLimited, Unexpected) as error:
        return Waiting(error.answer)
    return True


def _try_by_name(relay: OneApiRelay, kind: str, model: str) -> bool | Waiting:
    try:
        return _try(relay, kind, model)
    except UpstreamFailed as error:
        # Ours has just answered: this is somebody else's, and chance may choose ours next time.
        return Waiting(error.answer)


def _proof(probe: Probe | None) -> object:
    return (probe["kind"], probe["model"]) if probe else None


class OneApiChannel(LabResource, thing=Channel, token="oneapi:Channel"):
    """One channel.

    Args:
        name: exact, unique; an existing channel of that name is adopted, namesakes are removed.
        type: OneAPI's channel type id (1 for Xinference).
        base_url: without path; "" for the vendor's own address.
        models: public names; blanks stripped, each once whatever its case.
        model_mapping: public name -> upstream name.
        key: the upstream's API key; never empty (a dummy for Xinference).
        priority: the highest wins.
        probe: the request that must go through before the channel counts as made; None skips it.

    Outputs: `channel_id`, `status` (1 enabled), `namesakes`.
    """

"""A channel: a source of models of one kind, proven by a request that goes through it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from provisioning.clients.errors import Busy, NotFound, RateLimited, Unexpected
from provisioning.clients.oneapi import Channel as Row
from provisioning.clients.oneapi import NoChannel, OneApiClient, OneApiRelay, UpstreamFailed
from provisioning.clients.waiting import Waiting, wait_until
from stack.resources.base import LabResource, say
from stack.resources.declaration import REACH, SECRET, Lab, Props
from stack.resources.oneapi.management import Managed

PROBE_SECONDS = 240.0
PROBE_POLL_SECONDS = 3.0
# An upstream that says one of these will say it again: wrong request, wrong key, no money.
_FINAL_UPSTREAM = frozenset({400, 401, 402, 403})


@dataclass(frozen=True, kw_only=True)
class Channel(Managed[Row]):
    """One channel of this exact name, which is unique; `status` is 1 where it is enabled.

    Args:
        type: OneAPI's channel type id (1 for Xinference).
        base_url: without path; "" for the vendor's own address.
        models: public names; blanks stripped, each once whatever its case.
        model_mapping: public name -> upstream name.
        key: the upstream's API key; never empty; Xinference's is the one that Caddy asks for.
        priority: the highest wins.
        kind, probe: of the model asked before the channel counts as made; probe "" skips it.
        relay_key: asks it; one of root's, because only those may choose a channel.
    """

    # Somebody made it again, with whatever key: ours has to be set.
    made_again: ClassVar[Mapping[str, Any] | None] = {"key": ""}

    type: int
    kind: str
    key: Annotated[str, SECRET]
    base_url: str = ""
    model_mapping: Mapping[str, str] | None = None
    priority: int = 0
    probe: str = ""
    relay_key: Annotated[str, REACH, SECRET] = ""

    def create(self, lab: Lab) -> "Channel":
        """Adopt or make it, and prove it."""
        made = super().create(lab)
        made._prove(lab)
        return made

    def update(self, lab: Lab, old: "Channel", changed: frozenset[str]) -> "Channel":
        """Set it right and prove it; another proof alone touches no channel."""
        made = self if changed <= {"kind", "probe"} else super().update(lab, old, changed)
        made._prove(lab)
        return made

    def named(self, client: OneApiClient) -> Sequence[Row]:
        return client.channels_named(self.name)

    def find(self, client: OneApiClient) -> Row:
        return client.channel(self.object_id)

    def make(self, client: OneApiClient) -> Row:
        return self.wanted(client.create_channel(self.wanted()))

    def set_right(self, client: OneApiClient, found: Row, changed: frozenset[str] | None) -> Row:  # noqa: ARG002
        client.update_channel(found.id, self.wanted())
        return self.wanted(found.id)

    def put_aside(self, client: OneApiClient, other: Row) -> None:
        client.delete_channel(other.id)

    @classmethod
    def check(cls, olds: Props, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """A secret that was set to nothing; the settings know that there is one, not what it is."""
        if "key" in news and not str(news["key"]).strip():
            yield "key", "OneAPI refuses an empty key; set the secret again"

    def wanted(self, object_id: int = 0) -> Row:
        base_url = self.base_url.rstrip("/")
        return Row.model_validate({**self.told(object_id), "base_url": base_url})

    def _prove(self, lab: Lab) -> None:
        """Send the probe until it goes through this channel, then until its model's name routes.

        By name alone, a channel made by hand that lists the same model could answer for ours, or
        fail for it; through ours alone, nothing shows that users reach it.
        """
        if not self.probe:
            return
        self._await(
            lab,
            f"to go through channel {self.name}",
            "is the model served (Xinference), and are the provider's key, address and model name "
            "right? OneAPI's web page shows the channel",
            channel_id=self.object_id,
        )
        # Ours has just answered: what fails now is somebody else's, and chance may choose ours yet.
        self._await(
            lab,
            "to be routed",
            f"channel {self.name} itself answers. If another channel lists {self.probe}, one made "
            "by hand, delete it in OneAPI's web page",
        )

    def _await(self, lab: Lab, what: str, advice: str, channel_id: int | None = None) -> None:
        """Send the probe, through one channel or any, until it is answered or finally refused."""

        def look() -> bool | Waiting:
            try:
                relay.probe(self.kind, self.probe)
            except UpstreamFailed as error:
                if channel_id and error.connected and error.status in _FINAL_UPSTREAM:
                    raise
                return Waiting(error.answer)
            except (NoChannel, NotFound, Busy, RateLimited, Unexpected) as error:
                return Waiting(error.answer)
            return True

        address = lab.address(self.endpoint)
        with OneApiRelay(address, self.relay_key, channel_id=channel_id, **lab.options) as relay:
            wait_until(
                f"a {self.kind} request for {self.probe} {what}",
                look,
                service=relay.service,
                deadline=PROBE_SECONDS,
                advice=advice,
                every=PROBE_POLL_SECONDS,
                clock=lab.clock,
                progress=say(f"channel {self.name}"),
            )


class OneApiChannel(LabResource, thing=Channel, token="oneapi:Channel"):
    pass

"""What `make status` makes of what it saw: causes before effects, each wrong thing with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeAlias, TypeVar

from provisioning.clients.errors import shorten
from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.oneapi import ENABLED, Channel
from provisioning.clients.xinference import advice_for
from provisioning.releases import verdict
from provisioning.remote import Container
from tools.account import InCloud
from tools.look import Facts, Failed, GpuMemory, Maybe, Xinference
from tools.standing import (
    Lab,
    ServedModel,
    Stack,
    destroy_command,
    sweep_command,
    up_command,
)

T = TypeVar("T")

RENEW_BELOW = timedelta(minutes=40)
"""`up` renews a lease that has less left (stack/resources/server.py)."""

_CHANNEL_STATES = {2: "disabled by hand", 3: "disabled by OneAPI, because it kept failing"}


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        what, name, state: its cells.
        advice: what to do; there only where something is wrong.
        known: False where nobody could look, because of something that is wrong elsewhere.
    """

    what: str
    name: str
    state: str
    advice: str = ""
    known: bool = True

    @property
    def wrong(self) -> bool:
        """Whether this is not as it should be."""
        return bool(self.advice)

    @property
    def sign(self) -> str:
        """Stands beside the colour, because a pipe has none."""
        if self.wrong:
            return "!!"
        return "ok" if self.known else "?"


def examine(facts: Facts) -> list[Finding]:
    """What to show, causes before effects: the first wrong one is the one to begin with."""
    lab, mend = facts.lab, _mend(facts.lab)
    docker = "See `systemctl status docker` on the server; `sshCommand` is among the outputs."
    gpu = (
        "Reboot the server (`reboot` by SSH): driver and kernel meet anew at its start, and "
        "containers and models come back."
    )
    # One cause, one line: what keeps it from its containers keeps it from its cards.
    twice = isinstance(facts.containers, Failed) and isinstance(facts.gpus, Failed)
    gateway = f"OneAPI must answer before any model is routed. {mend}"
    return [
        _lease(facts),
        _server(facts),
        *account_findings(lab.stack, facts.account),
        *_seen(facts.containers, "container", "Docker", docker, partial(_containers, mend)),
        *_seen(None if twice else facts.gpus, "GPU", "", gpu, _gpus),
        *_seen(facts.channels, "channel", "OneAPI", gateway, partial(_channels, lab)),
        *_service("Xinference", facts.xinference, mend),
        *_service("FastGPT", facts.fastgpt, mend),
        *(_model(facts, model) for model in lab.models),
        *_releases(lab),
        _cost(facts),
    ]


def _seen(
    found: Maybe[T], what: str, name: str, advice: str, tell: Callable[[T], Iterable[Finding]]
) -> Iterable[Finding]:
    """What `tell` makes of it; one wrong line where nobody could look."""
    if found is None:
        return ()
    return [Finding(what, name, found.reason, advice)] if isinstance(found, Failed) else tell(found)


def _lease(facts: Facts) -> Finding:
    lab = facts.lab
    if lab.lease_ends is None:
        return Finding("lease", "", f"none: it ends with {destroy_command(lab.stack)} only")
    left = lab.lease_ends - facts.now
    ends = lab.lease_ends.strftime("%Y-%m-%d %H:%M UTC")
    if left <= timedelta(0):
        advice = (
            f"The cloud has released the server. {up_command(lab.stack)} builds it "
            f"anew, {destroy_command(lab.stack)} clears the rest away."
        )
        return Finding("lease", "", f"ended {ends}", advice)
    renew = f"; {up_command(lab.stack)} renews it" if left < RENEW_BELOW else ""
    return Finding("lease", "", f"ends {ends}, {_span(left)} left{renew}")


def _server(facts: Facts) -> Finding:
    lab = facts.lab
    if facts.server is None:
        return Finding("server", lab.server.host, "answers by SSH")
    if isinstance(facts.account, InCloud) and facts.account.gone:
        state = f"the cloud has it no more: {', '.join(facts.account.gone)}"
        advice = (
            "Its lease has ended, spot has taken it back, or somebody released it. "
            f"{up_command(lab.stack)} builds a new one."
        )
        return Finding("server", lab.server.host, state, advice)
    if not facts.server.silent:
        advice = "Nothing else can be looked at before that is settled."
    elif lab.stack.rehearsed:
        advice = f"Its world may have ended in part: {up_command(lab.stack)}."
    else:
        advice = (
            "Your own address may have changed: compare `curl -4 https://ifconfig.me` with "
            f"allowedCidrs in Pulumi.{lab.stack.name}.yaml; after a change there, "
            f"{up_command(lab.stack)} opens the door. Else see in the cloud's console whether the "
            "server still runs: its lease may have ended, or spot have taken it back."
        )
    return Finding("server", lab.server.host, facts.server.reason, advice)


def account_findings(stack: Stack, found: Maybe[InCloud]) -> Iterator[Finding]:
    """What the region has of the lab beside what its state knows."""
    if isinstance(found, Failed):
        yield Finding("account", "", f"not known: {found.reason}", known=False)
    elif found is not None and not found.leftovers:
        state = "nothing bears the lab's tag that its state does not know"
        yield Finding("account", found.region, state)
    elif found is not None:
        advice = (
            f"It is in no state that is kept where you logged in: {sweep_command(stack)} shows it, "
            "and removes it when you say so."
        )
        for each in found.leftovers:
            named = f"{each.name}, " if each.name not in ("", each.id) else ""
            costs = "costs" if each.costs else "free of charge"
            state = f"in no state: {named}since {each.created}, {costs}"
            yield Finding("leftover", f"{each.kind} {each.id}", state, advice)


def _containers(mend: str, found: Sequence[Container]) -> Iterator[Finding]:
    for container in found:
        name = container.name
        if container.healthy:
            advice = ""
        elif not container.state:
            advice = mend
        elif "health: starting" in container.status:
            advice = f"It starts: look again in some minutes. Its words: {_words(name)}. {mend}"
        else:
            advice = f"It cannot do its work. Its last words: {_words(name)}. {mend}"
        state = container.status or container.state or "is not there"
        yield Finding("container", name, state, advice)


def _gpus(found: Sequence[GpuMemory]) -> Iterator[Finding]:
    for number, gpu in enumerate(found):
        share = 100 * gpu.used // max(gpu.total, 1)
        state = f"{gpu.used} of {gpu.total} MiB used ({share} %)"
        yield Finding("GPU", f"{number} {gpu.name}", state)


def _channels(lab: Lab, found: Sequence[Channel]) -> Iterator[Finding]:
    ours = {model.name for model in lab.models}
    for channel in found:
        enabled = channel.status == ENABLED
        state = _CHANNEL_STATES.get(channel.status, f"status {channel.status}")
        concerns = not enabled and ours & set(channel.models)
        yield Finding(
            "channel",
            channel.name,
            f"{'enabled' if enabled else state}: {', '.join(channel.models)}",
            _mend(lab) if concerns else "",
        )


def _service(name: str, found: Maybe[Xinference | InitData], mend: str) -> Iterable[Finding]:
    version = found if found is None or isinstance(found, Failed) else found.version
    advice = f"See {_words(name.lower())}. {mend}"
    return _seen(
        version,
        "service",
        name,
        advice,
        lambda v: [Finding("service", name, f"answers, version {v}")],
    )


def _model(facts: Facts, model: ServedModel) -> Finding:
    title = f"{model.name} ({model.kind})"
    for problem in (_not_served, _not_routed, _not_known):
        wrong = problem(facts, model)
        if wrong is not None:
            return Finding("model", title, *wrong)
    if facts.channels is None or any(
        isinstance(found, Failed) for found in (facts.channels, facts.xinference, facts.fastgpt)
    ):
        return Finding("model", title, "not known", known=False)
    if model.served_by == "xinference":
        return Finding("model", title, "served by Xinference")
    return Finding("model", title, f"routed to {model.served_by}")


_Wrong: TypeAlias = "tuple[str, str] | None"
"""State and advice, where something is wrong."""


def _not_served(facts: Facts, model: ServedModel) -> _Wrong:
    found = facts.xinference
    if model.served_by != "xinference" or not isinstance(found, Xinference):
        return None
    state = found.states[model.name]
    if state.standing == "serving":
        return None
    said = "it was never started" if state.standing == "absent" else shorten(str(state))
    advice = advice_for(said)
    advice = f"{advice[:1].upper()}{advice[1:]}. " if advice else ""
    return f"Xinference does not serve it: {said}", advice + _mend(facts.lab)


def _not_routed(facts: Facts, model: ServedModel) -> _Wrong:
    # FastGPT calls a reranker directly.
    if model.kind == "rerank" or facts.channels is None or isinstance(facts.channels, Failed):
        return None
    routed = (c for c in facts.channels if c.status == ENABLED and model.name in c.models)
    return None if any(routed) else ("no enabled channel of OneAPI has it", _mend(facts.lab))


def _not_known(facts: Facts, model: ServedModel) -> _Wrong:
    if not isinstance(facts.fastgpt, InitData):
        return None
    lists = {
        "chat": facts.fastgpt.llm,
        "embedding": facts.fastgpt.vector,
        "rerank": facts.fastgpt.rerank,
    }
    if model.kind not in lists or model.name in lists[model.kind]:
        return None
    return "FastGPT runs with models that lack it", _mend(facts.lab)


def _cost(facts: Facts) -> Finding:
    lab = facts.lab
    if lab.lease_started is None:
        return Finding("cost", "so far", "not known: the outputs do not say since when it runs")
    until = min(facts.now, lab.lease_ends) if lab.lease_ends else facts.now
    span = max(until - lab.lease_started, timedelta(0))
    if lab.hourly_price is None:
        state = f"{_span(span)} so far, at a price that is not in the table: see the bill"
        return Finding("cost", "so far", state)
    cost = span / timedelta(hours=1) * lab.hourly_price
    state = (
        f"about {lab.currency} {cost:.2f}: {_span(span)} at {lab.hourly_price:.2f} an hour "
        "(an estimate from list prices, without traffic)"
    )
    if lab.stack.rehearsed:
        state = f"nothing, it is rehearsed; in the cloud {state}"
    return Finding("cost", "so far", state)


def _releases(lab: Lab) -> Iterator[Finding]:
    """What is known today of what runs: said, and no fault of the lab's."""
    for part, release in sorted(lab.releases.items()):
        found = verdict(part, release)
        holes = f", has {', '.join(hole.id for hole in found.holes)}" if found.holes else ""
        yield Finding("release", f"{part} {release}", f"{found.word}{holes}")


def _mend(lab: Lab) -> str:
    if lab.stack.rehearsed:
        return f"To have it right again: {up_command(lab.stack)}."
    return f"{up_command(lab.stack, '--refresh')} puts it right."


def _words(container: str) -> str:
    return f"`docker logs --tail 50 {container}` on the server"


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"

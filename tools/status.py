"""`make status`: what stands, what it serves, what it costs, and what is wrong first.

python -m tools.status          STACK=name in the environment

First everything is gathered, each look with a deadline; then it is examined; then it is shown. The
exit code: 0 nothing is wrong, 1 something is, 2 there is no lab.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Generic, TypeAlias, TypeVar

import httpx
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.http import ServiceError, Unreachable, shorten
from provisioning.clients.oneapi import ENABLED, Channel, OneApiClient
from provisioning.clients.xinference import ModelState, XinferenceClient, advice_for
from provisioning.remote import Container
from provisioning.tunnel import open_tunnel
from tools.standing import (
    Lab,
    NoLab,
    Ran,
    ServedModel,
    destroy_command,
    find_lab,
    port_of,
    run_on,
    up_command,
)

T = TypeVar("T")

LOOK_SECONDS = 8.0
"""How long anything on the server, or the way to it, may take to answer."""

RENEW_BELOW = timedelta(minutes=40)
"""`up` renews a lease that has less left (stack/resources/server.py)."""

WIDTH_WHEN_PIPED = 120

# Databases first: what they lack, the others lack too.
_CONTAINERS = ("pg", "mongo", "mysql", "sandbox", "oneapi", "fastgpt")
_PS = "docker ps --all --format '{{.Names}}|{{.State}}|{{.Status}}'"
_SMI = "nvidia-smi --query-gpu=name,memory.used,memory.total --format=csv,noheader,nounits"
_NOT_FOUND = 127
_CHANNEL_STATES = {2: "disabled by hand", 3: "disabled by OneAPI, because it kept failing"}


@dataclass(frozen=True)
class Failed:
    """Nobody could look; `reason` is for the operator. `silent`: there was no answer at all."""

    reason: str
    silent: bool = False


@dataclass(frozen=True)
class GpuMemory:
    """Memory of one GPU in MiB."""

    name: str
    used: int
    total: int


@dataclass(frozen=True)
class Xinference:
    """What Xinference serves, and why it does not serve the rest of the catalogue.

    Attributes:
        version: such as `2.12.0`.
        serving: uids.
        others: uid to how it stands; "" where Xinference does not know it.
    """

    version: str
    serving: frozenset[str]
    others: Mapping[str, str] = field(default_factory=dict)


Maybe: TypeAlias = "T | Failed | None"


@dataclass(frozen=True)
class Facts:
    """Everything that was found; None was not looked at, because what comes before it failed."""

    lab: Lab
    now: datetime
    server: Failed | None = None
    containers: Maybe[tuple[Container, ...]] = None
    gpus: Maybe[tuple[GpuMemory, ...]] = None
    xinference: Maybe[Xinference] = None
    channels: Maybe[tuple[Channel, ...]] = None
    fastgpt: Maybe[InitData] = None


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


@dataclass(frozen=True)
class Way:
    """How the server is reached.

    Attributes:
        url: from a port of the server to a base URL of this machine.
        run: runs commands on the server.
        transport: replaces the network in tests.
    """

    url: Callable[[int], str]
    run: Callable[[Sequence[str]], list[Ran]]
    transport: httpx.BaseTransport | None = None


def way_to(lab: Lab) -> Way:
    """The way through the tunnel, and through SSH."""
    return Way(
        url=lambda port: open_tunnel(lab.server, port),
        run=lambda commands: run_on(lab.server, commands, LOOK_SECONDS),
    )


# -- gather -------------------------------------------------------------------------------------


def gather(lab: Lab, way: Way, now: datetime, seconds: float = LOOK_SECONDS) -> Facts:
    """Look at everything, side by side once the server answers; takes twice `seconds` at most."""
    reached = _Look(lambda: way.url(port_of(lab.fastgpt_url)), seconds).result()
    if isinstance(reached, Failed):
        return Facts(lab, now, server=reached)
    on_server = _Look(lambda: way.run([_PS, _SMI]), seconds)
    channels = _Look(lambda: _channels(lab, way, seconds), seconds)
    fastgpt = _Look(lambda: _fastgpt(lab, way, seconds), seconds)
    xinference = None
    if lab.xinference_url:
        xinference = _Look(lambda: _xinference(lab, way, seconds), seconds)
    ran = on_server.result()
    return Facts(
        lab,
        now,
        containers=ran if isinstance(ran, Failed) else containers_of(ran[0]),
        gpus=ran if isinstance(ran, Failed) else gpus_of(ran[1]),
        xinference=xinference.result() if xinference else None,
        channels=channels.result(),
        fastgpt=fastgpt.result(),
    )


def containers_of(ran: Ran) -> tuple[Container, ...] | Failed:
    """What `docker ps` told."""
    if ran.code:
        return Failed(shorten(ran.errors or f"docker ps ended with code {ran.code}"))
    rows = [line.split("|", 2) for line in ran.output.splitlines() if line.count("|") >= 2]
    return tuple(Container(name, state, status) for name, state, status in rows)


def gpus_of(ran: Ran) -> tuple[GpuMemory, ...] | Failed:
    """What `nvidia-smi` told; nothing where the server has no such command."""
    if ran.code == _NOT_FOUND:
        return ()
    if ran.code:
        # It complains on the other stream.
        said = ran.errors or ran.output or f"nvidia-smi ended with code {ran.code}"
        return Failed(shorten(said))
    rows = [line.rsplit(", ", 2) for line in ran.output.splitlines() if line.strip()]
    try:
        return tuple(GpuMemory(name, int(used), int(total)) for name, used, total in rows)
    except ValueError:
        return Failed(shorten(f"nvidia-smi said: {ran.output}"))


def _channels(lab: Lab, way: Way, seconds: float) -> tuple[Channel, ...]:
    with OneApiClient(
        way.url(port_of(lab.oneapi_url)),
        access_token=lab.access_token,
        retry_seconds=0,
        answer_seconds=seconds,
        transport=way.transport,
    ) as client:
        return tuple(sorted(client.channels(), key=lambda channel: channel.name))


def _fastgpt(lab: Lab, way: Way, seconds: float) -> InitData:
    with FastGptClient(
        way.url(port_of(lab.fastgpt_url)),
        retry_seconds=0,
        answer_seconds=seconds,
        transport=way.transport,
    ) as client:
        return client.init_data()


def _xinference(lab: Lab, way: Way, seconds: float) -> Xinference:
    with XinferenceClient(
        way.url(port_of(lab.xinference_url)),
        retry_seconds=0,
        answer_seconds=seconds,
        transport=way.transport,
    ) as client:
        wanted = sorted(model.name for model in lab.models if model.served_by == "xinference")
        # Not by the list of models: one whose process died stands there as well.
        states = {uid: client.state(uid) for uid in wanted}
        serving = frozenset(uid for uid, state in states.items() if state.standing == "serving")
        others = {uid: _why_not(states[uid]) for uid in wanted if uid not in serving}
        return Xinference(client.version(), serving, others)


def _why_not(state: ModelState) -> str:
    return "" if state.standing == "absent" else shorten(str(state))


class _Look(Generic[T]):
    """A look that is under way, in a thread that nobody has to wait for."""

    def __init__(self, work: Callable[[], T], seconds: float) -> None:
        self._seconds = seconds
        self._found: T | Failed = Failed(f"no answer within {seconds:.0f} s", silent=True)
        self._thread = threading.Thread(target=self._look, args=(work,), daemon=True)
        self._thread.start()

    def result(self) -> T | Failed:
        """What was found, in time or not."""
        self._thread.join(self._seconds)
        return self._found

    def _look(self, work: Callable[[], T]) -> None:
        try:
            self._found = work()
        except ServiceError as error:
            self._found = Failed(error.answer, silent=isinstance(error, Unreachable))
        except Exception as error:  # a look that breaks must not take the others with it
            self._found = Failed(shorten(f"{type(error).__name__} {error}".strip()))


# -- examine ------------------------------------------------------------------------------------


def examine(facts: Facts) -> list[Finding]:
    """What to show, causes before effects: the first wrong one is the one to begin with."""
    return [
        _lease(facts),
        _server(facts),
        *_container_findings(facts),
        *_gpu_findings(facts),
        *_channel_findings(facts),
        *_service_findings(facts),
        *(_model(facts, model) for model in facts.lab.models),
        _cost(facts),
    ]


def _lease(facts: Facts) -> Finding:
    lab = facts.lab
    if lab.lease_ends is None:
        return Finding("lease", "", f"none: it ends with {destroy_command(lab.stack)} only")
    left = lab.lease_ends - facts.now
    ends = lab.lease_ends.strftime("%Y-%m-%d %H:%M UTC")
    if left <= timedelta(0):
        advice = "The cloud has released the server. "
        advice += f"{up_command(lab.stack, '--refresh')} builds it anew, "
        advice += f"{destroy_command(lab.stack)} clears the rest away."
        return Finding("lease", "", f"ended {ends}", advice)
    renew = f"; {up_command(lab.stack)} renews it" if left < RENEW_BELOW else ""
    return Finding("lease", "", f"ends {ends}, {_span(left)} left{renew}")


def _server(facts: Facts) -> Finding:
    lab = facts.lab
    if facts.server is None:
        return Finding("server", lab.server.host, "answers by SSH")
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


def _container_findings(facts: Facts) -> Iterator[Finding]:
    found = facts.containers
    if found is None:
        return
    if isinstance(found, Failed):
        advice = "See `systemctl status docker` on the server; `sshCommand` is among the outputs."
        yield Finding("container", "Docker", found.reason, advice)
        return
    by_name = {container.name: container for container in found}
    for name in _expected(facts.lab):
        yield _container(facts.lab, name, by_name.get(name))


def _expected(lab: Lab) -> tuple[str, ...]:
    return (*_CONTAINERS[:-1], "xinference", "fastgpt") if lab.xinference_url else _CONTAINERS


def _container(lab: Lab, name: str, container: Container | None) -> Finding:
    if container is None:
        return Finding("container", name, "is not there", _mend(lab))
    if container.healthy:
        return Finding("container", name, container.status)
    if "health: starting" in container.status:
        advice = "It starts: look again in some minutes. Its words: "
    else:
        advice = "It cannot do its work. Its last words: "
    advice += f"`docker logs --tail 50 {name}` on the server. {_mend(lab)}"
    return Finding("container", name, container.status or container.state, advice)


def _gpu_findings(facts: Facts) -> Iterator[Finding]:
    found = facts.gpus
    if found is None or (isinstance(found, Failed) and isinstance(facts.containers, Failed)):
        return
    if isinstance(found, Failed):
        advice = "Reboot the server (`reboot` by SSH): driver and kernel meet anew at its start, "
        yield Finding("GPU", "", found.reason, f"{advice}and containers and models come back.")
        return
    for number, gpu in enumerate(found):
        share = 100 * gpu.used // max(gpu.total, 1)
        state = f"{gpu.used} of {gpu.total} MiB used ({share} %)"
        yield Finding("GPU", f"{number} {gpu.name}", state)


def _channel_findings(facts: Facts) -> Iterator[Finding]:
    found = facts.channels
    if found is None:
        return
    if isinstance(found, Failed):
        advice = f"OneAPI must answer before any model is routed. {_mend(facts.lab)}"
        yield Finding("channel", "OneAPI", found.reason, advice)
        return
    ours = {model.name for model in facts.lab.models}
    for channel in found:
        listed = ", ".join(channel.models)
        if channel.status == ENABLED:
            yield Finding("channel", channel.name, f"enabled: {listed}")
            continue
        state = f"{_CHANNEL_STATES.get(channel.status, f'status {channel.status}')}: {listed}"
        concerns = ours & set(channel.models)
        yield Finding("channel", channel.name, state, _mend(facts.lab) if concerns else "")


def _service_findings(facts: Facts) -> Iterator[Finding]:
    for name, found in (("Xinference", facts.xinference), ("FastGPT", facts.fastgpt)):
        if found is None:
            continue
        if isinstance(found, Failed):
            advice = f"See `docker logs --tail 50 {name.lower()}` on the server. {_mend(facts.lab)}"
            yield Finding("service", name, found.reason, advice)
        else:
            yield Finding("service", name, f"answers, version {found.version}")


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
    if model.name in found.serving:
        return None
    said = found.others.get(model.name, "")
    advice = advice_for(said)
    advice = f"{advice[:1].upper()}{advice[1:]}. " if advice else ""
    return f"Xinference does not serve it: {said or 'it was never started'}", advice + _mend(
        facts.lab
    )


def _not_routed(facts: Facts, model: ServedModel) -> _Wrong:
    # FastGPT calls a reranker directly.
    if model.kind == "rerank" or not isinstance(facts.channels, tuple):
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
    return "FastGPT runs with a config.json that lacks it", _mend(facts.lab)


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


def _mend(lab: Lab) -> str:
    if lab.stack.rehearsed:
        return f"To have it right again: {up_command(lab.stack)}."
    return f"{up_command(lab.stack, '--refresh')} puts it right."


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


# -- show ---------------------------------------------------------------------------------------


def show(console: Console, lab: Lab, findings: Sequence[Finding]) -> None:
    """Print the table, and what is wrong first."""
    table = Table(title=f"Lab {escape(lab.stack.title)}", title_justify="left", box=box.SIMPLE)
    for column in ("", "what", "name", "state"):
        table.add_column(column, overflow="fold")
    before = ""
    for finding in findings:
        if before and finding.what != before:
            table.add_section()
        cells = (finding.what, escape(finding.name), escape(finding.state))
        table.add_row(finding.sign, *cells, style="red" if finding.wrong else "")
        before = finding.what
    console.print(table)
    wrong = [finding for finding in findings if finding.wrong]
    if not wrong:
        console.print(f"[green]Nothing is wrong.[/green] Chat: {escape(lab.fastgpt_url)}")
        return
    first_wrong = wrong[0]
    named = " ".join(part for part in (first_wrong.what, first_wrong.name) if part)
    console.print(f"[red]Wrong first:[/red] {escape(f'{named}: {first_wrong.state}')}")
    console.print(f"What to do:  {escape(first_wrong.advice)}")
    if len(wrong) > 1:
        console.print(f"Then look again: {len(wrong) - 1} more lines are marked !!", style="dim")


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Look, and tell; returns the exit code."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_WHEN_PIPED)
    try:
        lab = find_lab(environ)
        facts = gather(lab, way_to(lab), datetime.now(timezone.utc))
    except NoLab as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    findings = examine(facts)
    show(console, lab, findings)
    return 1 if any(finding.wrong for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())

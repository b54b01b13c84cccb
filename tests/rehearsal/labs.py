"""A lab that is changed as its operator changes it, and what the engine says it did.

For tests that run several `up`s on one lab. Nothing here knows what a change should do.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rehearsal import stack_file
from rehearsal.engine import EngineError, Outcome
from rehearsal.lab import Lab, prepare
from rehearsal.probes import Probe
from rehearsal.processes import command_of, descendants
from tools.stack_file import config_of

PROJECT = "ai-lab"
# Whatever the settings are: the program's own dynamic provider takes them all.
PROVIDER = "pulumi-python default"
_IDLE = frozenset({"same", "read", "refresh"})
# Not things of their own: they group others, or only carry a connection.
_WITHOUT_SUBSTANCE = ("ailab:lab:", "pulumi:pulumi:")


@contextmanager
def lab_of(folder: Path, stack: str, **settings: Any) -> Iterator[Lab]:
    """A rehearsed lab before its first `up`; it ends with the block."""
    lab = prepare(folder, stack, changes=_full(settings))
    try:
        yield lab
    finally:
        lab.end()


def up(lab: Lab, *options: str) -> Outcome:
    done = lab.engine.up(*options)
    lab.outputs = lab.engine.outputs()
    return done


def settings_of(lab: Lab) -> dict[str, Any]:
    """The stack file as it is now: setting (without the project's name) to value."""
    config = config_of(lab.engine.stack_file)
    return {key.removeprefix(f"{PROJECT}:"): value for key, value in config.items()}


def change(lab: Lab, **settings: Any) -> None:
    """Write settings into the lab's stack file, as with an editor."""
    place = lab.engine.stack_file
    config = {**config_of(place), **_full(settings)}
    stack_file.write(place, config, like=place)


def done_to(outcome: Outcome) -> dict[str, set[str]]:
    """Resource (`Model m3e-base`) to what the engine did to it; the idle are left out."""
    found: dict[str, set[str]] = {}
    for operation, name in _operations(outcome, "resourcePreEvent", "resOutputsEvent"):
        found.setdefault(name, set()).add(operation)
    return found


def with_this_done(outcome: Outcome, *operations: str) -> set[str]:
    """The resources to which just this was done."""
    return {name for name, what in done_to(outcome).items() if what == set(operations)}


def order_of(outcome: Outcome) -> list[tuple[str, str]]:
    """`(operation, resource)` in the order in which the operations were finished."""
    return list(_operations(outcome, "resOutputsEvent"))


def concerned(outcome: Outcome) -> dict[str, set[str]]:
    """`done_to` all but what changes with every setting."""
    return {name: what for name, what in done_to(outcome).items() if name != PROVIDER}


def resources_of(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.engine.export()["deployment"]["resources"]
    return found


def refused(lab: Lab, attempt: Callable[[], Outcome]) -> str:
    """What the operator is told by a run that has to fail."""
    with pytest.raises(EngineError):
        attempt()
    return "\n".join(told(lab, "error"))


def told(lab: Lab, severity: str) -> list[str]:
    """The last run's `error`s or `warning`s, without the known holes, which every run tells.

    A dynamic resource has no other way to warn than a line on stderr that says so.
    """
    said = list(_said(lab))
    lines = [line for how, text in said if how == "info#err" for line in text.splitlines()]
    here = [text for how, text in said if how == severity and "has known holes" not in text]
    return here + [line for line in lines if line.startswith(f"{severity}: ")]


def everything_told(lab: Lab) -> str:
    """All that the last run showed its operator beside its progress."""
    return "\n".join(text for how, text in _said(lab) if how != "debug")


def _said(lab: Lab) -> Iterator[tuple[str, str]]:
    log = max((lab.engine.folder / "events").iterdir())
    for line in log.read_text().splitlines():
        event = json.loads(line).get("diagnosticEvent")
        if event:
            yield event["severity"], event["message"]


def kill_the_up(lab: Lab, moment: str) -> None:
    """Kill `pulumi up` when it prints this (an expression), and take its lock away."""
    cut(lab, moment, lab.engine.up)
    assert not list(lab.folder.rglob("*.attrs")), "a kill can leave one of these half written"
    pulumi(lab, "cancel", "--yes")


def cut(
    lab: Lab,
    moment: str,
    run: Callable[[], object],
    whom: str = "pulumi ",
    how: signal.Signals = signal.SIGKILL,
    times: int = 1,
) -> None:
    """Send the processes of that command a signal when the run prints this, and at further lines so
    many times; it has to fail."""
    seen: list[str] = []

    def on_line(line: str) -> None:
        begun = bool(seen) or re.search(moment, " ".join(line.split()))
        if begun and len(seen) < times:
            seen.append(line)
            for pid in descendants(os.getpid()):
                command = command_of(pid)
                if command.startswith(whom) or (whom[0] == "-" and whom in command):
                    os.kill(pid, how)

    lab.engine.on_line = on_line
    try:
        with pytest.raises(EngineError):
            run()
    finally:
        lab.engine.on_line = lambda line: None
    assert len(seen) == times, f"the run never came to: {moment}"


def pulumi(lab: Lab, *arguments: str) -> str:
    return lab.engine._run([*arguments, "--stack", lab.engine.stack], quiet=True)


def ask(lab: Lab) -> dict[str, Any]:
    """The lab's question through its first share link: `{question, answer, citations}`."""
    question = settings_of(lab)["knowledge"]["question"]["ask"]
    with Probe(lab.outputs) as probe:
        return probe.ask(next(iter(lab.outputs["shareLinks"].values())), question)


def bill(lab: Lab) -> list[str]:
    return [line["what"] for line in lab.world.call("bill")["billable"]]


def _full(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key if ":" in key else f"{PROJECT}:{key}": value for key, value in settings.items()}


def _operations(outcome: Outcome, *kinds: str) -> Iterator[tuple[str, str]]:
    for event in outcome.events():
        for kind in kinds:
            metadata = (event.get(kind) or {}).get("metadata")
            if metadata and metadata["op"] not in _IDLE:
                token, name = metadata["type"], metadata["urn"].rsplit("::", 1)[-1]
                if not token.startswith(_WITHOUT_SUBSTANCE):
                    yield metadata["op"], f"{token.rsplit(':', 1)[-1]} {name}"

"""A lab that is changed as its operator changes it, and what the engine says it did.

For tests that run several `up`s on one lab. Nothing here knows what a change should do.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rehearsal import stack_file
from rehearsal.engine import EngineError, Outcome
from rehearsal.lab import Lab, prepare
from rehearsal.probes import Probe

PROJECT = "ai-lab"
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
    """`pulumi up`, and the outputs it left."""
    done = lab.engine.up(*options)
    lab.outputs = lab.engine.outputs()
    return done


def settings_of(lab: Lab) -> dict[str, Any]:
    """The stack file as it is now: setting (without the project's name) to value."""
    config = stack_file.read(lab.engine.stack_file)
    return {key.removeprefix(f"{PROJECT}:"): value for key, value in config.items()}


def change(lab: Lab, **settings: Any) -> None:
    """Write settings into the lab's stack file, as with an editor."""
    place = lab.engine.stack_file
    config = {**stack_file.read(place), **_full(settings)}
    stack_file.write(place, config, stack_file.encryption_of(place))


def set_secret(lab: Lab, name: str, value: str) -> None:
    """`pulumi config set --secret`; the value is a placeholder, and is handed over by stdin."""
    engine = lab.engine
    place = ["--stack", engine.stack, "--config-file", str(engine.stack_file)]
    subprocess.run(
        ["pulumi", "config", "set", "--secret", name, *place, "--non-interactive"],
        cwd=engine.program,
        env=engine.environment,
        input=value,
        text=True,
        capture_output=True,
        check=True,
    )


def done_to(outcome: Outcome) -> dict[str, set[str]]:
    """Resource (`Model m3e-base`) to what the engine did to it; the idle are left out."""
    found: dict[str, set[str]] = {}
    for event in outcome.events():
        for kind in ("resourcePreEvent", "resOutputsEvent"):
            metadata = (event.get(kind) or {}).get("metadata")
            if metadata and metadata["op"] not in _IDLE:
                name = _name(metadata)
                if name:
                    found.setdefault(name, set()).add(metadata["op"])
    return found


def order_of(outcome: Outcome) -> list[tuple[str, str]]:
    """`(operation, resource)` in the order in which the operations were finished."""
    finished = []
    for event in outcome.events():
        metadata = (event.get("resOutputsEvent") or {}).get("metadata")
        if metadata and metadata["op"] not in _IDLE and (name := _name(metadata)):
            finished.append((metadata["op"], name))
    return finished


def refused(lab: Lab, attempt: Callable[[], Outcome]) -> str:
    """What the operator is told by a run that has to fail.

    Raises:
        AssertionError: it did not fail.
    """
    try:
        attempt()
    except EngineError:
        return "\n".join(told(lab, "error"))
    raise AssertionError("it went through, and should have been refused")


def told(lab: Lab, severity: str) -> list[str]:
    """The last run's `error`s or `warning`s.

    A dynamic resource has no other way to warn than a line on stderr that says so.
    """
    said = list(_said(lab))
    lines = [line for how, text in said if how == "info#err" for line in text.splitlines()]
    return [text for how, text in said if how == severity] + [
        line for line in lines if line.startswith(f"{severity}: ")
    ]


def everything_told(lab: Lab) -> str:
    """All that the last run showed its operator beside its progress."""
    return "\n".join(text for how, text in _said(lab) if how != "debug")


def _said(lab: Lab) -> Iterator[tuple[str, str]]:
    log = max((lab.engine.folder / "events").iterdir())
    for line in log.read_text().splitlines():
        event = json.loads(line).get("diagnosticEvent")
        if event:
            yield event["severity"], event["message"]


def question_of(lab: Lab) -> str:
    """The question that the lab's settings ask."""
    return str(settings_of(lab)["knowledge"]["question"]["ask"])


def ask(lab: Lab) -> dict[str, Any]:
    """The lab's question through its first share link: `{question, answer, citations}`."""
    with Probe(lab.outputs) as probe:
        return probe.ask(next(iter(lab.outputs["shareLinks"].values())), question_of(lab))


def bill(lab: Lab) -> list[str]:
    """What costs now."""
    return [line["what"] for line in lab.world.call("bill")["billable"]]


def _full(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key if ":" in key else f"{PROJECT}:{key}": value for key, value in settings.items()}


def _name(metadata: Mapping[str, Any]) -> str | None:
    kind = str(metadata["type"])
    if kind.startswith(_WITHOUT_SUBSTANCE):
        return None
    name = str(metadata["urn"]).rsplit("::", 1)[-1]
    return f"{kind.rsplit(':', 1)[-1]} {name}"

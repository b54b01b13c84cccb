"""The few commands of Docker's CLI that the host scripts, the program and an operator give."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rehearsal.docker.container import Container
from rehearsal.docker.engine import EngineError
from rehearsal.docker.inspection import status_line
from rehearsal.docker.records import VERSION, Records

_FIELD = re.compile(r"\{\{\s*(json )?\.([\w.]+)\s*\}\}")
_WITH_VALUE = ("--format", "--filter", "--name", "--gpus", "--tail", "-t", "--time")


@dataclass
class Answer:
    """What a command printed, and its exit code."""

    out: str = ""
    err: str = ""
    code: int = 0


@dataclass(frozen=True)
class _Words:
    """A command line: options with their values ("" for none), and the rest in order."""

    options: dict[str, str]
    rest: list[str]

    @property
    def form(self) -> str:
        """The format asked for."""
        return self.options.get("--format", "")


async def docker(records: Records, arguments: list[str]) -> Answer:
    """`docker ARGUMENTS`."""
    words = list(arguments)
    verb = words.pop(0) if words else ""
    if verb in ("image", "manifest") and words:
        verb = f"{verb} {words.pop(0)}"
    if verb not in _VERBS:
        return Answer(err=f"the stage's docker knows no {verb!r}\n", code=1)
    try:
        return Answer(await _VERBS[verb](records, _read(words)))
    except EngineError as error:
        return Answer(err=f"Error response from daemon: {error}\n", code=1)


def _read(words: list[str]) -> _Words:
    options: dict[str, str] = {}
    while words and words[0].startswith("-"):
        name, _, value = words.pop(0).partition("=")
        options[name] = words.pop(0) if name in _WITH_VALUE and not value and words else value
    return _Words(options, words)


def _filled(form: str, row: dict[str, Any]) -> str:
    """A template with its fields filled in: `{{.State.Status}}`, `{{json .Config.Env}}`."""

    def value(match: re.Match[str]) -> str:
        found: Any = row
        for name in match[2].split("."):
            if not isinstance(found, dict) or name not in found:
                raise EngineError(f"the stage's docker knows no .{match[2]} here", 400)
            found = found[name]
        if match[1]:
            return json.dumps(found)
        return str(found).lower() if isinstance(found, bool) else str(found)

    return _FIELD.sub(value, form)


async def _ps(records: Records, words: _Words) -> str:
    every = words.options.keys() & {"-a", "--all", "-aq", "-qa"}
    wanted = words.options.get("--filter", "").removeprefix("name=")
    form = words.form
    if words.options.keys() & {"-q", "-aq", "-qa"}:
        form = "{{.ID}}"
    lines = []
    for container in list(records.containers.values()):
        if (every or container.running) and re.search(wanted, container.name):
            lines.append(_filled(form or "{{.ID}} {{.Names}} {{.Status}}", await _row(container)))
    return "".join(f"{line}\n" for line in lines)


async def _row(container: Container) -> dict[str, Any]:
    return {
        "ID": container.id[:12],
        "Names": container.name,
        "State": container.status,
        "Status": await status_line(container),
        "Image": container.reference.familiar,
    }


async def _inspect(records: Records, words: _Words) -> str:
    found = [await records.inspect_container(name) for name in words.rest]
    if not words.form:
        return json.dumps(found, indent=4) + "\n"
    return "".join(f"{_filled(words.form, row)}\n" for row in found)


def _each(operation: str) -> Callable[[Records, _Words], Awaitable[str]]:
    async def run(records: Records, words: _Words) -> str:
        for name in words.rest:
            await getattr(records, operation)(name)
        return "".join(f"{name}\n" for name in words.rest)

    return run


async def _restart(records: Records, words: _Words) -> str:
    await _each("stop_container")(records, words)
    return await _each("start_container")(records, words)


async def _logs(records: Records, words: _Words) -> str:
    log = records.find(words.rest[0]).log
    return log.read_text(errors="replace") if log.exists() else ""


async def _exec(records: Records, words: _Words) -> str:
    """Nothing is run inside: a container that runs takes every command, and says nothing."""
    found = records.find(words.rest[0])
    if not found.running:
        raise EngineError(f"container {found.id} is not running", 409)
    return ""


async def _run(records: Records, words: _Words) -> str:
    """The one thing that is run by hand: does a container see the GPU?"""
    image, *command = words.rest
    await records.inspect_image(image)
    if command != ["nvidia-smi"]:
        raise EngineError(f"the stage's docker runs no {' '.join(command)}", 400)
    return "NVIDIA-SMI 580.126.09\n"


async def _pull(records: Records, words: _Words) -> str:
    await records.pull_image(words.rest[0])
    return f"Status: Downloaded newer image for {words.rest[0]}\n{words.rest[0]}\n"


async def _image(records: Records, words: _Words) -> str:
    return json.dumps([await records.inspect_image(name) for name in words.rest]) + "\n"


async def _manifest(records: Records, words: _Words) -> str:
    raise EngineError(f"no such manifest: {words.rest[0]}", 404)


async def _version(records: Records, words: _Words) -> str:
    return _filled(words.form or "{{.Server.Version}}", {"Server": {"Version": VERSION}}) + "\n"


async def _info(records: Records, words: _Words) -> str:
    row = {"Runtimes": {"runc": {}, "nvidia": {}}, "RegistryConfig": {"Mirrors": []}}
    return _filled(words.form, row) + "\n"


_VERBS: dict[str, Callable[[Records, _Words], Awaitable[str]]] = {
    "ps": _ps,
    "inspect": _inspect,
    "start": _each("start_container"),
    "stop": _each("stop_container"),
    "restart": _restart,
    "rm": _each("remove_container"),
    "logs": _logs,
    "exec": _exec,
    "run": _run,
    "pull": _pull,
    "image inspect": _image,
    "manifest inspect": _manifest,
    "version": _version,
    "info": _info,
}

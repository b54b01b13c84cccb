"""The few commands of Docker's CLI that the host scripts, the program and its tests give."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from rehearsal.docker.engine import EngineError, Json
from rehearsal.docker.records import Records

_FIELD = re.compile(r"\{\{(json )?\.([\w.]+)\}\}")
_WITH_VALUE = ("--format", "--filter", "--name", "--gpus", "--tail", "--since")
_DAEMON = {
    "Runtimes": {"runc": {}, "nvidia": {}},
    "RegistryConfig": {"Mirrors": []},
    "Server": {"Version": "29.1.3"},
}

Options = dict[str, str]


async def docker(records: Records, words: list[str]) -> Json:
    """`docker WORDS`: what it prints (`out`, `err`), and its exit code (`code`)."""
    try:
        verb = " ".join(words[:2]) if words[0] == "image" else words[0]
        if verb not in _VERBS:
            raise EngineError(f"the stage's docker knows no {verb!r}")
        options, rest = _read(words[verb.count(" ") + 1 :])
        lines = await _VERBS[verb](records, options, rest)
    except EngineError as error:
        return {"out": "", "err": f"Error response from daemon: {error}\n", "code": 1}
    return {"out": "".join(f"{line}\n" for line in lines), "err": "", "code": 0}


def _read(words: list[str]) -> tuple[Options, list[str]]:
    options: Options = {}
    while words and words[0].startswith("-"):
        name, *words = words
        options[name] = ""
        if name in _WITH_VALUE:
            options[name], *words = words
    return options, words


def _filled(options: Options, row: Json) -> str:
    """A template with its fields filled in: `{{.State.Status}}`, `{{json .Config.Env}}`."""

    def value(match: re.Match[str]) -> str:
        found: Any = row
        for name in match[2].split("."):
            if name not in found:
                raise EngineError(f"the stage's docker knows no .{match[2]} here")
            found = found[name]
        return found if isinstance(found, str) and not match[1] else json.dumps(found)

    return _FIELD.sub(value, options["--format"])


async def _ps(records: Records, options: Options, rest: list[str]) -> list[str]:
    every = options.keys() & {"-a", "--all", "-aq"}
    wanted = options.get("--filter", "").removeprefix("name=")
    if options.keys() & {"-q", "-aq"}:
        options = {"--format": "{{.ID}}"}
    found = [each for each in records.containers.values() if re.search(wanted, each.name)]
    return [_filled(options, await each.row()) for each in found if every or each.running]


async def _inspect(records: Records, options: Options, rest: list[str]) -> list[str]:
    return [_filled(options, await records.inspect_container(name)) for name in rest]


async def _logs(records: Records, options: Options, rest: list[str]) -> list[str]:
    """Whatever `--since` says, it is the last start."""
    found = records.find(rest[0])
    log = found.folder / "log"
    text = log.read_bytes()[found.logged_before if "--since" in options else 0 :]
    return text.decode(errors="replace").splitlines()[-int(options["--tail"]) :]


async def _exec(records: Records, options: Options, rest: list[str]) -> list[str]:
    """Nothing is run inside: a container takes every command, and says nothing."""
    records.find(rest[0])
    return []


async def _run(records: Records, options: Options, rest: list[str]) -> list[str]:
    """The one thing that is run by hand: does a container see the GPU?"""
    return ["NVIDIA-SMI 580.126.09"]


async def _daemon(records: Records, options: Options, rest: list[str]) -> list[str]:
    return [_filled(options, _DAEMON)]


_Verb = Callable[[Records, Options, list[str]], Awaitable[list[str]]]


def _each(*operations: str) -> _Verb:
    async def run(records: Records, options: Options, rest: list[str]) -> list[str]:
        for name in rest:
            for operation in operations:
                await getattr(records, operation)(name)
        return rest

    return run


_VERBS: dict[str, _Verb] = {
    "ps": _ps,
    "inspect": _inspect,
    "start": _each("start_container"),
    "stop": _each("stop_container"),
    "restart": _each("stop_container", "start_container"),
    "rm": _each("remove_container"),
    "pull": _each("pull_image"),
    "image inspect": _each("inspect_image"),
    "logs": _logs,
    "exec": _exec,
    "run": _run,
    "version": _daemon,
    "info": _daemon,
}

"""``make up``, ``make destroy``, ``make pulumi``: the set-up's CLI, on the operator's own account.

Backend, login and stack are the operator's. This only finds the CLI, and says in time what is
missing and how to get it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.environment import ROOT, VENV, SetupError, pulumi_environment
from tools.pulumi_run import run

_QUESTION_SECONDS = 120.0
_DIAL_SECONDS = 15.0
_OPERATORS_PATH = os.environ.get("PATH", os.defpath)


@dataclass(frozen=True)
class Plugin:
    """A provider plugin as the SDK package of that provider names it."""

    name: str
    version: str


def needed_plugins(venv: Path = VENV) -> list[Plugin]:
    """The plugins of the installed provider packages (their ``pulumi-plugin.json``)."""
    found = []
    for file in sorted(venv.glob("lib/python*/site-packages/pulumi_*/pulumi-plugin.json")):
        data = json.loads(file.read_text())
        if data.get("resource"):
            found.append(Plugin(data["name"], data["version"]))
    return found


def missing_plugins(needed: Sequence[Plugin], listing: str) -> list[Plugin]:
    """Those of ``needed`` that ``pulumi plugin ls --json`` does not list."""
    present = {
        (entry.get("name"), str(entry.get("version", "")).lstrip("v"))
        for entry in json.loads(listing or "[]")
        if entry.get("kind") == "resource"
    }
    return [plugin for plugin in needed if (plugin.name, plugin.version) not in present]


def typed(arguments: str) -> str:
    """A Pulumi command as the operator has to type it, whose PATH may have no ``pulumi``."""
    on_path = shutil.which("pulumi", path=_OPERATORS_PATH)
    return f"pulumi {arguments}" if on_path else f"make pulumi ARGS='{arguments}'"


def plugin_hint(missing: Sequence[Plugin]) -> str:
    """What is going to be downloaded, and the way round where that is slow."""
    names = ", ".join(f"{plugin.name} {plugin.version}" for plugin in missing)
    commands = "\n".join(
        "  " + typed(f"plugin install resource {plugin.name} {plugin.version} --file ARCHIVE")
        for plugin in missing
    )
    return (
        f"Pulumi will download these provider plugins first: {names} (alicloud's is 340 MB).\n"
        "Where that is slow, fetch the archives on another way and put them in place:\n"
        f"{commands}"
    )


def stack_problem(stack: str, root: Path = ROOT) -> str | None:
    """What is wrong with the stack's file in the checkout; None when it is there."""
    name = stack.rsplit("/", 1)[-1]
    if (root / f"Pulumi.{name}.yaml").exists():
        return None
    return (
        f"There is no Pulumi.{name}.yaml. For a lab of your own:\n"
        f"  cp Pulumi.dev.yaml Pulumi.{name}.yaml   # then edit it; git does not see it\n"
        f"  {typed(f'stack init {name}')}\n"
        f"  make up STACK={name}"
    )


def backend_problem(stack: str, code: int, stdout: str, stderr: str) -> str | None:
    """What ``pulumi stack ls --json`` told about login and stack; None when all is well."""
    name = stack.rsplit("/", 1)[-1]
    if code != 0:
        return (
            f"{stderr.strip()}\n\nPulumi has to know where to keep the lab's state:\n"
            f"  {typed('login')}           (Pulumi Cloud)\n"
            f"  {typed('login --local')}   (a folder on this machine)"
        )
    if name in _stack_names(json.loads(stdout or "[]")):
        return None
    return (
        f"The stack {name} does not exist in your backend yet:\n  {typed(f'stack init {stack}')}\n"
        f"That writes into Pulumi.{name}.yaml. To leave the reference labs alone, work with a "
        "copy, say Pulumi.mine.yaml, and STACK=mine."
    )


def server_problem(outputs: Mapping[str, Any]) -> str | None:
    """Why a refresh would fail for everything on the server, one by one; None when it answers.

    Args:
        outputs: the stack's; without a server there is nothing to ask.
    """
    if "serverAddress" not in outputs:
        return None
    address = (str(outputs["serverAddress"]), int(outputs["sshPort"]))
    try:
        socket.create_connection(address, _DIAL_SECONDS).close()
    except OSError as error:
        return (
            f"The server {address[0]}:{address[1]} does not answer ({error}), and a refresh would "
            "fail for each thing on it.\nIf it is switched off, start it in the cloud's console "
            f"and run `{typed('up')}`; if your own address changed, `{typed('up')}` without "
            "--refresh applies a changed allowedCidrs; if the cloud has it no more, it says so and "
            "builds a new lab."
        )
    return None


def _stack_names(stacks: Sequence[dict[str, Any]]) -> Iterator[str]:
    for stack in stacks:
        yield str(stack.get("name", "")).rsplit("/", 1)[-1]


def _ask(environment: dict[str, str], *question: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["pulumi", "--non-interactive", *question],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_QUESTION_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"`pulumi {' '.join(question)}` did not answer within {_QUESTION_SECONDS:.0f} s: "
            "is the backend you logged in to within reach?"
        ) from error


def check(stack: str, environment: dict[str, str]) -> None:
    """Find out what would stop the operator, before anything starts.

    Raises:
        SetupError: the stack's file, the login or the stack is missing.
    """
    if problem := stack_problem(stack):
        raise SetupError(problem)
    answer = _ask(environment, "stack", "ls", "--json")
    if problem := backend_problem(stack, answer.returncode, answer.stdout, answer.stderr):
        raise SetupError(problem)
    listing = _ask(environment, "plugin", "ls", "--json")
    if listing.returncode == 0 and (missing := missing_plugins(needed_plugins(), listing.stdout)):
        print(plugin_hint(missing), flush=True)


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code is Pulumi's.

    ``up|preview|refresh|destroy [--stack NAME] [OPTION ...]`` checks first, and says last what to
    do where it failed; for ``cli ...`` this process becomes ``pulumi``.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.cloud", description=__doc__)
    parser.add_argument("action", choices=("up", "preview", "refresh", "destroy", "cli"))
    action = parser.parse_args(arguments[:1]).action
    rest = list(arguments[1:])
    try:
        environment = pulumi_environment()
        # execvpe and subprocess look a program up on this process's own PATH.
        os.environ["PATH"] = environment["PATH"]
        os.chdir(ROOT)
        if action == "cli":
            os.execvpe("pulumi", ["pulumi", *rest], environment)  # noqa: S606
        return run(action, *_checked(action, rest, environment), environment)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1


def _checked(action: str, rest: list[str], environment: dict[str, str]) -> tuple[str, list[str]]:
    """The stack, and the options for Pulumi, once nothing known stands in the way. See `check`."""
    parser = argparse.ArgumentParser(prog=f"python -m tools.cloud {action}", add_help=False)
    parser.add_argument("--stack", default="dev")
    options, others = parser.parse_known_args(rest)
    check(options.stack, environment)
    if action == "refresh" or not {"-r", "--refresh", "--refresh=true"}.isdisjoint(others):
        told = _ask(environment, "stack", "output", "--json", "--stack", options.stack)
        known = json.loads(told.stdout or "{}") if told.returncode == 0 else {}
        if problem := server_problem(known):
            raise SetupError(problem)
    return options.stack, others


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

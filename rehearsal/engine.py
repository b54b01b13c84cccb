"""The real Pulumi command-line tool, run on a program with the providers of a world."""

import collections
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rehearsal import stack_file
from rehearsal.guard import end_session
from rehearsal.processes import Lifeline, guarded
from tools.environment import pulumi_environment
from tools.stack_file import config_of

_TAIL_LINES = 200
_UNCHANGED = frozenset({"same", "read", "refresh"})
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")
_PRIVATE = ("PULUMI_", "ALICLOUD_", "ALIBABA_CLOUD_", "ALIBABACLOUD_", "DOCKER_", "SSH_AUTH_SOCK")


class EngineError(Exception):
    """The tool failed; the text ends with what it said last."""


@dataclass(frozen=True)
class Outcome:
    """One finished run of the tool. `seconds`: how long it took; `operations`: operation (`create`,
    `update`, `same`, ...) to how many resources; `changed`: `(operation, type, name)` of each
    resource that was not left as it is."""

    seconds: float
    output: str = field(repr=False)
    operations: Mapping[str, int]
    changed: tuple[tuple[str, str, str], ...] = ()
    log: Path = field(default=Path(os.devnull), repr=False)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def changes(self) -> int:
        """How many resources were not left as they are."""
        return sum(n for operation, n in self.operations.items() if operation not in _UNCHANGED)


class Engine:
    """One stack of one program, with a home, a backend and a passphrase of its own.

    Nothing of the operator's is read or written: not his Pulumi home, not his stack file, not his
    credentials in the environment.
    """

    def __init__(
        self,
        folder: Path,
        program: Path,
        stack: str,
        providers: str,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        """
        Args:
            folder: where everything is kept.
            program: the folder of Pulumi.yaml.
            stack: the stack's name.
            providers: the value of PULUMI_DEBUG_PROVIDERS.
            on_line: gets each line that the tool prints.
        """
        self.folder = folder
        self.program = program
        self.stack = stack
        self.stack_file = folder / f"Pulumi.{stack}.yaml"
        self.on_line = on_line
        self._logs = 0
        self._lifeline = Lifeline()
        for name in ("home", "backend", "events", "init"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.environment = _environment(folder, providers)

    def init(self, config: Mapping[str, Any], placeholders: Mapping[str, str]) -> None:
        """Make the stack. `placeholders` are stored as secrets.

        `stack init` would write the salt into the operator's own stack file, so it runs in a folder
        with nothing but the project's name.
        """
        beside = self.folder / "init"
        project = _project_name(self.program)
        (beside / "Pulumi.yaml").write_text(json.dumps({"name": project, "runtime": "python"}))
        self._run(["stack", "init", self.stack, "--no-select"], cwd=beside)
        made = beside / f"Pulumi.{self.stack}.yaml"
        if placeholders:
            # They stand for secrets and are none, so they may be seen on a command line.
            pairs = [part for k, v in placeholders.items() for part in ("--secret", f"{k}={v}")]
            self._run(["config", "set-all", "--stack", self.stack, *pairs], cwd=beside)
        stack_file.write(self.stack_file, {**config, **config_of(made)}, like=made)

    def up(self, *options: str) -> Outcome:
        """`pulumi up` without asking, and without the preview that nobody would look at."""
        return self._update("up", "--skip-preview", *options)

    def preview(self, *options: str) -> Outcome:
        return self._update("preview", *options)

    def refresh(self, *options: str) -> Outcome:
        return self._update("refresh", "--skip-preview", *options)

    def destroy(self, *options: str) -> Outcome:
        return self._update("destroy", "--skip-preview", *options)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs with their secrets: for this process's memory only."""
        arguments = ["stack", "output", "--json", "--show-secrets", "--stack", self.stack]
        found: dict[str, Any] = json.loads(self._run(arguments, quiet=True))
        return found

    def export(self) -> dict[str, Any]:
        """The state as `pulumi stack export` writes it, secrets encrypted."""
        arguments = ["stack", "export", "--stack", self.stack]
        found: dict[str, Any] = json.loads(self._run(arguments, quiet=True))
        return found

    def close(self) -> None:
        self._lifeline.close()

    def _update(self, command: str, *options: str) -> Outcome:
        self._logs += 1
        log = self.folder / "events" / f"{self._logs:02d}-{command}.jsonl"
        yes = [] if command == "preview" else ["--yes"]
        place = ["--stack", self.stack, "--config-file", str(self.stack_file)]
        started = time.monotonic()
        output = self._run([command, *yes, *place, "--event-log", str(log), *options])
        operations, changed = _what_happened(log)
        return Outcome(time.monotonic() - started, output, operations, changed, log)

    def _run(self, arguments: Sequence[str], cwd: Path | None = None, quiet: bool = False) -> str:
        with subprocess.Popen(
            guarded(["pulumi", *arguments, "--non-interactive", "--color=never"], self._lifeline),
            pass_fds=[self._lifeline.reader],
            cwd=cwd or self.program,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for us. A session of its own is what can be ended as a whole: the engine
            # puts each of its plugins into another process group.
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate() if quiet else (self._follow(process), "")
                process.wait()
            except BaseException:
                end_session(process.pid)
                raise
        if process.returncode:
            # One that was killed leaves its language host and the program behind.
            end_session(process.pid)
            # What a quiet command prints may be secret; its errors are not.
            told = errors if quiet else _diagnostics(output)
            tail = "\n".join(told.splitlines()[-_TAIL_LINES:])
            raise EngineError(f"`pulumi {arguments[0]}` failed:\n{tail}")
        return output

    def _follow(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            self.on_line(line.rstrip())
        return "".join(lines)


def _diagnostics(output: str) -> str:
    """What went wrong, without the outputs that the tool prints after it."""
    _, found, told = output.rpartition("\nDiagnostics:\n")
    return told.partition("\nOutputs:\n")[0] if found else output


def _environment(folder: Path, providers: str) -> dict[str, str]:
    base = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _PROXIES and not name.startswith(_PRIVATE)
    }
    passphrase = folder / "passphrase"
    if not passphrase.exists():
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_urlsafe(24))
    return {
        **pulumi_environment(base),
        "PULUMI_HOME": str(folder / "home"),
        # With sidecars of metadata, an engine that is killed can leave a state nobody can read.
        "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_DEBUG_PROVIDERS": providers,
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DEBUG_COMMANDS": "1",  # without it there is no --event-log
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PYTHONUNBUFFERED": "1",
    }


def _project_name(program: Path) -> str:
    return str(yaml.safe_load((program / "Pulumi.yaml").read_text())["name"])


def _what_happened(log: Path) -> tuple[dict[str, int], tuple[tuple[str, str, str], ...]]:
    operations: collections.Counter[str] = collections.Counter()
    changed: dict[str, tuple[str, str, str]] = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if "summaryEvent" in event:
            operations.update(event["summaryEvent"].get("resourceChanges") or {})
        told = event.get("resOutputsEvent") or event.get("resourcePreEvent") or {}
        metadata = told.get("metadata")
        if metadata and metadata["op"] not in _UNCHANGED:
            urn = metadata["urn"]
            changed[urn] = (metadata["op"], metadata["type"], urn.rsplit("::", 1)[-1])
    return dict(operations), tuple(changed.values())

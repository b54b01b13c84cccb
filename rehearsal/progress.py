"""What the engine is doing, while it does it: one line that changes, and what is worth keeping."""

import contextlib
import re
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.status import Status

_DONE = re.compile(
    r"^ *[-+~]+ +\S*?(?P<type>[^:\s]+) (?P<name>\S+) (?:created|updated|deleted|replaced)\b"
)
_WORTH_KEEPING = re.compile(r"\b(?:info|warning|error): (?P<text>.+)$")


class Progress:
    """Takes the engine's lines. On a terminal the last finished resource is shown as it changes;
    everywhere what the program itself says is printed once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._name = ""
        self._finished = 0
        self._said: set[str] = set()

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """While the step called `name` runs."""
        self._name, self._finished, self._said = name, 0, set()
        if not self._console.is_terminal:
            self._console.print(f"..  {escape(name)}", style="dim")
        with self._console.status(escape(name)) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def line(self, line: str) -> None:
        """One line of the engine's."""
        said = _WORTH_KEEPING.search(line)
        if said and said["text"] not in self._said:
            self._said.add(said["text"])
            self._console.print(f"    {escape(said['text'])}", style="dim", soft_wrap=True)
        done = _DONE.match(line)
        if done and self._status is not None:
            self._finished += 1
            latest = f"{done['type']} {done['name']}"
            self._status.update(f"{escape(self._name)}: {self._finished} done, {escape(latest)}")

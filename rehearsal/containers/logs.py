"""A container's log, as the json-file driver writes it: one JSON object a line, rotated by size."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

_FACTORS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class Log:
    """Writes and reads the log at `place`. Options are Docker's: `max-size`, `max-file`."""

    def __init__(self, place: Path, driver: str, options: dict[str, str]) -> None:
        self._place = place
        self._off = driver == "none"
        self._limit = _bytes(options.get("max-size", ""))
        self._files = int(options.get("max-file", "1"))

    def write(self, stream: str, text: str) -> None:
        """Append one line (with its line feed) of stdout or stderr."""
        if self._off:
            return
        entry = json.dumps({"log": text, "stream": stream, "time": timestamp()}) + "\n"
        if self._limit and self._size() + len(entry) > self._limit:
            self._rotate()
        with self._place.open("a") as file:
            file.write(entry)

    def read(self) -> Iterator[tuple[str, str]]:
        """Stream and text of each line that is left, oldest first."""
        older = [self._numbered(number) for number in range(self._files - 1, 0, -1)]
        for place in (*older, self._place):
            if not place.exists():
                continue
            for line in place.read_text().splitlines():
                entry = json.loads(line)
                yield entry["stream"], entry["log"]

    def _size(self) -> int:
        return self._place.stat().st_size if self._place.exists() else 0

    def _rotate(self) -> None:
        if not self._place.exists():
            return
        for number in range(self._files - 1, 1, -1):
            if self._numbered(number - 1).exists():
                self._numbered(number - 1).replace(self._numbered(number))
        if self._files > 1:
            self._place.replace(self._numbered(1))
        else:
            self._place.unlink()

    def _numbered(self, number: int) -> Path:
        return self._place.with_name(f"{self._place.name}.{number}")


def timestamp(at: float | None = None) -> str:
    """A time as Docker writes it; now by default."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, tz=timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"


def _bytes(size: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*([a-z]?)", size.lower())
    return int(float(match[1]) * _FACTORS[match[2]]) if match else 0

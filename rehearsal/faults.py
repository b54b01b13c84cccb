"""Faults that a test switches on in a running rehearsal.

One JSON file holds them: `{"xinference.download": {"qwen2.5-instruct": 2}}` means that the next
two downloads of that model fail. `-1` means every time. The name of a fault is
`<service>.<what fails>`.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

ALWAYS = -1


def take(fault: str, key: str) -> bool:
    """Whether `fault` strikes `key` now; a counted fault is used up by one."""
    place = Path(os.environ.get("REHEARSAL_FAULTS", os.devnull))
    if not place.is_file():
        return False
    with _opened(place) as faults:
        left = faults.get(fault, {}).get(key, 0)
        if left > 0:
            faults[fault][key] = left - 1
        return bool(left)


def taken(prefix: str, key: str) -> str:
    """What follows `prefix` in the name of the fault that strikes `key` now; "" for none."""
    place = Path(os.environ.get("REHEARSAL_FAULTS", os.devnull))
    if not place.is_file():
        return ""
    with _opened(place) as faults:
        names = [name for name in faults if name.startswith(prefix)]
    found = (name for name in names if take(name, key))
    return next(found, "").removeprefix(prefix)


def switch_on(place: Path, fault: str, key: str, times: int = ALWAYS) -> None:
    place.touch()
    with _opened(place) as faults:
        faults.setdefault(fault, {})[key] = times


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[dict[str, dict[str, int]]]:
    """What stands there; it is written again at the end."""
    with place.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        faults = json.loads(file.read() or "{}")
        yield faults
        file.seek(0)
        file.truncate()
        json.dump(faults, file)

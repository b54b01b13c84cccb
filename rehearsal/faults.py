"""Faults that a test switches on in a running rehearsal.

One JSON file holds them: `{"xinference.download": {"qwen2.5-instruct": 2}}` means that the next
two downloads of that model fail. `-1` means every time. The name of a fault is
`<service>.<what fails>`.
"""

import fcntl
import json
import os
from pathlib import Path

ALWAYS = -1


def take(fault: str, key: str) -> bool:
    """Whether `fault` strikes `key` now; a counted fault is used up by one."""
    place = os.environ.get("REHEARSAL_FAULTS")
    if not place or not Path(place).exists():
        return False
    with Path(place).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        faults = json.loads(file.read() or "{}")
        left = faults.get(fault, {}).get(key, 0)
        if left > 0:
            faults[fault][key] = left - 1
            file.seek(0)
            file.truncate()
            json.dump(faults, file)
        return bool(left)


def switch_on(place: Path, fault: str, key: str, times: int = ALWAYS) -> None:
    """Let `fault` strike `key` the next `times` times."""
    _change(place, fault, key, times)


def switch_off(place: Path, fault: str, key: str) -> None:
    """Let `fault` spare `key` again."""
    _change(place, fault, key, 0)


def _change(place: Path, fault: str, key: str, times: int) -> None:
    place.touch()
    with place.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        faults = json.loads(file.read() or "{}")
        faults.setdefault(fault, {})[key] = times
        file.seek(0)
        file.truncate()
        json.dump(faults, file)

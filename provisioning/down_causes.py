"""Why a container of the lab is down, as far as its log or its state tells: `down_causes.json`.

By container ("*": any): `ends`, texts of the log of one that starts again and again, the last in
the log and in the table counts; `hangs`, of one that runs and whose health check fails
(`docs/facts/fastgpt-current-measured.md §1`, `docs/facts/oneapi.md §2`). Nothing of a log is ever
shown, because secrets may stand in it; what `it` names in a text is a setting's name.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioning.tables import table

_CAUSES = table("down_causes.json", dict[str, dict[str, Any]])


def cause(name: str, status: str, log: str) -> str:
    """A sentence without its full stop, or "" where nothing is known.

    Args:
        status: as `docker ps` shows it: `Restarting (1) 3 seconds ago`.
        log: what the container printed since its last start.
    """
    known = _CAUSES.get(name, {})
    if "(unhealthy)" in status:
        return str(known.get("hangs", ""))
    ends: Mapping[str, str] = {**_CAUSES["*"]["ends"], **known.get("ends", {})}
    found = sorted(_found(ends, f"{status}\n{log}"))
    return found[-1][2] if found else ""


def _found(ends: Mapping[str, str], text: str) -> Iterator[tuple[int, int, str]]:
    for row, (pattern, says) in enumerate(ends.items()):
        for match in re.finditer(pattern, text):
            yield match.start(), row, says.format(**match.groupdict())

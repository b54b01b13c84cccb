"""`make advisories`: which advisories of a local list `provisioning/releases.json` does not know.

python -m tools.advisories FOLDER     a folder of advisories as OSV has them, one JSON file each

Such a folder is a clone of GitHub's advisory database, or what osv.dev has for download. Nothing is
asked of any network. The exit code: 0 all are known, 1 some are not, 2 there is no such folder.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.releases import known_holes, number

# How advisories name the lab's parts.
_NAMES = {
    "fastgpt": r"\bfastgpt\b",
    "sandbox": r"\bfastgpt[- ]sandbox\b",
    "plugin": r"\bfastgpt[- ]plugin\b",
    "code-sandbox": r"\bfastgpt[- ]code[- ]sandbox\b",
    "oneapi": r"songquanpeng/one-api\b",
    "xinference": r"\bxinference\b|\bxoscar\b",
    "mongo": r"\bmongodb server\b",
    "mysql": r"\bmysql server\b",
    "pg": r"\bpgvector\b",
    "redis": r"\bredis/redis\b|\bredis server\b",
    "minio": r"\bminio/minio\b",
    "caddy": r"\bcaddyserver/caddy\b",
}


@dataclass(frozen=True)
class Advisory:
    """One that names a part; `fixed` as it says it, "" where it names no release."""

    part: str
    id: str
    summary: str
    fixed: str


def unknown_advisories(folder: Path) -> Iterator[Advisory]:
    """Those of a folder that name a part of the lab, and that the table has under no id."""
    known = {hole.id for part in _NAMES for hole in known_holes(part)}
    for place in sorted(folder.rglob("*.json")):
        told: Any = json.loads(place.read_text(encoding="utf-8"))
        if not isinstance(told, Mapping) or "id" not in told:
            continue  # no advisory
        if known & {str(told.get("id")), *map(str, told.get("aliases") or ())}:
            continue
        text = " ".join(str(told.get(key) or "") for key in ("summary", "details"))
        packages = [str(each["package"]["name"]) for each in told.get("affected") or ()]
        for part, name in _NAMES.items():
            if re.search(name, " ".join([text, *packages]), re.IGNORECASE):
                yield Advisory(part, str(told["id"]), text.split("\n")[0][:100], _fixed(told))


def _fixed(told: Mapping[str, Any]) -> str:
    """The highest release that an advisory calls mended."""
    events = (
        event
        for affected in told.get("affected") or ()
        for span in affected.get("ranges") or ()
        for event in span.get("events") or ()
    )
    return max(
        (str(event["fixed"]) for event in events if "fixed" in event), key=number, default=""
    )


def main(arguments: Sequence[str]) -> int:
    """Print them; returns the exit code."""
    folder = Path(arguments[0]) if arguments else None
    if folder is None or not folder.is_dir():
        print("name a folder of advisories: make advisories LIST=folder", file=sys.stderr)
        return 2
    found = list(unknown_advisories(folder))
    for each in found:
        print(f"{each.part:<11} {each.id:<20} fixed in {each.fixed or '?':<10} {each.summary}")
    print(f"{len(found)} advisories that provisioning/releases.json does not know")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

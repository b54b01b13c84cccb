"""Whether what FastGPT shows of an app is what was published."""

from __future__ import annotations

from collections.abc import Mapping

from provisioning.clients.http import Json


def as_wanted(wanted: Json, found: Json) -> Json:
    """What was found, in the form of what was wanted: equal where it means the same.

    FastGPT adds fields of its own and drops empty ones, and may order lists anew; none of that is
    drift. Nodes, inputs and outputs are told by their ids.
    """
    if wanted == found or (not wanted and not found):
        return wanted
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return {key: as_wanted(value, found.get(key)) for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(found, list):
        mine, theirs = _by_identity(wanted), _by_identity(found)
        kept = [as_wanted(item, theirs[key]) for key, item in mine.items() if key in theirs]
        return kept + [item for key, item in theirs.items() if key not in mine]
    return found


def _by_identity(items: list[Json]) -> dict[str, Json]:
    """What tells them apart, or else their place in the list."""
    placed = {str(place): item for place, item in enumerate(items)}
    named = {_identity(item) or place: item for place, item in placed.items()}
    return named if len(named) == len(items) else placed


def _identity(item: Json) -> str | None:
    if not isinstance(item, Mapping):
        return None
    if "source" in item and "target" in item:
        return f"{item['source']} -> {item['target']} {item.get('targetHandle')}"
    for key in ("nodeId", "key", "id", "datasetId"):
        if key in item:
            return str(item[key])
    return None

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
        return _list_as_wanted(wanted, found)
    return found


def _list_as_wanted(wanted: list[Json], found: list[Json]) -> list[Json]:
    names = [_identity(item) for item in wanted]
    if None in names or len(set(names)) < len(names):
        if len(wanted) != len(found):
            return found
        return [as_wanted(mine, theirs) for mine, theirs in zip(wanted, found, strict=True)]
    by_name = {_identity(item): item for item in found}
    ours = {name: item for name, item in zip(names, wanted, strict=True) if name in by_name}
    kept = [as_wanted(item, by_name[name]) for name, item in ours.items()]
    return kept + [item for item in found if _identity(item) not in names]


def _identity(item: Json) -> str | None:
    if not isinstance(item, Mapping):
        return None
    if "source" in item and "target" in item:
        return f"{item['source']} -> {item['target']} {item.get('targetHandle')}"
    for key in ("nodeId", "key", "id", "datasetId"):
        if key in item:
            return str(item[key])
    return None

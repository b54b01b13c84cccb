"""What each subject of a case answered, in a form that can be compared.

Every HTTP answer that a case gets is recorded. After the case ran against both subjects, the two
recordings must be equal: what no assert looks at is held to as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

Answer = dict[str, Any]


@dataclass(frozen=True)
class Masks:
    """What may differ between two runs of the same case.

    Attributes:
        fields: JSON fields whose value is replaced, wherever they are.
        texts: patterns replaced inside texts.
        added: fields that only the newer version has, with the fact that says so.
    """

    fields: frozenset[str] = frozenset()
    texts: tuple[tuple[re.Pattern[str], str], ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    added_at: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The same for (beginning of the path, field)."""
    null_for_empty: Mapping[str, str] = field(default_factory=dict)
    """Fields where the newer version shows null for an empty text, with the fact."""

    def clean(self, value: Any, name: str = "") -> Any:
        """`value` without what may differ."""
        if name in self.fields:
            return "<any>"
        if value is None and name in self.null_for_empty:
            return ""
        if isinstance(value, dict):
            kept = {key: each for key, each in value.items() if key not in self.added}
            return {key: self.clean(each, key) for key, each in sorted(kept.items())}
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        if isinstance(value, str):
            for pattern, replacement in self.texts:
                value = pattern.sub(replacement, value)
        return value


class Recorder:
    """The answers of one case from one subject."""

    def __init__(self, masks: Masks, case: str = "") -> None:
        self.case = case
        self.answers: list[Answer] = []
        self._masks = masks
        self._paused = False

    def record(self, response: httpx.Response) -> None:
        """Keep one answer; an event hook of httpx clients."""
        if self._paused:
            return
        response.read()
        request = response.request
        self.answers.append(
            {
                "request": f"{request.method} {self._masks.clean(request.url.path)}",
                "status": response.status_code,
                "type": response.headers.get("content-type", "").partition(";")[0],
                "location": self._masks.clean(response.headers.get("location", "")),
                "body": self._body(request.url.path, response),
            }
        )

    def unrecorded(self) -> Unrecorded:
        """A `with` block whose answers are not compared: polls, whose number is chance."""
        return Unrecorded(self)

    def pause(self, paused: bool) -> None:
        """See `unrecorded`."""
        self._paused = paused

    def _body(self, path: str, response: httpx.Response) -> Any:
        try:
            return self._masks.clean(self._without_added(path, json.loads(response.content)))
        except ValueError:
            text = response.text
            return "<page>" if text.lstrip().startswith("<") else self._masks.clean(text)

    def _without_added(self, path: str, body: Any) -> Any:
        names = [name for start, name in self._masks.added_at if path.startswith(start)]
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if name not in names}


class Unrecorded:
    """See `Recorder.unrecorded`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        self._recorder.pause(True)

    def __exit__(self, *_: object) -> None:
        self._recorder.pause(False)


def difference(double: list[Answer], real: list[Answer]) -> str:
    """Where two recordings part, in words; empty when they are equal."""
    for place, (ours, theirs) in enumerate(zip(double, real, strict=False), start=1):
        if ours != theirs:
            names = [name for name in ours if ours[name] != theirs[name]]
            rows = (
                f"  {name}:\n    double {ours[name]!r}\n    real   {theirs[name]!r}"
                for name in names
            )
            return f"answer {place}, to {ours['request']}:\n" + "\n".join(rows)
    if len(double) != len(real):
        return f"the double was asked {len(double)} times, the real one {len(real)} times"
    return ""

"""What may differ between two tellings of a recorded story."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Masks:
    """What may differ between two runs of the same case.

    Attributes:
        fields: JSON fields whose value is replaced, wherever they are.
        texts: patterns replaced inside texts.
    """

    fields: frozenset[str] = frozenset()
    texts: tuple[tuple[re.Pattern[str], str], ...] = ()

    def clean(self, value: Any, name: str = "") -> Any:
        """`value` without what may differ."""
        if name in self.fields:
            return "<any>"
        if isinstance(value, dict):
            return {key: self.clean(each, key) for key, each in sorted(value.items())}
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        if isinstance(value, str):
            for pattern, replacement in self.texts:
                value = pattern.sub(replacement, value)
        return value

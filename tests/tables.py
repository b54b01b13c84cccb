"""Tables of tests that are wordy: `tests/cases/<name>.yaml`, the rows of a test by its name."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.catalogue import Model

CASES = Path(__file__).parent / "cases"


def table(name: str) -> Callable[[Any], Any]:
    """Run a test once for each of its rows: a list is its first parameters, all else its first.

    What is a model's setting comes as a `Model`.
    """
    whole = yaml.safe_load((CASES / f"{name}.yaml").read_text(encoding="utf-8"))

    def decorate(test: Any) -> Any:
        rows = _read(whole[test.__name__.removeprefix("test_")])
        several = isinstance(rows[0], list)
        names = list(inspect.signature(test).parameters)[: len(rows[0]) if several else 1]
        return pytest.mark.parametrize(names if several else names[0], rows)(test)

    return decorate


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    is_model = isinstance(value, dict) and {"name", "kind"} <= value.keys()
    return Model.model_validate(value) if is_model else value

"""Models, plans of the stacks that we show, and the tables of `tests/cases/`."""

from pathlib import Path
from typing import Any

import yaml

from provisioning.catalogue import Model
from provisioning.plan import Plan, plan
from provisioning.settings import Settings
from tests.tables import CASES
from tests.unit.program import given

AWQ = {"engine": "vllm", "format": "awq", "size": 14, "quantization": "Int4"}


def cases(name: str) -> Any:
    """A table, of YAML or JSON."""
    return yaml.safe_load((CASES / name).read_text())


def model(
    name: str = "qwen2.5-instruct",
    kind: str = "chat",
    awq: dict[str, Any] | None = None,
    **more: Any,
) -> Model:
    """A model on Xinference unless it is remote; `awq`: its source, but for the reference's."""
    if awq is not None:
        more["xinference"] = AWQ | awq
    elif "remote" not in more:
        more.setdefault("xinference", {})
    return Model.model_validate({"name": name, "kind": kind, **more})


def remote(name: str, kind: str, provider: str = "openai", **source: Any) -> Model:
    return model(name, kind, remote={"provider": provider, **source})


def planned(stack: str = "dev", **changes: Any) -> Plan:
    """The plan of a stack's settings, in shape but not checked."""
    return plan(Settings.model_validate(given(stack, Path("no-key")) | changes))

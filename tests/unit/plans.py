"""Plans of the stacks that we show, for the tests of what follows from them."""

from pathlib import Path
from typing import Any

from provisioning.plan import Plan, plan
from provisioning.settings import Settings
from tests.unit.program import given


def settings(stack: str = "dev", **changes: Any) -> Settings:
    """A stack's settings, in shape but not checked."""
    return Settings.model_validate(given(stack, Path("no-key")) | changes)


def planned(stack: str = "dev", **changes: Any) -> Plan:
    return plan(settings(stack, **changes))

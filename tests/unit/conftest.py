"""The labs of the repository, each run once under the recording mock."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pytest

from stack.resources import base
from tests.unit.program import Recording, configured, make_key, run_program


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's SSH key."""
    return make_key(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def lab(key: Path) -> Recording:
    """The reference lab."""
    return run_program(configured("dev", key))


@pytest.fixture(scope="session")
def cpu(key: Path) -> Recording:
    """The lab without a GPU, whose models a provider serves."""
    return run_program(configured("cpu", key), {"ai-lab:key-dashscope": "sk-plain-dashscope"})


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run of its own tells the operator: the engine starts a process for each run."""
    told: list[str] = []
    monkeypatch.setattr(base, "_told", set())
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    return told

"""Worlds and programs for tests on the real engine.

Such a test costs some seconds per run of the tool. It is for what no cheaper one can show: that the
engine, the program and the providers understand each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.control import StartedWorld, World, start_world
from rehearsal.engine import Engine
from rehearsal.lab import Lab, prepare

PROGRAMS = Path(__file__).with_name("programs")

MakeEngine = Callable[..., Engine]


@pytest.fixture
def bare_world(tmp_path: Path) -> Iterator[World]:
    """A world whose servers are rented and billed, but empty."""
    started: StartedWorld = start_world(tmp_path / "world", ["--empty-servers"])
    yield started.world
    started.stop()


@pytest.fixture
def engine_for(tmp_path: Path, bare_world: World) -> MakeEngine:
    """`engine_for("server", disk=100)`: a stack of `programs/server` with these settings."""

    def make(program: str, **settings: object) -> Engine:
        engine = Engine(tmp_path / "engine", PROGRAMS / program, "test", bare_world.debug_providers)
        config = {f"{program}:{name}": value for name, value in settings.items()}
        engine.init({"alicloud:region": "cn-hangzhou", **config}, {})
        return engine

    return make


@pytest.fixture(scope="session")
def rehearsed_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The reference lab, up. Shared by a whole run: a test that changes it puts it right again."""
    lab = prepare(tmp_path_factory.mktemp("rehearsal"), "dev")
    try:
        lab.engine.up()
        lab.outputs = lab.engine.outputs()
        yield lab
    finally:
        lab.end()

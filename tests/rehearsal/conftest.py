"""Worlds and programs for tests on the real engine.

Such a test costs some seconds per run of the tool. It is for what no cheaper one can show: that the
engine, the program and the providers understand each other.
"""

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


class Shared:
    """The reference lab, up: one at a time for all files, made anew after a test that failed."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._failed = 0
        self.lab: Lab | None = None

    def standing(self, failed: int) -> Lab:
        """The lab, in a run in which so many tests have failed so far."""
        if failed != self._failed:
            self.end()
        self._failed = failed
        if self.lab is None:
            self.lab = prepare(self._folders.mktemp("rehearsal"), "dev")
            self.lab.engine.up()
            self.lab.outputs = self.lab.engine.outputs()
        return self.lab

    def end(self) -> None:
        if self.lab is not None:
            self.lab.end()
        self.lab = None


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    made = Shared(tmp_path_factory)
    yield made
    made.end()


@pytest.fixture(scope="module")
def rehearsed_lab(shared: Shared, request: pytest.FixtureRequest) -> Lab:
    """The reference lab, up. A test that changes it puts it right again."""
    return shared.standing(request.session.testsfailed)

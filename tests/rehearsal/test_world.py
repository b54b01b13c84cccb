"""The world as a process: it comes, is asked, and leaves nothing behind. Only real processes and
real ports can show that. (`test_rehearse` has how it ends with the one who started it.)"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.control import WORLD_FILE, StartedWorld, WorldError, read_world, start_world
from rehearsal.lab import stop_all
from rehearsal.processes import is_alive


@pytest.fixture
def started(tmp_path: Path) -> Iterator[StartedWorld]:
    """A world without a lab."""
    started = start_world(tmp_path / "run" / "world")
    yield started
    started.stop()


def test_it_stays_when_told_to_and_goes_when_stopped(started: StartedWorld, tmp_path: Path) -> None:
    started.stay()
    assert started.process.stdin
    started.process.stdin.close()
    assert started.world.call("inventory") == []
    assert stop_all(tmp_path) == (1, [])
    assert not is_alive(started.world.pid)
    assert stop_all(tmp_path) == (0, [])


def test_one_whose_rehearsal_runs_is_left_alone(started: StartedWorld, tmp_path: Path) -> None:
    """Folders end with the process that made them (`rehearsal.lab`)."""
    running = start_world(tmp_path / f"20261126-120000-{os.getpid()}" / "world")
    try:
        assert stop_all(tmp_path) == (1, [running.world.folder.parent])
        assert running.world.call("inventory") == []
    finally:
        running.stop()


def test_one_that_was_killed_says_so_and_nobody_else_is_taken_for_it(started: StartedWorld) -> None:
    world, file = started.world, started.world.folder / WORLD_FILE
    noted = json.loads(file.read_text())
    os.kill(world.pid, signal.SIGKILL)
    started.process.wait()
    with pytest.raises(WorldError, match=r"world has ended .*`make rehearse` begins a new one"):
        world.call("bill")
    # Its number is given to another process, or the file is an older release's.
    for other in ({"pid": os.getpid()}, {"pid": os.getpid(), "gone": 1}, {}):
        file.write_text(json.dumps({**noted, **other}))
        assert read_world(world.folder) is None


def test_only_its_owner_may_ask_and_two_do_not_meet(started: StartedWorld, tmp_path: Path) -> None:
    world = started.world
    with pytest.raises(WorldError, match="no command 'nonsense'"):
        world.call("nonsense")
    with pytest.raises(WorldError, match="wrong token"):
        replace(world, token="wrong").call("bill")
    assert (world.folder / "world.json").stat().st_mode & 0o077 == 0
    other = start_world(tmp_path / "other")
    other.stop()
    assert other.world.prefix != world.prefix

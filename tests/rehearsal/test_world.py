"""The world as a process: it comes, is asked, and leaves nothing behind. Only real processes and
real ports can show that."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.addresses import claim_block
from rehearsal.control import World, WorldError, read_world, start_world
from rehearsal.lab import stop_all
from rehearsal.processes import is_alive
from tests.rehearsal.servers import until

PROJECT = Path(__file__).resolve().parents[2]


def test_a_killed_starter_takes_it_along(tmp_path: Path) -> None:
    starter = (
        "import sys, time; from pathlib import Path; from rehearsal.control import start_world;"
        f"start_world(Path({str(tmp_path)!r})); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], cwd=PROJECT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        world = read_world(tmp_path)
        assert world
        process.kill()
    until(lambda: not is_alive(world.pid), "the world to end after its starter was killed")


def test_it_stays_when_told_to_goes_when_stopped_and_does_not_meet_another(
    bare_world: World, tmp_path: Path
) -> None:
    started = start_world(tmp_path / "run" / "world")
    assert started.world.prefix != bare_world.prefix
    started.stay()
    assert started.process.stdin
    started.process.stdin.close()
    assert started.world.call("inventory") == []
    assert stop_all(tmp_path) == 1
    assert not is_alive(started.world.pid)
    assert stop_all(tmp_path) == 0
    started.stop()


def test_only_its_owner_may_ask(bare_world: World) -> None:
    with pytest.raises(WorldError, match="no command 'nonsense'"):
        bare_world.call("nonsense")
    with pytest.raises(WorldError, match="wrong token"):
        replace(bare_world, token="wrong").call("bill")
    assert (bare_world.folder / "world.json").stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken_leads_to_the_next_address() -> None:
    block = claim_block()
    with socket.socket() as taken:
        taken.bind((f"{block.prefix}1.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert block.fresh_server([port]) == f"{block.prefix}2.1"
    assert block.fresh_server([port]) == f"{block.prefix}3.1"
    block.release()

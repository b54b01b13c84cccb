"""The world as a process: it comes, is asked, and leaves nothing behind. Only real processes and
real ports can show that."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.addresses import claim_block
from rehearsal.children import is_alive
from rehearsal.control import World, WorldError, read_world, start_world
from rehearsal.lab import stop_all

EMPTY = ["--empty-servers"]
PROJECT = Path(__file__).resolve().parents[2]


def _wait(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def test_it_ends_with_the_one_who_started_it(tmp_path: Path) -> None:
    started = start_world(tmp_path, EMPTY)
    assert started.process.stdin
    started.process.stdin.close()
    assert started.process.wait(20) == 0
    assert read_world(tmp_path) is None
    started.stop()


def test_a_killed_starter_takes_it_along(tmp_path: Path) -> None:
    starter = (
        "import sys, time; from pathlib import Path; from rehearsal.control import start_world;"
        f"start_world(Path({str(tmp_path)!r}), {EMPTY!r}); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], cwd=PROJECT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        world = read_world(tmp_path)
        assert world
        process.kill()
    _wait(lambda: not is_alive(world.pid), "the world to end after its starter was killed")


def test_it_stays_when_told_to_and_goes_when_stopped(tmp_path: Path) -> None:
    started = start_world(tmp_path / "run" / "world", EMPTY)
    started.stay()
    assert started.process.stdin
    started.process.stdin.close()
    assert started.world.call("inventory") == []
    assert stop_all(tmp_path) == 1
    assert not is_alive(started.world.pid)
    assert stop_all(tmp_path) == 0
    started.stop()


def test_two_worlds_do_not_meet(bare_world: World, tmp_path: Path) -> None:
    other = start_world(tmp_path / "other", EMPTY)
    assert other.world.prefix != bare_world.prefix
    other.stop()


def test_only_its_owner_may_ask(bare_world: World) -> None:
    with pytest.raises(WorldError, match="no command 'nonsense'"):
        bare_world.call("nonsense")
    request = json.dumps({"token": "wrong", "command": "bill"}).encode() + b"\n"
    with socket.create_connection(("127.0.0.1", bare_world.control_port), timeout=10) as line:
        line.sendall(request)
        with line.makefile("rb") as answer:
            assert json.loads(answer.readline()) == {"error": "wrong token"}
    assert (bare_world.folder / "world.json").stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    finished = subprocess.run(
        [sys.executable, "-m", "rehearsal.world", "--dir", str(in_the_way), *EMPTY],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 2
    assert str(in_the_way) in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_port_that_is_taken_leads_to_the_next_address() -> None:
    block = claim_block()
    with socket.socket() as taken:
        taken.bind((f"{block.prefix}1.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert block.fresh_server([port]) == f"{block.prefix}2.1"
    assert block.fresh_server([port]) == f"{block.prefix}3.1"
    block.release()

"""OneAPI in a rehearsed container: its names, its tree, its end (docs/architecture.md)."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.real_oneapi.build import binary
from rehearsal.real_oneapi.vocabulary import CL100K, write_small
from tests.contract.oneapi.subject import OneApi
from tests.contract.processes import PROJECT, Program, listens, own_address, plain_environment
from tests.contract.upstream import Upstream

ADDRESS = own_address(200)
Contained = Callable[..., OneApi]


@pytest.fixture
def contained(programs: list[Program], tmp_path: Path, upstream: Upstream) -> Contained:
    """Starts it as a container that knows `xinference` and DashScope by name."""
    root = tmp_path / "tree"
    write_small(root / "vocabulary", CL100K)
    names = {
        "xinference": "127.0.0.1",
        "dashscope.aliyuncs.com": "127.0.0.1",
    }
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps(names))

    def started(wait: bool = True, pass_fds: tuple[int, ...] = (), **more: str) -> OneApi:
        environment = plain_environment(
            PYTHONPATH=str(PROJECT),
            REHEARSAL_ADDRESS=ADDRESS,
            REHEARSAL_ROOT=str(root),
            REHEARSAL_HOSTS=str(hosts),
            REHEARSAL_OUTSIDE_PORT=str(upstream.port),
            SQL_DSN="oneapi:password@tcp(mysql:3306)/oneapi",
            TIKTOKEN_CACHE_DIR="/vocabulary",
            INITIAL_ROOT_TOKEN="lab",
        )
        command = [sys.executable, "-m", "rehearsal.real_oneapi.run", str(binary())]
        program = Program(
            command, {**environment, **more}, tmp_path / "run", 3000, ADDRESS, pass_fds
        )
        programs.append(program)
        oneapi = OneApi(program)
        if wait:
            oneapi.wait_until_listening()
        return oneapi

    return started


def test_names_of_the_network(contained: Contained, upstream: Upstream) -> None:
    """A channel reaches its upstream by the container's name; no other name resolves."""
    oneapi = contained()
    oneapi.become_root()
    oneapi.add_channel(name="a", models="m", base_url=f"http://xinference:{upstream.port}")
    assert oneapi.chat("m").status_code == 200
    assert upstream.asked[0].headers["host"] == f"xinference:{upstream.port}"
    oneapi.add_channel(name="b", models="lost", base_url="http://example.com")
    answer = oneapi.chat("lost")
    assert answer.json()["error"]["code"] == "do_request_failed"
    assert "no such host" in answer.json()["error"]["message"]


def test_the_outside_without_tls(contained: Contained, upstream: Upstream) -> None:
    """An https URL goes as plain HTTP to the emulated outside, its host kept."""
    oneapi = contained()
    oneapi.become_root()
    base_url = "https://dashscope.aliyuncs.com/compatible-mode"
    oneapi.add_channel(name="a", models="m", base_url=base_url)
    oneapi.chat("m")
    assert upstream.asked[0].headers["host"] == "dashscope.aliyuncs.com"
    assert upstream.asked[0].path == "/compatible-mode/v1/chat/completions"


def test_a_restart_keeps_the_channels(contained: Contained, upstream: Upstream) -> None:
    """A restarted or replaced container has its root, its token and its channels: they are in
    `/data`, a volume of the lab's."""
    first = contained()
    first.become_root()
    first.add_channel(name="a", models="m", base_url=f"http://xinference:{upstream.port}")
    first.program.stop()
    assert contained().chat("m").status_code == 200


def test_no_vocabulary(contained: Contained) -> None:
    """Without the mounted vocabulary: FATAL, exit 1."""
    oneapi = contained(wait=False, TIKTOKEN_CACHE_DIR="/nowhere")
    assert oneapi.program.wait_exit() == 1
    assert "token encoder" in oneapi.program.log


def test_the_lifeline(contained: Contained) -> None:
    """It ends with its lifeline."""
    far, near = os.pipe()
    oneapi = contained(pass_fds=(far,), REHEARSAL_LIFELINE=str(far))
    os.close(far)
    assert listens(ADDRESS, 3000)
    os.close(near)
    assert oneapi.program.wait_exit() == 0

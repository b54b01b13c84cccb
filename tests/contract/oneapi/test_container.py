"""OneAPI in a rehearsed container, and its vendor channels to the rehearsed providers outside.

The providers cannot be had here. Facts: docs/facts/oneapi.md §4 (vendor types), §9.
"""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from rehearsal.doubles.providers import HOSTS
from rehearsal.real_oneapi.run import CL100K
from tests.contract.oneapi.subject import OneApi, write_small
from tests.contract.processes import Program, contained, new_address, resolve
from tests.contract.upstream import Upstream
from tools.oneapi_build import binary

Contained = Callable[..., Program]


@pytest.fixture(scope="module")
def container(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Contained:
    """Starts OneAPI where `xinference` and the providers have a name, in one tree."""
    folder, outside = tmp_path_factory.mktemp("container"), new_address()
    write_small(folder / "root/vocabulary", CL100K)
    resolve(folder, {**dict.fromkeys(HOSTS, outside), "xinference": "127.0.0.1"})
    usual = {
        "REHEARSAL_OUTSIDE_PORT": "8181",
        "REHEARSAL_PAGES": '["pages.example"]',
        "TIKTOKEN_CACHE_DIR": "/vocabulary",
        "INITIAL_ROOT_TOKEN": "lab",
        "SQL_DSN": "oneapi:password@tcp(mysql:3306)/oneapi",
    }

    def run(command: str, address: str, port: int, **more: Any) -> Program:
        program = contained(folder, command, address, port, **{**usual, **more})
        request.addfinalizer(program.stop)
        return program

    run("rehearsal.doubles.providers", outside, 8181).wait_until_listening()
    command = f"rehearsal.real_oneapi.run {binary()}"
    return lambda **more: run(command, new_address(), 3000, **more)


@pytest.fixture(scope="module")
def oneapi(container: Contained) -> OneApi:
    """Its channels have no base URL: each goes to its vendor."""
    program = container()
    program.wait_until_listening()
    oneapi = OneApi(program)
    oneapi.become_root()
    for kind, models, key in (
        (17, "qwen-turbo,text-embedding-v1,qwen-x", "key"),
        (17, "qwen-max", "invalid-key"),
        (16, "glm-4", "id.secret"),
        (16, "glm-3-turbo", "no-dot"),
    ):
        oneapi.add_channel(name=models, type=kind, models=models, key=key)
    return oneapi


def test_names_of_the_network_and_a_restart_that_keeps_the_channels(
    oneapi: OneApi, container: Contained, upstream: Upstream
) -> None:
    """No other name resolves; `/data` is a volume of the lab's. It ends with its lifeline."""
    inside = upstream.base_url.replace("127.0.0.1", "xinference")
    oneapi.add_channel(name="a", models="m", base_url=inside)
    oneapi.add_channel(name="b", models="lost", base_url="http://example.com")
    lost = oneapi.chat("lost").json()["error"]
    assert (lost["code"], "no such host" in lost["message"]) == ("do_request_failed", True)
    far, near = os.pipe()
    again = container(pass_fds=(far,), REHEARSAL_LIFELINE=str(far))
    os.close(far)
    again.wait_until_listening()
    assert OneApi(again).chat("m").status_code == 200
    assert upstream.asked[0].headers["host"] == inside.removeprefix("http://")
    os.close(near)
    assert again.wait_exit() == 0


def test_without_the_mounted_vocabulary_it_ends(container: Contained) -> None:
    program = container(TIKTOKEN_CACHE_DIR="/nowhere")
    assert program.wait_exit() == 1
    assert "token encoder" in program.log


@pytest.mark.parametrize(
    ("model", "status"),
    [("qwen-turbo", 200), ("glm-4", 200), ("qwen-max", 401), ("glm-3-turbo", 401), ("qwen-x", 404)],
)
def test_a_vendor_answers_who_has_its_key(oneapi: OneApi, model: str, status: int) -> None:
    """A key that the vendor refuses looks like a token's 401."""
    assert oneapi.chat(model).status_code == status


def test_dashscope_s_own_form(oneapi: OneApi) -> None:
    """Type 17 embeds by it, and a stream of its events comes out in the OpenAI form, and ends."""
    whole = oneapi.chat("qwen-turbo").json()["choices"][0]["message"]["content"]
    lines = oneapi.chat("qwen-turbo", stream=True).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    embedding = oneapi.relay("/v1/embeddings", {"model": "text-embedding-v1", "input": "a text"})
    assert len(embedding.json()["data"][0]["embedding"]) == 1536

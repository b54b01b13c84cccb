"""The rehearsed providers outside, and OneAPI's vendor channels to them.

The providers cannot be had here. Facts: docs/facts/oneapi.md §4 (vendor types), §9.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rehearsal.doubles.providers import HOSTS
from rehearsal.real_oneapi.build import binary
from rehearsal.real_oneapi.vocabulary import CL100K, write_small
from tests.contract.oneapi.subject import OneApi
from tests.contract.processes import PROJECT, Program, listens, own_address, plain_environment

ADDRESS = own_address(201)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A container's environment; the rehearsed providers are its outside world."""
    folder = tmp_path_factory.mktemp("vendors")
    write_small(folder / "tree/vocabulary", CL100K)
    (folder / "hosts.json").write_text(json.dumps(dict.fromkeys(HOSTS, ADDRESS)))
    environment = plain_environment(
        PYTHONPATH=str(PROJECT),
        REHEARSAL_ADDRESS=ADDRESS,
        REHEARSAL_ROOT=str(folder / "tree"),
        REHEARSAL_HOSTS=str(folder / "hosts.json"),
        REHEARSAL_OUTSIDE_PORT="8181",
        REHEARSAL_PAGES='["pages.example"]',
        TIKTOKEN_CACHE_DIR="/vocabulary",
        INITIAL_ROOT_TOKEN="lab",
    )
    command = [sys.executable, "-m", "rehearsal.doubles.providers"]
    outside = Program(command, environment, folder / "outside")
    outside.wait_until(lambda: listens(ADDRESS, 8181), "the providers to listen")
    yield environment
    outside.stop()


def _post(path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    told = {"Authorization": "Bearer key", "Host": "dashscope.aliyuncs.com", **headers}
    with httpx.Client(trust_env=False) as client:
        return client.post(f"http://{ADDRESS}:8181{path}", json=body, headers=told)


def _chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello there"}]}


@pytest.mark.parametrize(
    ("model", "dimensions", "width"),
    [
        ("embedding-3", 512, 512),
        ("embedding-2", 512, 1024),
        ("embedding-3", 4096, 0),
    ],
)
def test_embeddings_are_as_wide_as_the_real_models(
    network: dict[str, str], model: str, dimensions: int, width: int
) -> None:
    """Models that can be shortened are; the others ignore it; too wide is refused."""
    body = {"model": model, "input": "a", "dimensions": dimensions}
    answered = _post("/v1/embeddings", body, Host="open.bigmodel.cn")
    rows = answered.json().get("data", [])
    assert [len(row["embedding"]) for row in rows] == ([width] if width else [])


@pytest.mark.parametrize(
    ("model", "key", "status", "code"),
    [
        ("qwen-plus", "Bearer sk-invalid", 401, "invalid_api_key"),
        ("qwen-pluss", "Bearer key", 404, "model_not_found"),
    ],
)
def test_what_a_provider_refuses(
    network: dict[str, str], model: str, key: str, status: int, code: str
) -> None:
    refused = _post("/v1/chat/completions", _chat(model), Authorization=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)


@pytest.fixture(scope="module")
def vendors(network: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneApi]:
    """OneAPI in that network, with channels that have no base URL: each goes to its vendor."""
    command = (sys.executable, "-m", "rehearsal.real_oneapi.run", str(binary()))
    program = Program(command, network, tmp_path_factory.mktemp("oneapi"), 3000, ADDRESS)
    oneapi = OneApi(program)
    oneapi.wait_until_listening()
    oneapi.become_root()
    channels = (
        (17, "qwen-turbo,text-embedding-v1", "key"),
        (17, "qwen-max", "invalid-key"),
        (16, "glm-4", "id.secret"),
        (16, "glm-3-turbo", "no-dot"),
    )
    for number, (kind, models, key) in enumerate(channels):
        oneapi.add_channel(name=f"channel-{number}", type=kind, models=models, key=key)
    yield oneapi
    program.stop()


@pytest.mark.parametrize(
    ("model", "status"),
    [("qwen-turbo", 200), ("glm-4", 200), ("qwen-max", 401), ("glm-3-turbo", 401)],
)
def test_a_vendor_answers_who_has_its_key(vendors: OneApi, model: str, status: int) -> None:
    """A key that the vendor refuses looks like a token's 401."""
    assert vendors.chat(model).status_code == status


def test_dashscope_s_own_form(vendors: OneApi) -> None:
    """Type 17 embeds by it, and a stream of its events comes out in the OpenAI form, and ends."""
    whole = vendors.chat("qwen-turbo").json()["choices"][0]["message"]["content"]
    lines = vendors.chat("qwen-turbo", stream=True).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    embedding = vendors.relay("/v1/embeddings", {"model": "text-embedding-v1", "input": "a text"})
    assert len(embedding.json()["data"][0]["embedding"]) == 1536

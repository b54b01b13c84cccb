"""The rehearsed models: their language, the providers outside, OneAPI's vendor channels.

The providers cannot be had here. Facts: docs/facts/oneapi.md §4 (vendor types), §9.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal import faults
from rehearsal.doubles.language import answer, embed, relevance
from rehearsal.doubles.providers import HOSTS
from rehearsal.real_oneapi.build import binary
from rehearsal.real_oneapi.vocabulary import CL100K, write_small
from tests.contract.oneapi.subject import OneApi
from tests.contract.processes import PROJECT, Program, listens, own_address, plain_environment

ADDRESS = own_address(201)
PASSAGES = (
    "The telescope on the hill weighs twelve tons and was built in 1987.",
    "Lunch is served in the canteen from noon to two o'clock.",
    "差旅住宿的报销标准为每晚五百元，须在三十天内提交发票。",
    "实验室的门禁卡遗失后，请到行政处补办。",
)


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("How heavy is the telescope?", 0),
        ("When can I have lunch?", 1),
        ("住宿报销的标准是多少？", 2),
        ("门禁卡丢了怎么办？", 3),
    ],
)
def test_the_right_passage_is_nearest(question: str, passage: int) -> None:
    """Embedding, relevance and answer all find the passage that a question is about."""
    vector = embed(question, 1024)
    assert sum(value * value for value in vector) == pytest.approx(1)
    near = [_product(vector, embed(text, 1024)) for text in PASSAGES]
    relevant = [relevance(question, text) for text in PASSAGES]
    assert near.index(max(near)) == passage
    assert relevant.index(max(relevant)) == passage
    assert all(0 <= score <= 1 for score in relevant)
    messages = [
        {"role": "system", "content": "\n".join(PASSAGES)},
        {"role": "user", "content": question},
    ]
    assert answer(messages) in PASSAGES[passage]


def test_an_answer_comes_from_the_quotes() -> None:
    """Quotes in tags are the only source; without a related sentence the answer says so."""
    prompt = 'Use <Data></Data> as your knowledge:\n<Data>\n{}\n</Data>\nQuestion:"""{}"""'
    asked = prompt.format("The bridge is 300 m long. It is red.", "How long is the bridge?")
    assert answer([{"role": "user", "content": asked}]) == "The bridge is 300 m long."
    other = prompt.format("The bridge is 300 m long.", "Who painted Guernica?")
    assert answer([{"role": "user", "content": other}]).startswith("The given content does not")


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
        REHEARSAL_FAULTS=str(folder / "faults.json"),
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


@pytest.fixture
def outside(network: dict[str, str]) -> Iterator[httpx.Client]:
    """DashScope, with a valid key."""
    headers = {"Authorization": "Bearer key", "Host": "dashscope.aliyuncs.com"}
    client = httpx.Client(base_url=f"http://{ADDRESS}:8181", headers=headers, trust_env=False)
    with client:
        yield client


def _chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello there"}], **more}


def test_provider_chat(outside: httpx.Client) -> None:
    """A chat, whole and as a stream, says the same."""
    whole = outside.post("/v1/chat/completions", json=_chat("qwen-plus")).json()
    said = whole["choices"][0]["message"]["content"]
    assert said
    assert whole["usage"]["total_tokens"] > 0
    body = _chat("qwen-plus", stream=True)
    lines = outside.post("/compatible-mode/v1/chat/completions", json=body).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    deltas = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(deltas) == said


@pytest.mark.parametrize(
    ("host", "model", "width"),
    [
        ("dashscope.aliyuncs.com", "text-embedding-v1", 1536),
        ("open.bigmodel.cn", "embedding-3", 2048),
        ("api.openai.com", "text-embedding-3-large", 3072),
    ],
)
def test_provider_embeddings(outside: httpx.Client, host: str, model: str, width: int) -> None:
    """Vectors are as wide as the real model's."""
    body = {"model": model, "input": ["a text", "another"]}
    rows = outside.post("/v1/embeddings", json=body, headers={"Host": host}).json()["data"]
    assert [len(row["embedding"]) for row in rows] == [width, width]


def test_provider_dimensions(outside: httpx.Client) -> None:
    """Models that can be shortened are; the others ignore it; too wide is refused."""
    zhipu = {"Host": "open.bigmodel.cn"}
    for model, wanted, width in (("embedding-3", 512, 512), ("embedding-2", 512, 1024)):
        body = {"model": model, "input": "a", "dimensions": wanted}
        rows = outside.post("/v1/embeddings", json=body, headers=zhipu).json()["data"]
        assert len(rows[0]["embedding"]) == width
    body = {"model": "embedding-3", "input": "a", "dimensions": 4096}
    assert outside.post("/v1/embeddings", json=body, headers=zhipu).status_code == 400


def test_a_web_page_outside(outside: httpx.Client, network: dict[str, str]) -> None:
    """A page needs no key, says that it is rehearsed, and can be gone."""
    headers = {"Host": "pages.example", "Authorization": ""}
    page = outside.get("/a%3Cb", headers=headers)
    assert page.status_code == 200
    assert "<title>pages.example/a&lt;b (rehearsed)</title>" in page.text
    place = Path(network["REHEARSAL_FAULTS"])
    faults.switch_on(place, "pages.gone", "pages.example", 1)
    assert outside.get("/", headers=headers).status_code == 404
    assert outside.get("/", headers=headers).status_code == 200


def test_provider_refusals(outside: httpx.Client) -> None:
    """401 for a bad key, 404 for an unknown model or the wrong kind, 400 for no body."""
    chat = "/v1/chat/completions"
    for key in ("", "Bearer", "Bearer sk-invalid"):
        bad = outside.post(chat, json=_chat("qwen-plus"), headers={"Authorization": key})
        assert (bad.status_code, bad.json()["error"]["code"]) == (401, "invalid_api_key")
    for model in ("qwen-pluss", "glm-4", "text-embedding-v1"):
        unknown = outside.post(chat, json=_chat(model))
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert outside.post(chat, json={"model": "qwen-plus", "messages": []}).status_code == 400
    assert outside.post(chat, content=b"{").status_code == 400


@pytest.fixture(scope="module")
def vendors(network: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneApi]:
    """OneAPI in that network."""
    command = (sys.executable, "-m", "rehearsal.real_oneapi.run", str(binary()))
    program = Program(command, network, tmp_path_factory.mktemp("oneapi"), 3000, ADDRESS)
    oneapi = OneApi(program)
    oneapi.wait_until_listening()
    oneapi.become_root()
    yield oneapi
    program.stop()


def _embed(oneapi: OneApi, model: str) -> httpx.Response:
    return oneapi.relay("/v1/embeddings", {"model": model, "input": "a text"})


def test_vendor_defaults(vendors: OneApi) -> None:
    """Without a base URL a type goes to its vendor's host, over https."""
    rows = (("a", 17, "qwen-plus", "key"), ("b", 16, "glm-4", "id.secret"))
    for name, channel_type, model, key in rows:
        vendors.add_channel(name=name, type=channel_type, models=model, key=key)
        answer = vendors.chat(model)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"]


def test_dashscope_streams(vendors: OneApi) -> None:
    """A stream of DashScope's own events comes out in the OpenAI form, and ends."""
    vendors.add_channel(name="s", type=17, models="qwen-turbo", key="key")
    whole = vendors.chat("qwen-turbo").json()["choices"][0]["message"]["content"]
    lines = vendors.chat("qwen-turbo", stream=True).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole


def test_dashscope_embeds(vendors: OneApi) -> None:
    """Type 17 embeds by DashScope's own form."""
    vendors.add_channel(name="e", type=17, models="text-embedding-v1", key="key")
    assert len(_embed(vendors, "text-embedding-v1").json()["data"][0]["embedding"]) == 1536


def test_bad_keys_of_vendors(vendors: OneApi) -> None:
    """A key that the vendor refuses looks like a token's 401."""
    vendors.add_channel(name="x", type=17, models="qwen-max", key="invalid-key")
    assert vendors.chat("qwen-max").status_code == 401
    vendors.add_channel(name="z", type=16, models="glm-3-turbo", key="no-dot")
    assert vendors.chat("glm-3-turbo").status_code == 401


def _product(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))

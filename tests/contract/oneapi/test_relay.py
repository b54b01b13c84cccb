"""The relay: routing by name, what goes up and comes back (docs/facts/oneapi.md §4, §6, §7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.oneapi.subject import OneApi, error_of
from tests.contract.upstream import USAGE, Upstream

CHAT = "/v1/chat/completions"


@pytest.fixture
def model(oneapi: OneApi, upstream: Upstream) -> str:
    """A model that a channel of its own serves, with the key `upstream-key`."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, base_url=upstream.base_url, key="upstream-key")
    return name


def test_chat(oneapi: OneApi, upstream: Upstream, model: str) -> None:
    """A chat goes to the channel as it came, chunked, with the channel's key (§4)."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "own_field": 1}
    answer = oneapi.relay(CHAT, body)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == f"I am {model}"
    assert answer.json()["usage"] == USAGE
    assert answer.headers["X-Oneapi-Request-Id"]
    (asked,) = upstream.asked
    assert asked.path == CHAT
    assert asked.json == body
    assert asked.headers["authorization"] == "Bearer upstream-key"
    assert asked.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in asked.headers


def test_stream(oneapi: OneApi, upstream: Upstream, model: str) -> None:
    """A stream comes back as server-sent events, ended by [DONE] (§4)."""
    answer = oneapi.chat(model, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    said = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    assert "".join(said) == f"I am {model}"
    assert upstream.asked[0].json["stream"] is True


def test_embeddings(oneapi: OneApi, upstream: Upstream, model: str) -> None:
    """Embeddings are relayed like chats (§6)."""
    answer = oneapi.relay("/v1/embeddings", {"model": model, "input": ["a"]})
    assert answer.json()["data"][0]["embedding"] == [0.6, 0.8]
    assert upstream.asked[0].path == "/v1/embeddings"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/moderations"])
def test_other_texts(oneapi: OneApi, upstream: Upstream, model: str, path: str) -> None:
    """Completions and moderations are relayed too (§6)."""
    body = {"model": model, "prompt": "p", "input": "i"}
    assert oneapi.relay(path, body).status_code == 200
    assert upstream.asked[0].path == path


def test_unknown_model(oneapi: OneApi) -> None:
    """No channel for a model: 503 with the group and the name (§7)."""
    answer = oneapi.chat("no-such-model")
    assert answer.status_code == 503
    assert error_of(answer) == {
        "message": "当前分组 default 下对于模型 no-such-model 无可用渠道",
        "type": "one_api_error",
    }


def test_a_body_not_declared_as_json(oneapi: OneApi, model: str) -> None:
    """Another content type: the model's name is empty in the 503 (§7)."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    answer = oneapi.relay(CHAT, body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 503
    assert error_of(answer)["message"] == "当前分组 default 下对于模型  无可用渠道"


def test_no_model(oneapi: OneApi) -> None:
    """A chat without a model: 503 with an empty name (§7)."""
    answer = oneapi.relay(CHAT, {"messages": []})
    assert answer.status_code == 503


def test_invalid_requests(oneapi: OneApi, upstream: Upstream, model: str) -> None:
    """No messages, a wrong type, no JSON: 400, and nothing goes up (§7)."""
    assert oneapi.relay(CHAT, {"model": model}).status_code == 400
    wrong = oneapi.relay(CHAT, {"model": model, "messages": [{"role": "user"}], "stream": "yes"})
    assert (wrong.status_code, error_of(wrong)["code"]) == (400, "invalid_text_request")
    headers = {"Content-Type": "application/json"}
    with oneapi.recorder.unrecorded():
        broken = oneapi.relay(CHAT, b"{nothing", headers=headers)
    assert broken.status_code == 400
    assert upstream.asked == []


def test_mapping(oneapi: OneApi, upstream: Upstream) -> None:
    """The alias in `models` routes and is mapped; the upstream's own name does not route (§4)."""
    alias, name = oneapi.new_name("m"), oneapi.new_name("up")
    oneapi.add_channel(
        name=alias,
        models=alias,
        model_mapping=json.dumps({alias: name}),
        base_url=upstream.base_url,
    )
    assert oneapi.chat(alias, own_field=1, temperature=0.5).status_code == 200
    (asked,) = upstream.asked
    # Mapped bodies are written anew: known fields only, with a length.
    assert asked.json["model"] == name
    assert asked.json["temperature"] == 0.5
    assert "own_field" not in asked.json
    assert "content-length" in asked.headers
    assert oneapi.relay("/v1/embeddings", {"model": alias, "input": "a"}).status_code == 200
    assert upstream.asked[-1].json["model"] == name
    assert oneapi.chat(name).status_code == 503


def test_a_broken_mapping_is_ignored(oneapi: OneApi, upstream: Upstream) -> None:
    """A mapping that is no JSON counts as none (§4)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, model_mapping="{broken", base_url=upstream.base_url)
    assert oneapi.chat(name).status_code == 200
    assert upstream.asked[0].json["model"] == name


@pytest.mark.parametrize(("suffix", "path"), [("/v1", "/v1/v1"), ("/", "//v1")])
def test_base_url_is_concatenated(
    oneapi: OneApi, upstream: Upstream, suffix: str, path: str
) -> None:
    """A base URL that ends in `/v1` or a slash doubles it; the upstream says 404 (trap 8)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, base_url=upstream.base_url + suffix)
    answer = oneapi.chat(name)
    assert answer.status_code == 404
    assert error_of(answer)["type"] == "upstream_error"
    assert upstream.asked[0].path == f"{path}/chat/completions"


@pytest.mark.parametrize("channel_type", [1, 8, 999])
def test_types_that_speak_openai(oneapi: OneApi, upstream: Upstream, channel_type: int) -> None:
    """Type 8 and an unknown type with a base URL relay exactly like type 1 (§4)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(
        name=name, models=name, base_url=upstream.base_url, type=channel_type, key="k"
    )
    assert oneapi.chat(name).status_code == 200
    assert upstream.asked[0].headers["authorization"] == "Bearer k"


def test_an_unknown_type_without_a_base_url(oneapi: OneApi) -> None:
    """An unknown type without a base URL: 500, one_api_panic, and OneAPI lives on (§4)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, type=999)
    with oneapi.recorder.unrecorded():
        answer = oneapi.chat(name)
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["type"] == "one_api_panic"
    assert "index out of range [999]" in error["message"]
    assert oneapi.http.get("/api/status").status_code == 200


def test_a_type_without_a_default_address(oneapi: OneApi) -> None:
    """Type 8 without a base URL: 500, do_request_failed (§4, §7)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, type=8)
    answer = oneapi.chat(name)
    assert (answer.status_code, error_of(answer)["code"]) == (500, "do_request_failed")


def test_priorities(oneapi: OneApi, upstream: Upstream) -> None:
    """The highest priority serves; when it is off the next one does; weight is ignored (§4)."""
    name = oneapi.new_name("m")
    common = {"models": name, "base_url": upstream.base_url}
    high = oneapi.add_channel(name=f"{name}-a", key="high", priority=2, weight=0, **common)
    oneapi.add_channel(name=f"{name}-b", key="low", priority=1, weight=100, **common)
    for _ in range(5):
        oneapi.chat(name)
    assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer high"}
    upstream.forget()
    oneapi.api("PUT", "/api/channel/", {"id": high, "status": 2})
    oneapi.chat(name)
    assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer low"}


def test_equal_priorities_share(oneapi: OneApi, upstream: Upstream) -> None:
    """Channels of one priority take turns by chance (§4)."""
    name = oneapi.new_name("m")
    for key in ("one", "two"):
        oneapi.add_channel(name=f"{name}-{key}", models=name, key=key, base_url=upstream.base_url)
    for _ in range(40):
        oneapi.chat(name)
    keys = {asked.headers["authorization"] for asked in upstream.asked}
    assert keys == {"Bearer one", "Bearer two"}


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_upstream_errors(oneapi: OneApi, upstream: Upstream, status: int) -> None:
    """An upstream's error keeps its status, as upstream_error (§7)."""
    name = f"status-{status}"
    oneapi.add_channel(name=oneapi.new_name(), models=name, base_url=upstream.base_url)
    answer = oneapi.chat(name)
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("upstream_error", "bad_response_status_code")
    assert error["param"] == str(status)


@pytest.mark.parametrize("status", [401, 429])
def test_upstream_errors_in_openai_form(oneapi: OneApi, upstream: Upstream, status: int) -> None:
    """An upstream's error in OpenAI's form is passed on with its own type and code (§7)."""
    name = f"openai-{status}"
    oneapi.add_channel(name=oneapi.new_name(), models=name, base_url=upstream.base_url)
    answer = oneapi.chat(name)
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_key")


def test_a_dead_upstream(oneapi: OneApi) -> None:
    """An upstream that does not listen: 500, do_request_failed (§7)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, base_url="http://127.0.0.1:9")
    answer = oneapi.chat(name)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (500, "do_request_failed")
    assert error["type"] == "one_api_error"


def test_an_upstream_that_does_not_resolve(oneapi: OneApi) -> None:
    """A name that nobody knows: 500, do_request_failed (§7)."""
    name = oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, base_url="http://xinference:9997")
    answer = oneapi.chat(name)
    assert (answer.status_code, error_of(answer)["code"]) == (500, "do_request_failed")


def test_a_stream_answered_with_json(oneapi: OneApi, upstream: Upstream) -> None:
    """A stream that the upstream answers with plain JSON is an error with its status (§7)."""
    oneapi.add_channel(name=oneapi.new_name(), models="flow-json", base_url=upstream.base_url)
    answer = oneapi.chat("flow-json", stream=True)
    assert answer.status_code == 200
    assert error_of(answer)["type"] == "upstream_error"


def test_retries(start: Callable[..., OneApi], upstream: Upstream) -> None:
    """RetryTimes is 0 by default; set, another channel is tried (§4)."""
    oneapi = start()
    oneapi.become_root()
    dead = "http://127.0.0.1:9"
    oneapi.add_channel(name="dead", models="m", base_url=dead, priority=2)
    oneapi.add_channel(name="live", models="m", base_url=upstream.base_url, priority=1)
    assert oneapi.chat("m").status_code == 500
    assert oneapi.api("PUT", "/api/option/", {"key": "RetryTimes", "value": "40"})["success"]
    assert oneapi.chat("m").status_code == 200


def test_rerank_is_not_relayed(oneapi: OneApi) -> None:
    """POST /v1/rerank: 404 Invalid URL, even without a token (§6, trap 10)."""
    for headers in ({}, {"Authorization": "Bearer sk-lab"}):
        answer = oneapi.http.post("/v1/rerank", json={"model": "m"}, headers=headers)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "Invalid URL (POST /v1/rerank)"
    assert oneapi.http.get("/api/no-such-page").status_code == 404
    assert oneapi.http.get("/v1/chat/completions").status_code == 404


def test_everything_else_is_a_page(oneapi: OneApi) -> None:
    """Any other path is the web page, HTTP 200 (§1)."""
    answer = oneapi.http.get("/channel")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_what_is_not_implemented(oneapi: OneApi, model: str) -> None:
    """Files, assistants, threads: 501, after token and model were looked at (§6)."""
    answer = oneapi.relay("/v1/threads", {"model": model})
    assert (answer.status_code, error_of(answer)["code"]) == (501, "api_not_implemented")
    headers = {"Authorization": "Bearer sk-lab"}
    assert oneapi.http.get("/v1/files", headers=headers).status_code == 503


def test_models(oneapi: OneApi, model: str) -> None:
    """GET /v1/models: owner `custom` for a name OneAPI does not know (§6)."""
    oneapi.add_channel(name=oneapi.new_name(), models="gpt-3.5-turbo")
    with oneapi.recorder.unrecorded():
        answer = oneapi.http.get("/v1/models", headers={"Authorization": "Bearer sk-lab"})
    owners = {row["id"]: row["owned_by"] for row in answer.json()["data"]}
    assert owners[model] == "custom"
    assert owners["gpt-3.5-turbo"] == "openai"


def test_one_model(oneapi: OneApi, model: str) -> None:
    """GET /v1/models/<custom>: HTTP 200 with model_not_found; built-ins answer (§6)."""
    headers = {"Authorization": "Bearer sk-lab"}
    answer = oneapi.http.get(f"/v1/models/{model}", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == "model_not_found"
    assert oneapi.http.get("/v1/models/gpt-4", headers=headers).json()["owned_by"] == "openai"


def test_speech(oneapi: OneApi, upstream: Upstream, model: str) -> None:
    """Speech routes by the JSON body's model; 4096 characters at most (§6)."""
    answer = oneapi.relay("/v1/audio/speech", {"model": model, "input": "hello", "voice": "a"})
    assert (answer.status_code, answer.content) == (200, b"RIFF")
    long = oneapi.relay("/v1/audio/speech", {"model": model, "input": "x" * 4097})
    assert (long.status_code, error_of(long)["code"]) == (400, "text_too_long")
    assert len(upstream.asked) == 1


def _transcribe(oneapi: OneApi, model: str) -> Any:
    form = {"files": {"file": ("a.wav", b"RIFF", "audio/wav")}, "data": {"model": model}}
    return oneapi.http.post(
        "/v1/audio/transcriptions", headers={"Authorization": "Bearer sk-lab"}, **form
    )


@pytest.mark.known_difference(
    "measured: v0.6.10 parses the form (§6, #1690) and sends an empty body up"
)
def test_transcription_as_whisper_1(oneapi: OneApi, upstream: Upstream) -> None:
    """A transcription of whisper-1 is relayed with its form unchanged (§6, trap 10)."""
    oneapi.add_channel(name=oneapi.new_name(), models="whisper-1", base_url=upstream.base_url)
    answer = _transcribe(oneapi, "whisper-1")
    assert (answer.status_code, answer.json()) == (200, {"text": "hello"})
    assert (b"whisper-1" in upstream.asked[0].body) is not oneapi.subject.is_real
    assert upstream.asked[0].headers["content-type"].startswith("multipart/form-data")


def test_transcription_routes_as_whisper_1(oneapi: OneApi, model: str) -> None:
    """A transcription of another model routes as whisper-1 (§6, trap 10)."""
    with oneapi.recorder.unrecorded():
        for row in oneapi.api("GET", "/api/channel/search")["data"]:
            if row["models"] == "whisper-1":
                oneapi.api("DELETE", f"/api/channel/{row['id']}")
    answer = _transcribe(oneapi, model)
    assert answer.status_code == 503
    assert "模型 whisper-1 无" in error_of(answer)["message"]


def test_images_of_unknown_sizes(oneapi: OneApi, upstream: Upstream, model: str) -> None:
    """Only known image models and sizes are relayed (§6)."""
    body = {"model": "dall-e-2", "prompt": "p", "size": "1x1"}
    oneapi.add_channel(name=oneapi.new_name(), models="dall-e-2", base_url=upstream.base_url)
    answer = oneapi.relay("/v1/images/generations", body)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "size_not_supported")


def test_automatic_disabling(start: Callable[..., OneApi], upstream: Upstream) -> None:
    """Off by default; switched on, an upstream's 401 takes the channel out as status 3 (§4)."""
    oneapi = start()
    oneapi.become_root()
    channel = oneapi.add_channel(name="c", models="status-401", base_url=upstream.base_url)
    assert oneapi.chat("status-401").status_code == 401
    assert oneapi.channel(channel)["status"] == 1
    option = {"key": "AutomaticDisableChannelEnabled", "value": "true"}
    assert oneapi.api("PUT", "/api/option/", option)["success"]
    assert oneapi.chat("status-401").status_code == 401
    oneapi.wait_for_chat("status-401", 503)
    with oneapi.recorder.unrecorded():
        assert oneapi.channel(channel)["status"] == 3

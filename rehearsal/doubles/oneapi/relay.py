"""The relay, `/v1/...`: a call goes to the channel of its model (docs/facts/oneapi.md §4, §6,
§7)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
from starlette.responses import Response, StreamingResponse

from rehearsal.doubles.language import count_tokens, text_of
from rehearsal.doubles.oneapi.access import Grant, RefusedError, admit, channel_for
from rehearsal.doubles.oneapi.gateway import Call, Gateway, JsonAnswer
from rehearsal.doubles.oneapi.go_json import GoJsonError, Json, bind
from rehearsal.doubles.oneapi.probe import error_message, mapping_of
from rehearsal.doubles.oneapi.routing import BrokenError, NoChannelError
from rehearsal.doubles.oneapi.rows import Channel
from rehearsal.doubles.oneapi.upstream import read, send
from rehearsal.doubles.oneapi.vendors import (
    BAICHUAN,
    BASE_URLS,
    VendorError,
    Wire,
    base_url,
    builtin_models,
    speaks_openai,
    wire,
)

_REQUEST_SHAPE = {
    "messages": "[]",
    "model": "string",
    "frequency_penalty": "float64",
    "max_tokens": "int",
    "n": "int",
    "presence_penalty": "float64",
    "response_format": "any",
    "seed": "float64",
    "stream": "bool",
    "temperature": "float64",
    "top_p": "float64",
    "top_k": "int",
    "tools": "[]",
    "tool_choice": "any",
    "function_call": "any",
    "functions": "any",
    "user": "string",
    "prompt": "any",
    "input": "any",
    "encoding_format": "string",
    "dimensions": "int",
    "instruction": "string",
    "size": "string",
}
_REQUIRED = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/moderations": "input",
    "/v1/edits": "instruction",
}
_IMAGE_SIZES = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1024x1792", "1792x1024"),
}
_LONGEST_SPEECH = 4096
_HOP_BY_HOP = ("content-encoding", "content-length", "transfer-encoding", "connection")
_DISABLING_TYPES = ("insufficient_quota", "authentication_error", "permission_error", "forbidden")
_CREATED = 1626777600
_PERMISSION = {
    "id": "modelperm-LwHkVFn8AcMItP432fKKDIKJ",
    "object": "model_permission",
    "created": _CREATED,
    "allow_create_engine": True,
    "allow_sampling": True,
    "allow_logprobs": True,
    "allow_search_indices": False,
    "allow_view": True,
    "allow_fine_tuning": False,
    "organization": "*",
    "group": None,
    "is_blocking": False,
}


class RelayError(Exception):
    """A failed relay: `error` is what the client gets, apart from the request id."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error

    @classmethod
    def own(cls, status: int, message: str, code: str) -> RelayError:
        """OneAPI's own words."""
        return cls(status, {"message": message, "type": "one_api_error", "param": "", "code": code})


def relay(gateway: Gateway, call: Call) -> Response:
    """Relay one call, again on other channels as often as the option RetryTimes says."""
    try:
        grant = admit(gateway, call)
        channel = channel_for(gateway, grant)
    except RefusedError as refusal:
        return refusal.answer(call.request_id)
    try:
        return _attempts(gateway, call, grant, channel)
    except RelayError as failure:
        return _failed(call, failure)
    except IndexError:
        return _panicked(channel.type)


def not_implemented(gateway: Gateway, call: Call) -> Response:
    """Known to OpenAI, not to OneAPI; token and model are checked before it says so."""
    try:
        channel_for(gateway, admit(gateway, call))
    except RefusedError as refusal:
        return refusal.answer(call.request_id)
    error = {
        "message": "API not implemented",
        "type": "one_api_error",
        "param": "",
        "code": "api_not_implemented",
    }
    return JsonAnswer({"error": error}, 501)


def list_models(gateway: Gateway, call: Call) -> Response:
    """From the abilities in the database, so no proof that anything routes."""
    try:
        grant = admit(gateway, call)
    except RefusedError as refusal:
        return refusal.answer(call.request_id)
    if grant.token.models:
        names = grant.token.models.split(",")
    else:
        names = gateway.tables.models_of(grant.group)
    owners = dict(builtin_models())
    ordered = sorted(set(names), key=lambda name: name not in owners)
    return JsonAnswer({"object": "list", "data": [_model(name, owners) for name in ordered]})


def get_model(gateway: Gateway, call: Call) -> Response:
    """Built-in models only; for others HTTP 200 with an error."""
    try:
        admit(gateway, call)
    except RefusedError as refusal:
        return refusal.answer(call.request_id)
    name = call.parts["model"]
    owners = dict(builtin_models())
    if name in owners:
        return JsonAnswer(_model(name, owners))
    error = {
        "message": f"The model '{name}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    return JsonAnswer({"error": error})


def _model(name: str, owners: dict[str, str]) -> dict[str, Any]:
    """One entry of a model list; only built-in models carry a permission."""
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": owners.get(name, "custom"),
        "permission": [_PERMISSION] if name in owners else None,
        "root": name,
        "parent": None,
    }


def _attempts(gateway: Gateway, call: Call, grant: Grant, channel: Channel) -> Response:
    try:
        return _attempt(gateway, call, grant, channel)
    except RelayError as failure:
        _judge(gateway, channel, failure)
        last, failed_on = failure, channel.id
    retries = _retries(gateway, grant, last)
    for left in range(retries, 0, -1):
        try:
            other = gateway.router.choose(grant.group, grant.model, left != retries)
        except (NoChannelError, BrokenError):
            break
        if other.id == failed_on:
            continue
        try:
            return _attempt(gateway, call, grant, other)
        except RelayError as failure:
            _judge(gateway, other, failure)
            last, failed_on = failure, other.id
    raise last


def _retries(gateway: Gateway, grant: Grant, failure: RelayError) -> int:
    once = grant.channel_id is not None or failure.status == 400 or failure.status // 100 == 2
    return 0 if once else int(gateway.options["RetryTimes"] or 0)


def _judge(gateway: Gateway, channel: Channel, failure: RelayError) -> None:
    """Switch the channel off, where that option is on and the failure is one of a bad account."""
    if gateway.options["AutomaticDisableChannelEnabled"] != "true":
        return
    error = failure.error
    bad_account = (
        failure.status == 401
        or error.get("type") in _DISABLING_TYPES
        or error.get("code") in ("invalid_api_key", "account_deactivated")
        or any(word in error["message"] for word in ("credit", "balance"))
    )
    if bad_account:
        gateway.tables.disable_channel(channel.id)


def _attempt(gateway: Gateway, call: Call, grant: Grant, channel: Channel) -> Response:
    if call.path.startswith("/v1/audio/"):
        return _relay_audio(gateway, call, grant, channel)
    if call.path.startswith("/v1/images/generations"):
        return _relay_image(call, channel)
    return _relay_text(gateway, call, grant, channel)


def _relay_text(gateway: Gateway, call: Call, grant: Grant, channel: Channel) -> Response:
    request = _text_request(call)
    asked = request["model"]
    mapped = mapping_of(channel).get(asked) or asked
    left = _wire(channel, call.target, mapped)
    headers = _headers(call, left.headers, request.get("stream", False))
    body: bytes | Iterator[bytes]
    if speaks_openai(channel.type) and mapped == asked and channel.type != BAICHUAN:
        # Unmapped bodies go out as they came, chunked, without a Content-Length.
        body = iter((call.body,))
    else:
        request["model"] = left.model
        body = json.dumps(_without_zeros(request), ensure_ascii=False).encode()
    answer = _sent(call, channel, left.path, headers, body)
    if answer.status_code != 200:
        raise _upstream_error(answer)
    if request.get("stream"):
        if answer.headers.get("content-type", "").startswith("application/json"):
            raise _upstream_error(answer)
        return _streamed(gateway, call, grant, channel, answer, request, left.model)
    return _whole(gateway, grant, channel, answer, request, left.model)


def _text_request(call: Call) -> dict[str, Any]:
    try:
        request = bind(call.body, _REQUEST_SHAPE, "GeneralOpenAIRequest") if call.is_json else {}
    except GoJsonError as error:
        raise RelayError.own(400, str(error), "invalid_text_request") from error
    if not request.get("model"):
        if call.path.startswith("/v1/moderations"):
            request["model"] = "text-moderation-latest"
        elif call.path.endswith("/embeddings"):
            request["model"] = call.parts.get("model", "")
    problem = _invalid(call, request)
    if problem:
        raise RelayError.own(400, problem, "invalid_text_request")
    return request


def _invalid(call: Call, request: dict[str, Any]) -> str:
    if not 0 <= request.get("max_tokens", 0) <= 2**30:
        return "max_tokens is invalid"
    if not request.get("model"):
        return "model is required"
    needed = _REQUIRED.get(call.path)
    return f"field {needed} is required" if needed and not request.get(needed) else ""


def _without_zeros(request: dict[str, Any]) -> dict[str, Any]:
    """As Go writes the struct again: fields it does not know, and zeros, are gone."""
    return {name: value for name, value in request.items() if value not in (0, "", [], False)}


def _relay_image(call: Call, channel: Channel) -> Response:
    shape = {"model": "string", "prompt": "string", "n": "int", "size": "string"}
    try:
        request = bind(call.body, shape, "ImageRequest") if call.is_json else {}
    except GoJsonError as error:
        raise RelayError.own(400, str(error), "invalid_image_request") from error
    model = request.get("model") or "dall-e-2"
    mapped = mapping_of(channel).get(model) or model
    if (request.get("size") or "1024x1024") not in _IMAGE_SIZES.get(mapped, ()):
        raise RelayError.own(400, "size not supported for this image model", "size_not_supported")
    if not request.get("prompt"):
        raise RelayError.own(400, "prompt is required", "prompt_missing")
    left = _wire(channel, call.target, mapped)
    body = json.dumps({**request, "model": left.model}, ensure_ascii=False).encode()
    answer = _sent(call, channel, left.path, _headers(call, left.headers, False), body)
    if answer.status_code != 200:
        raise _upstream_error(answer)
    return _copied(answer)


def _relay_audio(gateway: Gateway, call: Call, grant: Grant, channel: Channel) -> Response:
    """The body passes through unchanged, model name included: no mapping here."""
    model, tokens = "whisper-1", 0
    if call.path.startswith("/v1/audio/speech"):
        shape = {"model": "string", "input": "string"}
        try:
            request = bind(call.body, shape, "TextToSpeechRequest") if call.is_json else {}
        except GoJsonError as error:
            raise RelayError.own(400, str(error), "invalid_json") from error
        model, tokens = request.get("model", ""), len(request.get("input", "").encode())
        if tokens > _LONGEST_SPEECH:
            text = "input is too long (over 4096 characters)"
            raise RelayError.own(400, text, "text_too_long")
    left = _wire(channel, call.target, model)
    headers = _headers(call, left.headers, False)
    answer = _sent(call, channel, left.path, headers, call.body)
    if answer.status_code != 200:
        raise _upstream_error(answer)
    _book(gateway, grant, channel, model, tokens, 0)
    return _copied(answer)


def _wire(channel: Channel, target: str, model: str) -> Wire:
    version = _config(channel).get("api_version") or channel.other
    try:
        return wire(channel.type, channel.key, target, model, version)
    except VendorError as error:
        raise RelayError.own(error.status, str(error), error.code) from error


def _sent(
    call: Call,
    channel: Channel,
    path: str,
    headers: dict[str, str],
    body: bytes | Iterator[bytes],
) -> httpx.Response:
    """Plain concatenation of base URL and path, slashes and all."""
    url = base_url(channel.type, channel.base_url or "") + path
    try:
        return send(call.method, url, headers, body)
    except VendorError as error:
        raise RelayError.own(error.status, str(error), error.code) from error


def _headers(call: Call, own: dict[str, str], streams: bool) -> dict[str, str]:
    accept = call.headers.get("accept", "") or ("text/event-stream" if streams else "")
    content_type = call.headers.get("content-type", "")
    return {**own, "Content-Type": content_type, "Accept": accept}


def _config(channel: Channel) -> dict[str, Any]:
    try:
        found = json.loads(channel.config or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _whole(
    gateway: Gateway,
    grant: Grant,
    channel: Channel,
    answer: httpx.Response,
    request: dict[str, Any],
    model: str,
) -> Response:
    response = _copied(answer)
    try:
        parsed = json.loads(bytes(response.body))
    except ValueError as error:
        code = "unmarshal_response_body_failed"
        raise RelayError.own(500, f"invalid character: {error}", code) from error
    problem = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(problem, dict) and problem.get("type"):
        raise RelayError(200, {"message": "", "param": "", "code": None, **problem})
    usage = parsed.get("usage") if isinstance(parsed, dict) else None
    prompt, completion = _usage(usage, request, _said(parsed))
    _book(gateway, grant, channel, model, prompt, completion)
    return response


def _streamed(
    gateway: Gateway,
    call: Call,
    grant: Grant,
    channel: Channel,
    answer: httpx.Response,
    request: dict[str, Any],
    model: str,
) -> Response:
    """Event by event; those without choices are held back."""

    def events() -> Iterator[bytes]:
        said, usage = "", None
        try:
            for line in answer.iter_lines():
                passed, text, counted = _event(line)
                said, usage = said + text, counted or usage
                if passed:
                    yield f"{passed}\n\n".encode()
        except httpx.TransportError:
            pass
        finally:
            answer.close()
        _book(gateway, grant, channel, model, *_usage(usage, request, said))

    return StreamingResponse(
        events(),
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        },
    )


def _event(line: str) -> tuple[str, str, dict[str, Any] | None]:
    """What one line passes on, the text in it, and its usage."""
    if line.startswith("data: [DONE]"):
        return "data: [DONE]", "", None
    if not line.startswith("data: "):
        return "", "", None
    try:
        parsed = json.loads(line.removeprefix("data: "))
        choices = parsed.get("choices") or []
    except (ValueError, AttributeError):
        return line, "", None
    if not choices:
        return "", "", None
    text = "".join(str((choice.get("delta") or {}).get("content") or "") for choice in choices)
    return line, text, parsed.get("usage")


def _copied(answer: httpx.Response) -> Response:
    """The upstream's answer with its headers."""
    try:
        text = read(answer)
    except VendorError as error:
        raise RelayError.own(error.status, str(error), error.code) from error
    kept = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}
    return Response(text, answer.status_code, kept)


def _upstream_error(answer: httpx.Response) -> RelayError:
    """The upstream's own error if it is in OpenAI's form, else one about its status."""
    status = answer.status_code
    try:
        text = read(answer)
    except VendorError:
        text = b""
    error: dict[str, Any] = {
        "message": error_message(text, status),
        "type": "upstream_error",
        "param": str(status),
        "code": "bad_response_status_code",
    }
    try:
        given = json.loads(text).get("error")
    except (ValueError, AttributeError):
        given = None
    if isinstance(given, dict) and given.get("message"):
        names = ("message", "type", "param")
        error = {name: str(given.get(name) or "") for name in names}
        error["code"] = given.get("code")
    return RelayError(status, error)


def _failed(call: Call, failure: RelayError) -> Response:
    message = failure.error["message"]
    if failure.status == 429:
        message = "当前分组上游负载已饱和，请稍后再试"
    message = f"{message} (request id: {call.request_id})"
    return JsonAnswer({"error": {**failure.error, "message": message}}, failure.status)


def _panicked(channel_type: int) -> Response:
    message = (
        f"Panic detected, error: runtime error: index out of range [{channel_type}] "
        f"with length {len(BASE_URLS)}. Please submit an issue with the related log here: "
        "https://github.com/songquanpeng/one-api"
    )
    return JsonAnswer({"error": {"message": message, "type": "one_api_panic"}}, 500)


def _book(
    gateway: Gateway, grant: Grant, channel: Channel, model: str, prompt: int, completion: int
) -> None:
    quota = gateway.options.price(model, grant.group, prompt, completion)
    gateway.tables.consume(grant.token.user_id, grant.token.id, channel.id, quota)


def _usage(usage: Json, request: dict[str, Any], said: str) -> tuple[int, int]:
    if isinstance(usage, dict) and usage.get("total_tokens"):
        return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    asked = " ".join(text_of(message.get("content")) for message in request.get("messages") or [])
    return count_tokens(asked or str(request.get("input") or "")), count_tokens(said)


def _said(parsed: Json) -> str:
    choices = parsed.get("choices") if isinstance(parsed, dict) else None
    texts = (text_of((choice.get("message") or {}).get("content")) for choice in choices or [])
    return "".join(texts)

"""What OneAPI itself asks an upstream: the channel test and the balance (docs/facts/oneapi.md
§4)."""

from __future__ import annotations

import json
from typing import Any

from rehearsal.doubles.oneapi.rows import Channel
from rehearsal.doubles.oneapi.upstream import read, send
from rehearsal.doubles.oneapi.vendors import (
    CUSTOM,
    OPENAI,
    VendorError,
    base_url,
    default_models,
    wire,
)

_CHAT = "/v1/chat/completions"


def test_channel(channel: Channel) -> str:
    """What is wrong with the channel, or an empty text. Always a chat, with one chosen model."""
    try:
        return _chat_problem(channel)
    except VendorError as error:
        return str(error)


def balance_of(channel: Channel) -> tuple[float, str]:
    """The upstream's balance in USD, and what went wrong."""
    if channel.type not in (OPENAI, CUSTOM):
        return 0, "尚未实现"
    try:
        base = base_url(channel.type, channel.base_url or "")
        granted = _billing(channel, f"{base}/v1/dashboard/billing/subscription")
        used = _billing(channel, f"{base}/v1/dashboard/billing/usage")
        return granted.get("hard_limit_usd", 0) - used.get("total_usage", 0) / 100, ""
    except VendorError as error:
        return 0, str(error)


def mapping_of(channel: Channel) -> dict[str, str]:
    """The channel's model mapping; one that cannot be read counts as none."""
    try:
        found = json.loads(channel.model_mapping or "{}")
    except ValueError:
        return {}
    texts = isinstance(found, dict) and all(isinstance(name, str) for name in found.values())
    return found if texts else {}


def _chat_problem(channel: Channel) -> str:
    model = _tested_model(channel)
    left = wire(channel.type, channel.key, _CHAT, model, "")
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "model": left.model,
        "max_tokens": 2,
    }
    headers = {**left.headers, "Content-Type": "application/json"}
    url = base_url(channel.type, channel.base_url or "") + left.path
    answer = send("POST", url, headers, json.dumps(body).encode())
    text = read(answer)
    if answer.status_code != 200:
        return f"status code {answer.status_code}: {error_message(text, answer.status_code)}"
    try:
        parsed = json.loads(text)
    except ValueError as error:
        return str(error)
    problem = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(problem, dict) and problem.get("type"):
        return str(problem.get("message", ""))
    return ""


def _tested_model(channel: Channel) -> str:
    preferred = default_models(channel.type)[0]
    if preferred in channel.models:
        return preferred
    first = channel.models.split(",")[0]
    return mapping_of(channel).get(first) or first


def error_message(text: bytes, status: int) -> str:
    """The message in an upstream's error, wherever it keeps it."""
    found = _messages(text)
    return next((message for message in found if message), f"bad response status code {status}")


def _messages(text: bytes) -> list[str]:
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        return []
    if not isinstance(parsed, dict):
        return []
    error = parsed.get("error")
    nested = error.get("message") if isinstance(error, dict) else ""
    names = ("message", "msg", "err", "error_msg")
    return [str(value or "") for value in (nested, *(parsed.get(name) for name in names))]


def _billing(channel: Channel, url: str) -> dict[str, Any]:
    answer = send("GET", url, {"Authorization": f"Bearer {channel.key}"}, b"")
    text = read(answer)
    if answer.status_code != 200:
        raise VendorError(f"status code: {answer.status_code}")
    try:
        parsed: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise VendorError(str(error)) from error
    return parsed

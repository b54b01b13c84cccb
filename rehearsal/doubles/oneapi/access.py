"""Who may relay what: the token in front of every `/v1` call (docs/facts/oneapi.md §2, §5, §7)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from rehearsal.doubles.oneapi.gateway import Call, Gateway, JsonAnswer
from rehearsal.doubles.oneapi.go_json import GoJsonError, bind
from rehearsal.doubles.oneapi.routing import BrokenError, NoChannelError
from rehearsal.doubles.oneapi.rows import (
    ENABLED,
    NEVER,
    TOKEN_EXHAUSTED,
    TOKEN_EXPIRED,
    Channel,
    Token,
)
from rehearsal.doubles.oneapi.store import StoreError
from rehearsal.doubles.oneapi.tables import NotFoundError

_NEED_MODEL = ("/v1/completions", "/v1/chat/completions", "/v1/images", "/v1/audio")
_DEFAULT_MODELS = {
    "/v1/moderations": "text-moderation-stable",
    "/v1/images/generations": "dall-e-2",
    "/v1/audio/transcriptions": "whisper-1",
    "/v1/audio/translations": "whisper-1",
}


class RefusedError(Exception):
    """OneAPI's own refusal of a relay call."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def answer(self, request_id: str) -> JsonAnswer:
        """In OpenAI's error form, without `code` and `param`."""
        error = {"message": f"{self} (request id: {request_id})", "type": "one_api_error"}
        return JsonAnswer({"error": error}, self.status)


@dataclass(frozen=True)
class Grant:
    """A call let in: by which token, for which model, on which channel if the key names one."""

    token: Token
    group: str
    model: str
    channel_id: str | None


def admit(gateway: Gateway, call: Call) -> Grant:
    """Check the token and find the model asked for.

    Raises:
        RefusedError: 401 for the token itself, 403 for what it may not do, 400 for a bad body.
    """
    presented = call.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("sk-")
    key, *rest = presented.split("-")
    token = _valid_token(gateway, key)
    if token.subnet and not _inside(call.client, token.subnet):
        raise RefusedError(403, f"该令牌只能在指定网段使用：{token.subnet}，当前 ip：{call.client}")
    try:
        user = gateway.tables.user(token.user_id)
    except StoreError as error:
        raise RefusedError(500, str(error)) from error
    if user.status != ENABLED:
        raise RefusedError(403, "用户已被封禁")
    model = _asked_model(call)
    if token.models and model and model not in token.models.split(","):
        raise RefusedError(403, f"该令牌无权使用模型：{model}")
    if rest and not gateway.tables.is_admin(token.user_id):
        raise RefusedError(403, "普通用户不支持指定渠道")
    return Grant(token, user.group, model, rest[0] if rest else None)


def channel_for(gateway: Gateway, grant: Grant) -> Channel:
    """The channel that serves the call.

    Raises:
        RefusedError: 503 when none does; 400 or 403 for a channel named in the key.
    """
    if grant.channel_id is not None:
        return _named_channel(gateway, grant.channel_id)
    try:
        return gateway.router.choose(grant.group, grant.model)
    except BrokenError as error:
        raise RefusedError(503, "数据库一致性已被破坏，请联系管理员") from error
    except NoChannelError as error:
        raise RefusedError(
            503, f"当前分组 {grant.group} 下对于模型 {grant.model} 无可用渠道"
        ) from error


def _valid_token(gateway: Gateway, key: str) -> Token:
    if not key:
        raise RefusedError(401, "未提供令牌")
    try:
        token = gateway.tables.token_by_key(key)
    except NotFoundError as error:
        raise RefusedError(401, "无效的令牌") from error
    except StoreError as error:
        raise RefusedError(401, "令牌验证失败") from error
    if token.status == TOKEN_EXHAUSTED:
        raise RefusedError(401, f"令牌 {token.name}（#{token.id}）额度已用尽")
    if token.status == TOKEN_EXPIRED:
        raise RefusedError(401, "该令牌已过期")
    if token.status != ENABLED:
        raise RefusedError(401, "该令牌状态不可用")
    if token.expired_time != NEVER and token.expired_time < time.time():
        _remember(gateway, token, TOKEN_EXPIRED)
        raise RefusedError(401, "该令牌已过期")
    if not token.unlimited_quota and token.remain_quota <= 0:
        _remember(gateway, token, TOKEN_EXHAUSTED)
        raise RefusedError(401, "该令牌额度已用尽")
    return token


def _remember(gateway: Gateway, token: Token, status: int) -> None:
    token.status = status
    gateway.tables.save_token(token)


def _inside(client: str, subnets: str) -> bool:
    address = ip_address(client)
    return any(address in ip_network(part.strip(), strict=False) for part in subnets.split(","))


def _asked_model(call: Call) -> str:
    """A body not declared as JSON is not looked into: the model is then empty or a default."""
    model = ""
    if call.is_json:
        try:
            model = bind(call.body, {"model": "string"}, "ModelRequest").get("model", "")
        except GoJsonError as error:
            if call.path.startswith(_NEED_MODEL):
                message = "unexpected end of JSON input" if not call.body else str(error)
                raise RefusedError(
                    400, f"common.UnmarshalBodyReusable failed: {message}"
                ) from error
            return ""
    if not model and call.path.endswith("embeddings"):
        return call.parts.get("model", "")
    defaults = (name for path, name in _DEFAULT_MODELS.items() if call.path.startswith(path))
    return model or next(defaults, "")


def _named_channel(gateway: Gateway, text: str) -> Channel:
    try:
        channel = gateway.tables.channel(int(text))
    except (ValueError, NotFoundError, StoreError) as error:
        raise RefusedError(400, "无效的渠道 Id") from error
    if channel.status != ENABLED:
        raise RefusedError(403, "该渠道已被禁用")
    return channel

"""The management API, `/api/...` (docs/facts/oneapi.md §3, §4, §5, §6).

Failures are HTTP 200 with `success: false`, the text of whatever went wrong in `message`.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
import string
import threading
import time
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from starlette.responses import Response

from rehearsal.doubles.oneapi.gateway import (
    SESSION_SECONDS,
    VERSION,
    Call,
    Gateway,
    JsonAnswer,
    done,
    refused,
)
from rehearsal.doubles.oneapi.go_json import GoJsonError, bind
from rehearsal.doubles.oneapi.probe import balance_of, test_channel
from rehearsal.doubles.oneapi.rows import (
    ADMIN,
    CHANNEL_SHAPE,
    COMMON_USER,
    DISABLED,
    ENABLED,
    NEVER,
    ROOT,
    TOKEN_EXHAUSTED,
    TOKEN_EXPIRED,
    TOKEN_SHAPE,
    USER_SHAPE,
    Channel,
    Token,
    User,
)
from rehearsal.doubles.oneapi.store import StoreError
from rehearsal.doubles.oneapi.tables import (
    TableError,
    check_password,
)
from rehearsal.doubles.oneapi.vendors import builtin_models

Handler = Callable[[Gateway, Call], Response]

_UNCHANGED_PASSWORD = "$I_LOVE_U"
_LENGTHS = {
    "Username": ("username", 0, 12),
    "Password": ("password", 8, 20),
    "DisplayName": ("display_name", 0, 20),
    "Email": ("email", 0, 50),
}
_KEY_LENGTH = 48
_NAME_BYTES = 30
_BAD_PARAMETER = "无效的参数"
_BAD_LOGIN = "用户名或密码错误，或用户已被封禁"


def guarded(role: int, handler: Handler) -> Handler:
    """`handler` for callers of at least that role: a session cookie first, else an access token."""

    @functools.wraps(handler)
    def checked(gateway: Gateway, call: Call) -> Response:
        caller = gateway.session(call.cookies.get("session"))
        if caller is None:
            presented = call.headers.get("authorization", "")
            if not presented:
                return refused("无权进行此操作，未登录且未提供 access token", 401)
            user = _owner(gateway, presented.replace("Bearer ", "", 1))
            if user is None:
                return refused("无权进行此操作，access token 无效")
            caller = user.as_json()
        if caller["status"] == DISABLED:
            return refused("用户已被封禁")
        if caller["role"] < role:
            return refused("无权进行此操作，权限不足")
        call.user_id, call.role = caller["id"], caller["role"]
        return handler(gateway, call)

    return checked


def reporting(handler: Handler) -> Handler:
    """`handler`, with what the tables or Go's JSON refuse as the answer's message."""

    @functools.wraps(handler)
    def reported(gateway: Gateway, call: Call) -> Response:
        try:
            return handler(gateway, call)
        except (TableError, StoreError, GoJsonError) as error:
            return refused(str(error))

    return reported


def _owner(gateway: Gateway, access_token: str) -> User | None:
    try:
        return gateway.tables.user_with_access_token(access_token) if access_token else None
    except StoreError:
        return None


# status and users


def status(gateway: Gateway, call: Call) -> Response:
    """Never touches the database."""
    options = gateway.options
    return done(
        {
            "version": VERSION,
            "start_time": gateway.started,
            "email_verification": False,
            "github_oauth": False,
            "github_client_id": "",
            "lark_client_id": "",
            "system_name": options["SystemName"],
            "logo": options["Logo"],
            "footer_html": options["Footer"],
            "wechat_qrcode": "",
            "wechat_login": False,
            "server_address": options["ServerAddress"] or "http://localhost:3000",
            "turnstile_check": False,
            "turnstile_site_key": "",
            "top_up_link": options["TopUpLink"],
            "chat_link": options["ChatLink"],
            "quota_per_unit": int(float(options["QuotaPerUnit"])),
            "display_in_currency": options["DisplayInCurrencyEnabled"] == "true",
        }
    )


def text_option(name: str) -> Handler:
    """A handler that shows one option to anyone."""
    return lambda gateway, call: done(gateway.options[name])


def login(gateway: Gateway, call: Call) -> Response:
    """A database that is away reads as a wrong password."""
    if gateway.options["PasswordLoginEnabled"] != "true":
        return refused("管理员关闭了密码登录")
    try:
        given = bind(call.body, {"username": "string", "password": "string"}, "LoginRequest")
    except GoJsonError:
        return refused(_BAD_PARAMETER)
    if not given.get("username") or not given.get("password"):
        return refused(_BAD_PARAMETER)
    try:
        user = gateway.tables.user_named(given["username"])
    except StoreError:
        user = None
    if user is None or user.status != ENABLED:
        return refused(_BAD_LOGIN)
    if not check_password(given["password"], user.password):
        return refused(_BAD_LOGIN)
    answer = done(user.at_login())
    answer.set_cookie(
        "session", gateway.session_cookie(user), max_age=SESSION_SECONDS, path="/", samesite=None
    )
    return answer


def logout(gateway: Gateway, call: Call) -> Response:
    """Forgets the cookie in the browser, nothing else."""
    answer = done()
    answer.delete_cookie("session")
    return answer


@reporting
def register(gateway: Gateway, call: Call) -> Response:
    """Anyone may, unless an option forbids it."""
    if gateway.options["RegisterEnabled"] != "true":
        return refused("管理员关闭了新用户注册")
    given = bind(call.body, USER_SHAPE, "model.User")
    wrong = _wrong_lengths(given)
    if wrong:
        return refused(wrong)
    name = given.get("username", "")
    user = User(
        username=name,
        display_name=name,
        access_token=secrets.token_hex(16),
        aff_code=secrets.token_hex(2),
        quota=int(gateway.options["QuotaForNewUser"] or 0),
    )
    gateway.tables.add_user(user, given.get("password", ""))
    return done()


@reporting
def own_user(gateway: Gateway, call: Call) -> Response:
    """The access token is in it, in clear."""
    return done(gateway.tables.user(call.user_id).shown())


@reporting
def change_own_user(gateway: Gateway, call: Call) -> Response:
    """Asks for no old password; sessions and access token live on."""
    try:
        given = bind(call.body, USER_SHAPE, "model.User")
    except GoJsonError:
        return refused(_BAD_PARAMETER)
    given["password"] = given.get("password") or _UNCHANGED_PASSWORD
    wrong = _wrong_lengths(given)
    if wrong:
        return refused(wrong)
    changes = {name: given.get(name, "") for name in ("username", "display_name", "password")}
    if changes["password"] == _UNCHANGED_PASSWORD:
        del changes["password"]
    gateway.tables.update_user(call.user_id, changes)
    return done()


@reporting
def rotate_access_token(gateway: Gateway, call: Call) -> Response:
    """A GET that changes: the old token dies."""
    token = secrets.token_hex(16)
    gateway.tables.update_user(call.user_id, {"access_token": token})
    return done(token)


def _wrong_lengths(given: dict[str, Any]) -> str:
    wrong = []
    for title, (name, least, most) in _LENGTHS.items():
        length = len(given.get(name) or "")
        tag = "min" if length < least else "max" if length > most else ""
        if tag:
            wrong.append(
                f"Key: 'User.{title}' Error:"
                f"Field validation for '{title}' failed on the '{tag}' tag"
            )
    return "输入不合法 " + "\n".join(wrong) if wrong else ""


# channels


@reporting
def list_channels(gateway: Gateway, call: Call) -> Response:
    """Ten a page, newest first."""
    return done([row.shown() for row in gateway.tables.channels_page(_page(call))])


@reporting
def search_channels(gateway: Gateway, call: Call) -> Response:
    """By the beginning of the name, or by id; all at once."""
    found = gateway.tables.channels_like(call.query.get("keyword", ""))
    return done([row.shown() for row in found])


@reporting
def get_channel(gateway: Gateway, call: Call) -> Response:
    """One channel, without its key."""
    return done(gateway.tables.channel(_id(call)).shown())


@reporting
def add_channel(gateway: Gateway, call: Call) -> Response:
    """One channel per non-empty line of the key; the answer tells no id."""
    given = bind(call.body, CHANNEL_SHAPE, "model.Channel")
    given["created_time"] = int(time.time())
    keys = [key for key in given.get("key", "").split("\n") if key]
    gateway.tables.add_channels([Channel.of({**given, "key": key}) for key in keys])
    return done()


@reporting
def change_channel(gateway: Gateway, call: Call) -> Response:
    """Partial, and the answer shows the key."""
    given = Channel.of(bind(call.body, CHANNEL_SHAPE, "model.Channel"))
    return done(gateway.tables.update_channel(given).as_json())


@reporting
def delete_channel(gateway: Gateway, call: Call) -> Response:
    """A missing one is no error."""
    gateway.tables.delete_channel(_loose_id(call))
    return done()


@reporting
def delete_disabled_channels(gateway: Gateway, call: Call) -> Response:
    """How many went."""
    return done(gateway.tables.delete_disabled_channels())


@reporting
def test_one_channel(gateway: Gateway, call: Call) -> Response:
    """A chat of two tokens, past cache, abilities and quota."""
    channel = gateway.tables.channel(_id(call))
    started = time.monotonic()
    problem = test_channel(channel)
    seconds = round(time.monotonic() - started, 3)
    gateway.tables.tested_channel(channel.id, int(seconds * 1000))
    return JsonAnswer({"success": not problem, "message": problem, "time": seconds})


@reporting
def test_all_channels(gateway: Gateway, call: Call) -> Response:
    """Begun here, answered at once; results show up in each channel's `test_time`."""

    def run() -> None:
        for channel in gateway.tables.channels():
            started = time.monotonic()
            test_channel(channel)
            milliseconds = int((time.monotonic() - started) * 1000)
            gateway.tables.tested_channel(channel.id, milliseconds)

    threading.Thread(target=run, daemon=True).start()
    return done()


@reporting
def update_balance(gateway: Gateway, call: Call) -> Response:
    """Asks the upstream's billing pages, which model servers do not have."""
    balance, problem = balance_of(gateway.tables.channel(_id(call)))
    if problem:
        return refused(problem)
    return JsonAnswer({"success": True, "message": "", "balance": balance})


def builtin_models_list(gateway: Gateway, call: Call) -> Response:
    """The models OneAPI knows by itself, not those of the channels."""
    rows = [
        {"id": model, "object": "model", "owned_by": owner} for model, owner in builtin_models()
    ]
    return JsonAnswer({"object": "list", "data": rows})


# tokens


@reporting
def list_tokens(gateway: Gateway, call: Call) -> Response:
    """Ten a page, newest first, keys included."""
    return done([row.as_json() for row in gateway.tables.tokens_page(call.user_id, _page(call))])


@reporting
def search_tokens(gateway: Gateway, call: Call) -> Response:
    """By the beginning of the name."""
    found = gateway.tables.tokens_like(call.user_id, call.query.get("keyword", ""))
    return done([row.as_json() for row in found])


@reporting
def get_token(gateway: Gateway, call: Call) -> Response:
    """One token, key included."""
    return done(gateway.tables.token(_id(call), call.user_id).as_json())


@reporting
def add_token(gateway: Gateway, call: Call) -> Response:
    """The key is always made here; the answer holds it."""
    given = Token.of(bind(call.body, TOKEN_SHAPE, "model.Token"))
    wrong = _wrong_token(given)
    if wrong:
        return refused(wrong)
    now = int(time.time())
    made = Token(
        user_id=call.user_id,
        name=given.name,
        key=_new_key(),
        created_time=now,
        accessed_time=now,
        expired_time=given.expired_time,
        remain_quota=given.remain_quota,
        unlimited_quota=given.unlimited_quota,
        models=given.models,
        subnet=given.subnet,
    )
    return done(gateway.tables.add_token(made).as_json())


@reporting
def change_token(gateway: Gateway, call: Call) -> Response:
    """A full replacement of what can be set, unless `status_only` is given."""
    given = Token.of(bind(call.body, TOKEN_SHAPE, "model.Token"))
    wrong = _wrong_token(given)
    if wrong:
        return refused(wrong)
    token = gateway.tables.token(given.id, call.user_id)
    blocked = _cannot_enable(given, token)
    if blocked:
        return refused(blocked)
    if call.query.get("status_only"):
        token.status = given.status
    else:
        token.name = given.name
        token.expired_time = given.expired_time
        token.remain_quota = given.remain_quota
        token.unlimited_quota = given.unlimited_quota
        token.models = given.models
        token.subnet = given.subnet
    gateway.tables.save_token(token)
    return done(token.as_json())


@reporting
def delete_token(gateway: Gateway, call: Call) -> Response:
    """A missing one is an error, unlike a channel."""
    gateway.tables.delete_token(_loose_id(call), call.user_id)
    return done()


def _wrong_token(token: Token) -> str:
    if len(token.name.encode()) > _NAME_BYTES:
        return "参数错误：令牌名称过长"
    for subnet in filter(None, (token.subnet or "").split(",")):
        try:
            ip_network(subnet.strip(), strict=False)
            assert "/" in subnet
        except (ValueError, AssertionError):
            return f"参数错误：无效的网段：failed to parse subnet: invalid CIDR address: {subnet}"
    return ""


def _cannot_enable(given: Token, token: Token) -> str:
    if given.status != ENABLED:
        return ""
    expired = token.expired_time != NEVER and token.expired_time <= time.time()
    if token.status == TOKEN_EXPIRED and expired:
        return "令牌已过期，无法启用，请先修改令牌过期时间，或者设置为永不过期"
    spent = token.remain_quota <= 0 and not token.unlimited_quota
    if token.status == TOKEN_EXHAUSTED and spent:
        return "令牌可用额度已用尽，无法启用，请先修改令牌剩余额度，或者设置为无限额度"
    return ""


def _new_key() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(_KEY_LENGTH))


# options and groups


def list_options(gateway: Gateway, call: Call) -> Response:
    """All but tokens and secrets."""
    return done(gateway.options.shown())


@reporting
def change_option(gateway: Gateway, call: Call) -> Response:
    """Bad JSON is the one management failure with HTTP 400."""
    try:
        given = bind(call.body, {"key": "string", "value": "string"}, "Option")
    except GoJsonError:
        return refused(_BAD_PARAMETER, 400)
    gateway.options.set(given.get("key", ""), given.get("value", ""))
    return done()


def list_groups(gateway: Gateway, call: Call) -> Response:
    """default, vip, svip, unless the option says otherwise."""
    return done(gateway.options.groups())


def _page(call: Call) -> int:
    text = call.query.get("p", "")
    return int(text) if re.fullmatch(r"-?\d+", text) else 0


def _id(call: Call) -> int:
    text = call.parts["id"]
    if not re.fullmatch(r"[+-]?\d+", text):
        raise TableError(f"strconv.Atoi: parsing {json.dumps(text)}: invalid syntax")
    return int(text)


def _loose_id(call: Call) -> int:
    try:
        return _id(call)
    except TableError:
        return 0


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/api/status", status),
    ("GET", "/api/notice", text_option("Notice")),
    ("GET", "/api/about", text_option("About")),
    ("GET", "/api/home_page_content", text_option("HomePageContent")),
    ("POST", "/api/user/login", login),
    ("POST", "/api/user/register", register),
    ("GET", "/api/user/logout", logout),
    ("GET", "/api/user/self", guarded(COMMON_USER, own_user)),
    ("PUT", "/api/user/self", guarded(COMMON_USER, change_own_user)),
    ("GET", "/api/user/token", guarded(COMMON_USER, rotate_access_token)),
    ("GET", "/api/option/", guarded(ROOT, list_options)),
    ("PUT", "/api/option/", guarded(ROOT, change_option)),
    ("GET", "/api/group/", guarded(ADMIN, list_groups)),
    ("GET", "/api/channel/", guarded(ADMIN, list_channels)),
    ("GET", "/api/channel/search", guarded(ADMIN, search_channels)),
    ("GET", "/api/channel/models", guarded(ADMIN, builtin_models_list)),
    ("GET", "/api/channel/test", guarded(ADMIN, test_all_channels)),
    ("GET", "/api/channel/test/:id", guarded(ADMIN, test_one_channel)),
    ("GET", "/api/channel/update_balance/:id", guarded(ADMIN, update_balance)),
    ("GET", "/api/channel/:id", guarded(ADMIN, get_channel)),
    ("POST", "/api/channel/", guarded(ADMIN, add_channel)),
    ("PUT", "/api/channel/", guarded(ADMIN, change_channel)),
    ("DELETE", "/api/channel/disabled", guarded(ADMIN, delete_disabled_channels)),
    ("DELETE", "/api/channel/:id", guarded(ADMIN, delete_channel)),
    ("GET", "/api/token/", guarded(COMMON_USER, list_tokens)),
    ("GET", "/api/token/search", guarded(COMMON_USER, search_tokens)),
    ("GET", "/api/token/:id", guarded(COMMON_USER, get_token)),
    ("POST", "/api/token/", guarded(COMMON_USER, add_token)),
    ("PUT", "/api/token/", guarded(COMMON_USER, change_token)),
    ("DELETE", "/api/token/:id", guarded(COMMON_USER, delete_token)),
)
CRITICAL = ("/api/user/login", "/api/user/register")

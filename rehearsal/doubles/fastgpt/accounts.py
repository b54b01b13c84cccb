"""Who asks the current edition: login in two steps, sessions, keys
(docs/facts/fastgpt-current-measured.md §2, §5)."""

import secrets
import time
from collections import defaultdict
from http.cookies import SimpleCookie

from starlette.responses import Response

from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, Document, crash, done, named, picked
from rehearsal.doubles.fastgpt.models import active, public
from rehearsal.doubles.fastgpt.refusals import COOKIE, COOKIE_IS, Invalid, check, refusal
from rehearsal.doubles.fastgpt.routing import Handler
from rehearsal.doubles.fastgpt.store import age, hash_str

CODE_SECONDS, MINUTE, MOST_A_MINUTE = 30.0, 60.0, 10


def answered(place: str, mark: str, handler: Handler, call: Call) -> Response:
    """What a handler answers to who may ask it, in the words of this edition."""
    try:
        _purge(call)
        given = call.query if place.startswith("GET") else call.body
        if issues := check(given, CURRENT["needed"].get(place, {})):
            raise Invalid(issues)
        # Where both are sent, the key counts on the routes that take one.
        is_key = mark == "*" and key_of(call) is not None
        if mark != "!" and not is_key and not has_session(call):
            raise named("unAuthorization")
        result = handler(call)
        return result if isinstance(result, Response) else done(result)
    except Exception as error:
        return refusal(crash(error))


def _purge(call: Call) -> None:
    """The job behind a soft delete, which comes some seconds later."""
    wait = call.service.environment.retry_seconds
    for table in ("datasets", "apps"):
        for row in call.mongo.find(table):
            if row["deleteTime"] and age(row["deleteTime"]) > wait:
                call.mongo.delete_whole(table, row["_id"])


class Desk:
    """The codes and the limits of the login of one service, which a restart forgets."""

    def __init__(self) -> None:
        self.codes: dict[str, tuple[str, float]] = {}
        self._tries: dict[tuple[str, str], list[float]] = defaultdict(list)

    def count(self, step: str, account: str) -> None:
        """Raises a Problem for the 11th of a minute."""
        moment = time.monotonic()
        tries = self._tries[step, account]
        tries[:] = [each for each in tries if moment - each < MINUTE]
        if len(tries) >= MOST_A_MINUTE:
            raise named("verifyCodeTooFrequently")
        tries.append(moment)


def pre_login(call: Call) -> Document:
    """A code for whoever asks, whether there is such a user or not."""
    account = call.query["username"]
    desk = call.service.desk
    desk.count("preLogin", account)
    desk.codes[account] = (secrets.token_hex(3), time.monotonic() + CODE_SECONDS)
    return {"code": desk.codes[account][0]}


def login_by_password(call: Call) -> Response:
    """A wrong password does not use the code up, the right one does."""
    account, desk = call.body["username"], call.service.desk
    desk.count("login", account)
    code, until = desk.codes.get(account, ("", 0.0))
    if call.body["code"] != code or time.monotonic() > until:
        raise named("invalidVerificationCode")
    users = call.mongo.find("users", username=account)
    if not users or users[0]["password"] != hash_str(call.body["password"]):
        raise named("account_psw_error")
    del desk.codes[account]
    call.service.check_redis()
    token = f"{users[0]['_id']}:{secrets.token_hex(16)}"
    call.mongo.put("sessions", {"token": token})
    answer = done({"user": token_login(call), "token": token})
    answer.headers["Set-Cookie"] = f"{COOKIE}={token}; Max-Age=604800; {COOKIE_IS}"
    return answer


def loginout(call: Call) -> None:
    """Of all sessions."""
    call.mongo.delete("sessions")


def token_login(call: Call) -> Document:
    (root,) = call.mongo.find("users")
    permission = CURRENT["permissions"]["team"]
    team = {**CURRENT["team"], **call.owner, "userId": root["_id"], "permission": permission}
    return {"_id": root["_id"], **CURRENT["user"], "team": team, "permission": permission}


def has_session(call: Call) -> bool:
    """Raises a Problem without Redis, where a session would be looked up."""
    cookie = SimpleCookie(call.headers.get("cookie", "")).get(COOKIE)
    token = call.headers.get("token") or (cookie.value if cookie else "")
    if not token:
        return False
    call.service.check_redis()
    return bool(call.mongo.find("sessions", token=token))


def key_of(call: Call) -> tuple[Document, str] | None:
    """The key that was sent, and the app that stands behind its dash; None: there is none. Raises a
    Problem: it is wrong."""
    bearer = call.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not bearer:
        return None
    name, _, app_id = bearer.removeprefix("fastgpt-").partition("-")
    keys = call.mongo.find("openapis", apiKey=f"fastgpt-{name}")
    if not keys:
        raise named("unAuthApiKey")
    return keys[0], app_id


def get_init_data(call: Call) -> Document:
    """Models and version for a session only; without Redis everyone is a stranger."""
    told = public(call.service, picked(CURRENT, "feConfigs", "modelProviders", "aiproxyChannels"))
    try:
        known = has_session(call)
    except Exception:
        known = False
    if not known:
        return {"bufferId": call.query.get("bufferId", ""), **told}
    return {**told, "systemVersion": CURRENT["version"], **active(call.service)}

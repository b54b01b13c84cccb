"""Who calls: login, sessions, API keys (docs/facts/fastgpt.md §1, §3, §4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import string
import time

from rehearsal.doubles.fastgpt.call import Call, Identity
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Answer, Problem, done, known
from rehearsal.doubles.fastgpt.store import Document, Store

SESSION_SECONDS = 7 * 24 * 3600
COOKIE = "fastgpt_token"
KEYS_PER_APP = 10
ALPHABET = string.ascii_letters + string.digits


def hash_str(text: str) -> str:
    """What is stored of a password that the browser has hashed once already."""
    return hashlib.sha256(text.encode()).hexdigest()


def init_root_user(mongo: Store, password: str) -> None:
    """Create `root` or overwrite its password; on every start."""
    found = mongo.find("users", username="root")
    root = mongo.put(
        "users",
        {
            "username": "root",
            **(found[0] if found else {}),
            "password": hash_str(hash_str(password)),
        },
    )
    if not mongo.find("team_members", userId=root["_id"]):
        team = mongo.put("teams", {"name": "My Team", "ownerId": root["_id"]})
        member = {"teamId": team["_id"], "userId": root["_id"], "name": "Owner", "role": "owner"}
        mongo.put("team_members", member)
    # The real one prints it too: docs/facts/fastgpt.md §1.
    print("root user init:", {"username": "root", "password": password}, flush=True)


# Sessions


def login(call: Call) -> Answer:
    """POST /api/support/user/account/loginByPassword: opens a session; the cookie holds it too."""
    username, password = call.body.get("username"), call.body.get("password")
    if not username or not password:
        raise Problem("缺少参数")
    user = next(iter(call.mongo.find("users", username=username)), None)
    if user is None:
        raise Problem("用户未注册")
    if user["password"] != hash_str(str(password)):
        raise Problem("密码错误")
    shown = _user(call, user)
    claims = {
        "userId": user["_id"],
        "teamId": shown["team"]["teamId"],
        "tmbId": shown["team"]["tmbId"],
        "iat": int(time.time()),
        "exp": int(time.time()) + SESSION_SECONDS,
    }
    token = sign(claims, call.service.environment.token_key)
    answer = Answer(done({"user": shown, "token": token}))
    answer.headers["Set-Cookie"] = (
        f"{COOKIE}={token}; Path=/; HttpOnly; Max-Age={SESSION_SECONDS}; Samesite=Strict;"
    )
    return answer


def token_login(call: Call) -> Document:
    """GET /api/support/user/account/tokenLogin: the user of this session."""
    user = call.mongo.get("users", call.caller.user_id)
    if user is None:
        raise known("unAuthorization")
    return _user(call, user)


def plan_status(call: Call) -> Document:
    """GET /api/support/user/team/plan/getTeamPlanStatus: counts the team's vectors in PostgreSQL.

    What has no limit is Infinity, which JSON writes as null.
    """
    stored = call.service.vectors.find("modeldata", team_id=call.caller.team_id)
    unlimited = dict.fromkeys(("totalPoints", "usedPoints", "datasetMaxSize"))
    return {**unlimited, "usedDatasetSize": len(stored)}


def _user(call: Call, user: Document) -> Document:
    member = call.mongo.find("team_members", userId=user["_id"])[0]
    team = call.mongo.get("teams", member["teamId"])
    return {
        "_id": user["_id"],
        "username": user["username"],
        "avatar": "/icon/human.svg",
        "timezone": "Asia/Shanghai",
        "promotionRate": 15,
        "team": {
            "userId": user["_id"],
            "teamId": member["teamId"],
            "teamName": team["name"],
            "tmbId": member["_id"],
            "memberName": member["name"],
            "avatar": "/icon/logo.svg",
            "balance": 999900000,
            "role": member["role"],
            "status": "active",
            "defaultTeam": True,
            "lafAccount": {},
            "permission": PERMISSION,
        },
    }


def sign(claims: Document, key: str) -> str:
    """A JWT over `claims`, HS256."""
    head = _segment({"alg": "HS256", "typ": "JWT"}) + "." + _segment(claims)
    return head + "." + _base64url(hmac.digest(key.encode(), head.encode(), "sha256"))


def verify(token: str, key: str) -> Document:
    """The claims of a JWT.

    Raises:
        Problem: a wrong signature, an expired or malformed token (403 in the body).
    """
    head, _, signature = token.rpartition(".")
    expected = _base64url(hmac.digest(key.encode(), head.encode(), "sha256"))
    if not head or not hmac.compare_digest(expected.encode(), signature.encode()):
        raise known("unAuthorization")
    try:
        payload = head.split(".")[1]
        claims: Document = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError) as error:
        raise known("unAuthorization") from error
    if claims.get("exp", 0) < time.time():
        raise known("unAuthorization")
    return claims


def _segment(value: Document) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def session(call: Call) -> Identity:
    """The caller of an endpoint that takes a session only; the header wins over the cookie."""
    token = call.headers.get("token") or call.cookies.get(COOKIE)
    if not token:
        raise known("unAuthorization")
    claims = verify(token, call.service.environment.token_key)
    try:
        return Identity(claims["userId"], claims["teamId"], claims["tmbId"])
    except KeyError as error:
        raise known("unAuthorization") from error


def session_or_key(call: Call) -> Identity:
    """The caller of an endpoint that takes both; an Authorization header is tried first."""
    return api_key(call) if call.headers.get("authorization") else session(call)


def anybody(call: Call) -> Identity:
    """The caller of an endpoint that asks nobody, or looks itself."""
    return Identity()


# API keys


def api_key(call: Call) -> Identity:
    """The owner of the bearer key.

    The bearer is split on `-`: two parts are a key, three a key and an app id, others are none.
    """
    bearer = call.headers.get("authorization", "").removeprefix("Bearer ").strip()
    parts = bearer.split("-")
    if len(parts) not in (2, 3):
        raise known("unAuthorization")
    found = next(iter(call.mongo.find("openapis", apiKey="-".join(parts[:2]))), None)
    if found is None:
        raise known("unAuthApiKey")
    app_id = found.get("appId") or (parts[2] if len(parts) == 3 else None)
    user_id = call.mongo.get("team_members", found["tmbId"])["userId"]
    return Identity(user_id, found["teamId"], found["tmbId"], app_id)


def create_key(call: Call) -> str:
    """POST /api/support/openapi/create: the whole key, for the only time."""
    app_id = call.body.get("appId")
    if app_id:
        call.mongo.existing("apps", app_id, "appUnExist")
    keys = call.mongo.find("openapis", tmbId=call.caller.tmb_id, appId=app_id)
    if len(keys) >= KEYS_PER_APP:
        raise known("openapiExceedLimit")
    prefix = call.service.config.system_env.get("openapiPrefix") or "fastgpt"
    length = 52 + secrets.randbelow(14)
    key = f"{prefix}-{''.join(secrets.choice(ALPHABET) for _ in range(length))}"
    limit = call.body.get("limit") or {}
    kept = {
        **call.caller.owner,
        **({"appId": app_id} if app_id else {}),
        "name": call.body.get("name") or "Api Key",
        "apiKey": key,
        "limit": {"maxUsagePoints": -1, **limit},
        "usagePoints": 0,
        "createTime": now(),
        "__v": 0,
    }
    call.mongo.put("openapis", kept)
    return key


def list_keys(call: Call) -> list[Document]:
    """GET /api/support/openapi/list[?appId=]: masked keys."""
    app_id = call.query.get("appId") or None
    if app_id:
        call.mongo.existing("apps", app_id, "appUnExist")
    keys = call.mongo.find("openapis", tmbId=call.caller.tmb_id, appId=app_id)
    return [
        {**key, "apiKey": "******" + key["apiKey"][-4:], "id": key["_id"]} for key in reversed(keys)
    ]


def update_key(call: Call) -> None:
    """PUT /api/support/openapi/update {_id, name, limit}."""
    key = call.mongo.existing("openapis", call.body.get("_id"), "openapiUnExist")
    changed = {name: call.body[name] for name in ("name", "limit") if name in call.body}
    call.mongo.put("openapis", {**key, **changed})


def delete_key(call: Call) -> None:
    """DELETE /api/support/openapi/delete?id=."""
    key = call.mongo.existing("openapis", call.query.get("id"), "openapiUnExist")
    call.mongo.delete("openapis", _id=key["_id"])


def now() -> str:
    """This moment as MongoDB's JSON has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000Z"

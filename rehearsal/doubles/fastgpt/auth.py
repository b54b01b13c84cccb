"""Who calls: login, sessions, API keys (docs/facts/fastgpt.md §1, §3, §4)."""

import base64
import hashlib
import hmac
import json
import secrets
import string
import time

from rehearsal.doubles.fastgpt.call import Call, Identity
from rehearsal.doubles.fastgpt.envelope import PERMISSION, Answer, Problem, done, known
from rehearsal.doubles.fastgpt.store import Document, Store, object_id

SESSION_SECONDS = 7 * 24 * 3600
COOKIE = "fastgpt_token"
KEYS_PER_APP = 10
ALPHABET = string.ascii_letters + string.digits


def hash_str(text: str) -> str:
    """What is stored of a password that the browser has hashed once already."""
    return hashlib.sha256(text.encode()).hexdigest()


def init_root_user(mongo: Store, password: str) -> None:
    """Create `root`, the only user of the only team, or overwrite its password; on every start."""
    found = mongo.find("users", username="root")
    root = found[0] if found else {"teamId": object_id(), "tmbId": object_id()}
    stored = hash_str(hash_str(password))
    mongo.put("users", {**root, "username": "root", "password": stored})
    # The real one prints it too: docs/facts/fastgpt.md §1.
    print("root user init:", {"username": "root", "password": password}, flush=True)


# Sessions


def login(call: Call) -> Answer:
    """POST /api/support/user/account/loginByPassword: opens a session; the cookie holds it too."""
    username, password = call.body.get("username"), call.body.get("password")
    if not username or not password:
        raise Problem("缺少参数")
    users = call.mongo.find("users", username=username)
    if not users:
        raise Problem("用户未注册")
    (user,) = users
    if user["password"] != hash_str(str(password)):
        raise Problem("密码错误")
    claims = {"userId": user["_id"], "teamId": user["teamId"], "tmbId": user["tmbId"]}
    claims |= {"iat": int(time.time()), "exp": int(time.time()) + SESSION_SECONDS}
    token = sign(claims, call.service.environment.token_key)
    answer = Answer(done({"user": _user(user), "token": token}))
    answer.headers["Set-Cookie"] = (
        f"{COOKIE}={token}; Path=/; HttpOnly; Max-Age={SESSION_SECONDS}; Samesite=Strict;"
    )
    return answer


def token_login(call: Call) -> Document:
    """GET /api/support/user/account/tokenLogin: the user of this session."""
    return _user(call.mongo.find("users", tmbId=call.caller.tmb_id)[0])


def plan_status(call: Call) -> Document:
    """GET /api/support/user/team/plan/getTeamPlanStatus: counts the team's vectors in PostgreSQL.

    What has no limit is Infinity, which JSON writes as null.
    """
    stored = call.service.vectors.find("modeldata", team_id=call.caller.team_id)
    unlimited = dict.fromkeys(("totalPoints", "usedPoints", "datasetMaxSize"))
    return {**unlimited, "usedDatasetSize": len(stored)}


def _user(user: Document) -> Document:
    return {
        "_id": user["_id"],
        "username": user["username"],
        "avatar": "/icon/human.svg",
        "timezone": "Asia/Shanghai",
        "promotionRate": 15,
        "team": {
            "userId": user["_id"],
            "teamId": user["teamId"],
            "teamName": "My Team",
            "tmbId": user["tmbId"],
            "memberName": "Owner",
            "avatar": "/icon/logo.svg",
            "balance": 999900000,
            "role": "owner",
            "status": "active",
            "defaultTeam": True,
            "lafAccount": {},
            "permission": PERMISSION,
        },
    }


def sign(claims: Document, key: str) -> str:
    """A JWT over `claims`, HS256."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    head = ".".join(_base64url(part) for part in parts)
    return head + "." + _base64url(hmac.digest(key.encode(), head.encode(), "sha256"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def session(call: Call) -> Identity:
    """The caller of an endpoint that takes a session only; the header wins over the cookie."""
    token = call.headers.get("token") or call.cookies.get(COOKIE) or ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        is_ours = sign(claims, call.service.environment.token_key) == token
        if is_ours and claims["exp"] > time.time():
            return Identity(claims["teamId"], claims["tmbId"])
    except (ValueError, LookupError):
        pass
    raise known("unAuthorization")


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
    return Identity(found["teamId"], found["tmbId"], app_id)


def create_key(call: Call) -> str:
    """POST /api/support/openapi/create: the whole key, for the only time."""
    app_id = call.body.get("appId")
    if len(_keys(call, app_id)) >= KEYS_PER_APP:
        raise known("openapiExceedLimit")
    prefix = call.service.config.system_env.get("openapiPrefix") or "fastgpt"
    length = 52 + secrets.randbelow(14)
    key = f"{prefix}-{''.join(secrets.choice(ALPHABET) for _ in range(length))}"
    kept = {
        **call.caller.owner,
        **({"appId": app_id} if app_id else {}),
        "name": call.body.get("name") or "Api Key",
        "apiKey": key,
        "limit": {"maxUsagePoints": -1, **(call.body.get("limit") or {})},
        "usagePoints": 0,
        "createTime": now(),
        "__v": 0,
    }
    call.mongo.put("openapis", kept)
    return key


def list_keys(call: Call) -> list[Document]:
    """GET /api/support/openapi/list[?appId=]: masked keys."""
    keys = reversed(_keys(call, call.query.get("appId")))
    return [{**key, "apiKey": "******" + key["apiKey"][-4:], "id": key["_id"]} for key in keys]


def _keys(call: Call, app_id: str | None) -> list[Document]:
    if app_id:
        call.mongo.existing("apps", app_id, "appUnExist")
    return call.mongo.find("openapis", appId=app_id or None)


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

"""The routes of FastGPT, and how a request becomes a call and an answer."""

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from rehearsal.doubles.fastgpt import accounts, routing
from rehearsal.doubles.fastgpt.boot import Service
from rehearsal.doubles.fastgpt.envelope import SHAPES, Answer, Call, Document, crash, done, named
from rehearsal.doubles.fastgpt.store import hash_str

PAGES = Path(__file__).parent
Endpoint = Callable[[Request], Awaitable[Response]]


def get_init_data(call: Call) -> Document:
    """The reranker's address and key are blanked."""
    config = call.service.config
    blank = {"requestUrl": "", "requestAuth": ""}
    rerankers = [{**model, **blank} for model in config.models["reRankModels"]]
    told = {"feConfigs": config.fe_configs, "systemVersion": "4.8.8"}
    return {**told, **config.models, "reRankModels": rerankers}


def login_by_password(call: Call) -> Answer:
    username, password = call.body.get("username"), call.body.get("password")
    if not username or not password:
        raise named("缺少参数")
    users = call.mongo.find("users", username=username)
    if not users:
        raise named("用户未注册")
    if users[0]["password"] != hash_str(password):
        raise named("密码错误")
    token = _token(call)
    answer = done({"user": token_login(call), "token": token})
    kept = "Path=/; HttpOnly; Max-Age=604800; Samesite=Strict;"
    answer.headers["Set-Cookie"] = f"fastgpt_token={token}; {kept}"
    return answer


def token_login(call: Call) -> Document:
    (root,) = call.mongo.find("users")
    team = {**SHAPES["team"], **call.owner, "userId": root["_id"]}
    team["permission"] = SHAPES["permission"]
    return {"_id": root["_id"], "username": "root", **SHAPES["user"], "team": team}


def get_team_plan_status(call: Call) -> Document:
    return {**SHAPES["plan"], "usedDatasetSize": len(call.service.vectors.find("modeldata"))}


def _token(call: Call) -> str:
    """Root's JWT, signed with TOKEN_KEY. It does not end: no rehearsal lasts seven days."""
    parts = ({"alg": "HS256", "typ": "JWT"}, call.owner)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    head = ".".join(part.rstrip("=") for part in coded)
    key = call.service.environment.token_key.encode()
    return f"{head}.{hmac.new(key, head.encode(), 'sha256').hexdigest()}"


def build_app(service: Service) -> Starlette:
    """FastGPT as an ASGI application; 4.8.8 starts up at its first API request."""
    routes = [Route("/chat/share", _page("share.html")), Route("/", _page("index.html"))]
    answered = _answered if service.edition == "seeds" else accounts.answered
    for place, mark, handler in routing.routes(service.edition):
        method, _, path = place.partition(" ")
        endpoint = _endpoint(service, partial(answered, place, mark, handler))
        routes.append(Route(path, endpoint, methods=[method]))
    return Starlette(routes=routes)


def _endpoint(service: Service, answered: Callable[[Call], Response]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        call = await _read(service, request)
        begun = service.waits_for()
        while not begun.is_set():
            # Without a thread: requests that hang must not keep the process from ending.
            await asyncio.sleep(0.02)
        return await run_in_threadpool(answered, call)

    return endpoint


def _answered(_place: str, mark: str, handler: routing.Handler, call: Call) -> Response:
    try:
        if mark != "!" and call.headers.get("token") != _token(call):
            raise named("unAuthorization")
        result = handler(call)
        return result if isinstance(result, Response) else done(result)
    except Exception as error:
        problem = crash(error)
        answer = Answer(problem.body, 200 if problem.status_text else 500)
        if problem.status_text == "unAuthorization":
            answer.headers["Set-Cookie"] = "fastgpt_token=; Path=/; Max-Age=0"
        return answer


async def _read(service: Service, request: Request) -> Call:
    body: Document = {}
    file = None
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        async with request.form() as form:
            body = dict(form)
            # multer takes a file name for Latin-1: one that is not percent-encoded arrives garbled.
            sent = body["file"]
            name = sent.filename.encode().decode("latin-1")
            file = (name, await sent.read(), sent.content_type or "")
    elif kind.startswith("application/json"):
        body = await request.json()
    return Call(service, request.query_params, body, request.headers, file, request.url.path)


def _page(name: str) -> Callable[[Request], Response]:
    return lambda _: FileResponse(PAGES / name)

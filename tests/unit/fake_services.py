"""Small in-memory services behind `httpx.MockTransport`, quirks of docs/facts/ included; a clock.

The full doubles are in rehearsal/; these let a unit test set and see any state without a server.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote

import httpx

from tests.clock import FakeClock as FakeClock

Call = tuple[str, str]


class FakeService:
    """Counts calls and can be made unreachable."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.down = False

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._take)

    def called(self, method: str) -> list[str]:
        return [path for verb, path in self.calls if verb == method]

    def _take(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        self.calls.append((request.method, request.url.path))
        return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        raise NotImplementedError


class FakeOneApi(FakeService):
    """docs/facts/oneapi.md §3 to §7: what a provisioning client runs into."""

    def __init__(self) -> None:
        super().__init__()
        self.password = "123456"
        self.access_token = "a" * 32
        self.channels: dict[int, dict[str, Any]] = {}
        self.tokens: dict[int, dict[str, Any]] = {}
        self.logins = 0
        self.login_bodies: list[dict[str, str]] = []
        self.too_many = 0
        self.too_many_logins = False
        self.database_down = False
        self.forgets_channels = False
        self.upstream: httpx.Response | None = None
        self.relayed: list[dict[str, Any]] = []
        self.pinned: list[int | None] = []
        self.other_channel: httpx.Response | None = None
        self._next = 1

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/v1/"):
            return self._relay(request)
        if self.too_many:
            self.too_many -= 1
            return httpx.Response(429)
        if path == "/api/user/login":
            return httpx.Response(429) if self.too_many_logins else self._login(_body(request))
        if not self._allowed(request):
            if "authorization" not in request.headers:
                return httpx.Response(401, json=_no("未登录且未提供 access token"))
            return httpx.Response(200, json=_no("无权进行此操作，access token 无效"))
        if path == "/api/user/self":
            return self._self(request)
        if path.startswith("/api/channel/"):
            return self._rows(request, path.removeprefix("/api/channel/"), self.channels)
        if path.startswith("/api/token/"):
            return self._rows(request, path.removeprefix("/api/token/"), self.tokens)
        return httpx.Response(404, text="page not found")

    def add_channel(self, **row: Any) -> int:
        return self._add(self.channels, {"status": 1, "models": "", "key": "k", **row})

    def add_token(self, **row: Any) -> int:
        zero = {"status": 1, "key": "z" * 48, "models": "", "remain_quota": 0}
        return self._add(self.tokens, {**zero, **row})

    def _add(self, rows: dict[int, dict[str, Any]], row: dict[str, Any]) -> int:
        row_id, self._next = self._next, self._next + 1
        rows[row_id] = {**row, "id": row_id}
        return row_id

    def _login(self, body: dict[str, str]) -> httpx.Response:
        self.logins += 1
        self.login_bodies.append(body)
        if body != {"username": "root", "password": self.password}:
            return httpx.Response(200, json=_no("用户名或密码错误，或用户已被封禁"))
        headers = {"set-cookie": "session=abc; Path=/"}
        return httpx.Response(200, json=_yes({"id": 1, "role": 100}), headers=headers)

    def _allowed(self, request: httpx.Request) -> bool:
        # A session cookie goes before the header.
        if "session=abc" in request.headers.get("cookie", ""):
            return True
        return bool(request.headers.get("authorization") == self.access_token)

    def _self(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            password = _body(request)["password"]
            if not 8 <= len(password) <= 20:
                return httpx.Response(200, json=_no("输入不合法"))
            self.password = password
            return httpx.Response(200, json=_yes())
        return httpx.Response(
            200, json=_yes({"username": "root", "access_token": self.access_token})
        )

    def _rows(
        self, request: httpx.Request, rest: str, rows: dict[int, dict[str, Any]]
    ) -> httpx.Response:
        is_channel = rows is self.channels
        if request.method == "GET":
            return self._get(request, rest, rows, is_channel)
        if request.method == "DELETE":
            if int(rest) not in rows and not is_channel:
                return httpx.Response(200, json=_no("record not found"))
            rows.pop(int(rest), None)
            return httpx.Response(200, json=_yes())
        body = _body(request)
        if request.method == "POST":
            return self._post(body, rows, is_channel)
        return self._put(request, body, rows, is_channel)

    def _get(
        self, request: httpx.Request, rest: str, rows: dict[int, dict[str, Any]], hide: bool
    ) -> httpx.Response:
        def shown(row: dict[str, Any]) -> dict[str, Any]:
            return {**row, "key": ""} if hide else row

        newest = sorted(rows.values(), key=lambda row: -row["id"])
        if rest == "search":
            keyword = request.url.params["keyword"]
            found = [shown(row) for row in newest if row["name"].startswith(keyword)]
            return httpx.Response(200, json=_yes(found))
        if rest == "":
            page = int(request.url.params.get("p", 0))
            found = [shown(row) for row in newest[page * 10 : page * 10 + 10]]
            return httpx.Response(200, json=_yes(found))
        if int(rest) not in rows:
            return httpx.Response(200, json=_no("record not found"))
        return httpx.Response(200, json=_yes(shown(rows[int(rest)])))

    def _post(
        self, body: dict[str, Any], rows: dict[int, dict[str, Any]], is_channel: bool
    ) -> httpx.Response:
        if not is_channel:
            row_id = self.add_token(**{**body, "key": f"{self._next:048d}"})
            return httpx.Response(200, json=_yes(rows[row_id]))
        if not body["key"]:
            return httpx.Response(200, json=_no("empty slice found"))
        if self.forgets_channels:
            return httpx.Response(200, json=_yes())
        self.add_channel(**body)
        names = [name.lower() for name in body["models"].split(",")]
        if len(set(names)) < len(names):
            return httpx.Response(200, json=_no("UNIQUE constraint failed: abilities"))
        return httpx.Response(200, json=_yes())

    def _put(
        self,
        request: httpx.Request,
        body: dict[str, Any],
        rows: dict[int, dict[str, Any]],
        is_channel: bool,
    ) -> httpx.Response:
        row_id = body["id"]
        if not is_channel:
            if row_id not in rows:
                return httpx.Response(200, json=_no("record not found"))
            return self._put_token(rows[row_id], body, "status_only" in request.url.params)
        # A missing id is no error, and leaves a ghost.
        if row_id in rows:
            rows[row_id].update(body)
        return httpx.Response(200, json=_yes(rows.get(row_id)))

    def _put_token(
        self, row: dict[str, Any], body: dict[str, Any], status_only: bool
    ) -> httpx.Response:
        used_up = row["status"] == 4 and row["remain_quota"] <= 0 and not row["unlimited_quota"]
        expired = row["status"] == 3 and row["expired_time"] != -1
        if body.get("status") == 1 and (used_up or expired):
            return httpx.Response(200, json=_no("无法启用"))
        if status_only:
            row["status"] = body["status"]
            return httpx.Response(200, json=_yes())
        # A full replacement, but for key and status.
        zero = {"expired_time": 0, "unlimited_quota": False, "remain_quota": 0, "models": ""}
        row.update({**zero, **body, "key": row["key"], "status": row["status"]})
        return httpx.Response(200, json=_yes())

    def _relay(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("sk-")
        key, _, pinned = key.partition("-")
        if not any(row["key"] == key for row in self.tokens.values()):
            said = "令牌验证失败" if self.database_down else "无效的令牌"
            return httpx.Response(401, json=_relay_error(said))
        if "json" not in request.headers["content-type"]:
            return httpx.Response(200, json={"text": ""})
        body = _body(request)
        self.relayed.append(body)
        self.pinned.append(int(pinned) if pinned else None)
        listed = [m for row in self.channels.values() for m in row["models"].split(",")]
        if pinned and int(pinned) not in self.channels:
            return httpx.Response(400, json=_relay_error("无效的渠道 Id"))
        if body["model"] not in listed and not pinned:
            message = f"当前分组 default 下对于模型 {body['model']} 无可用渠道"
            return httpx.Response(503, json=_relay_error(message))
        if self.upstream is not None:
            return self.upstream
        if not pinned and self.other_channel is not None:
            return self.other_channel
        if request.url.path == "/v1/embeddings":
            return httpx.Response(200, json={"data": [{"embedding": [0.5, 0.25]}]})
        return httpx.Response(200, json={"choices": [{"message": {"content": "Hello"}}]})


class FakeXinference(FakeService):
    """docs/facts/measured.md §2. `models`: uid to what is known of it; a test may turn any of it by
    hand.

    `cancelled`: as 2.12 leaves it, CREATING for ever. `crashed`: another process in its place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, dict[str, Any]] = {}
        self.autostart: dict[str, dict[str, Any]] = {}
        self.launches: list[dict[str, Any]] = []
        self.waits: list[str] = []
        self.launched_as = "READY"
        self.shows_no_replicas = False

    def put(self, payload: dict[str, Any], status: str = "READY", error: str = "") -> None:
        self.models[payload["model_uid"]] = {
            "payload": payload,
            "status": status,
            "error": error,
            "progress": {"progress": 0.0, "stage": "pending"},
            "rows": None,
            "stranded": False,
            "cancelled": False,
            "crashed": False,
        }

    def answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.strip("/").split("/")
        if parts[:2] == ["v1", "autostart"]:
            return self._autostart(request, parts)
        if parts == ["v1", "models"] and request.method == "POST":
            return self._launch(request)
        if parts == ["v1", "models", "instances"]:
            return self._instances(request.url.params["model_uid"])
        if parts[:2] == ["v1", "models"] and len(parts) >= 3:
            return self._model(request, parts[2], parts[3:])
        return httpx.Response(404, json={"detail": "Not Found"})

    def _autostart(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"models": list(self.autostart.values())})
        if request.method == "POST":
            body = _body(request)
            self.autostart[body["launch"]["model_uid"]] = {**body, "state": {"status": "active"}}
        else:
            self.autostart.pop(parts[-1], None)
        return httpx.Response(200, text="null")

    def _launch(self, request: httpx.Request) -> httpx.Response:
        payload = _body(request)
        uid = payload["model_uid"]
        self.waits.append(request.url.params["wait_ready"])
        taken = self.models.get(uid)
        ended = taken and (taken["status"] in ("ERROR", "TERMINATED") or taken["cancelled"])
        if taken and not ended and not taken["stranded"]:
            return _detail(400, f"Model is already in the model list, uid: {uid}")
        self.launches.append(payload)
        cleared = taken is not None and taken["stranded"]
        self.put(payload, "ERROR" if cleared else self.launched_as)
        return httpx.Response(200, json={"model_uid": uid})

    def _instances(self, uid: str) -> httpx.Response:
        model = self.models.get(uid)
        if model is None or model["status"] == "TERMINATED":
            return httpx.Response(200, json=[])
        status = "TERMINATING" if model["crashed"] else model["status"]
        statuses = model["rows"] or [status] * int(model["payload"].get("replica") or 1)
        rows = [{"status": each, "error_message": model["error"] or None} for each in statuses]
        whole = "ERROR" if model["cancelled"] else model["status"]
        shown = [] if self.shows_no_replicas else rows
        return httpx.Response(200, json=[{"status": whole, "replica_statuses": shown}])

    def _model(self, request: httpx.Request, uid: str, rest: list[str]) -> httpx.Response:
        model = self.models.get(uid)
        status = model["status"] if model else None
        if rest == ["progress"]:
            nothing = {"progress": 0.0, "stage": "pending"}
            return httpx.Response(200, json=model["progress"] if model else nothing)
        if rest == ["cancel"]:
            return self._cancel(uid, model)
        launching = status in ("CREATING", "LOADING") and not (model and model["cancelled"])
        if launching and request.method == "GET":
            return _detail(503, "Model is loading, retry later")
        if launching:
            # A DELETE looks for the replica, which is not there yet; the launch goes on.
            return _detail(400, f"Model not found in the model list, uid: {uid}-0")
        if model is None or status != "READY" or model["stranded"]:
            return _detail(400, f"Model not found in the model list, uid: {uid}")
        if request.method == "DELETE":
            model["status"] = "TERMINATED"
            return httpx.Response(200, text="null")
        return httpx.Response(200, json={**model["payload"], "address": "x", "replica": 1})

    def _cancel(self, uid: str, model: dict[str, Any] | None) -> httpx.Response:
        if model is None or model["stranded"] or model["status"] in ("ERROR", "TERMINATED"):
            return _detail(500, f"Model {uid} has not been launched yet")
        if model["status"] == "READY":
            # It loses its route, and keeps its memory.
            model["stranded"] = True
        else:
            model["cancelled"] = True
        return httpx.Response(200, text="null")


class FakeFastGpt(FakeService):
    """docs/facts/fastgpt.md §1 to §8: envelope, ids hidden at create, no error state of
    indexing."""

    def __init__(self) -> None:
        super().__init__()
        self.password = "root-password"
        self.token = "session-1"
        self.version = "4.8.8-fix2"
        self.models: dict[str, list[dict[str, Any]]] = {
            "llmModels": [{"model": "qwen"}],
            "vectorModels": [{"model": "m3e"}],
            "reRankModels": [],
        }
        self.not_ready = 0
        self.datasets: dict[str, dict[str, Any]] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.apps: dict[str, dict[str, Any]] = {}
        self.links: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.published: list[dict[str, Any]] = []
        self.inserted = 3
        self.left_out = 0
        self.hits_nothing = False
        self.searched: list[str] = []
        self.postgres_error = ""
        self.uploads: list[bytes] = []
        self.quotes: list[dict[str, Any]] = [
            {"id": "q1", "q": "The lab ends by its lease.", "sourceName": "manual.pdf"}
        ]
        self.chat_error = ""
        self.asked: list[httpx.Request] = []
        self._next = 1

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/api/v1/chat/completions":
            return self._chat(request)
        if path == "/api/common/system/getInitData":
            if self.not_ready:
                self.not_ready -= 1
                return httpx.Response(200, json=_envelope({"feConfigs": {}}))
            return httpx.Response(
                200, json=_envelope({"systemVersion": self.version, **self.models})
            )
        if path == "/api/support/user/account/loginByPassword":
            return self._login(request)
        if request.headers.get("token") != self.token:
            return httpx.Response(200, json=_envelope(None, 403, "凭证错误"))
        name = path.removeprefix("/api/").replace("/", "_").replace("core_", "")
        handler = getattr(self, f"_{name}", None)
        if handler is None:
            return httpx.Response(404, text="<html>404</html>")
        if "_collection_create_" in name:
            self.uploads.append(request.content)
        answered: httpx.Response = handler(request)
        return answered

    def new_id(self) -> str:
        self._next += 1
        return f"{self._next:024x}"

    def add_collection(self, dataset_id: str, name: str, **more: Any) -> str:
        row = {
            "_id": self.new_id(),
            "datasetId": dataset_id,
            "name": name,
            "trainingType": "chunk",
            "chunkSize": 512,
            "dataAmount": self.inserted,
            "trainingAmount": 0,
            **more,
        }
        self.collections[row["_id"]] = row
        return str(row["_id"])

    def _login(self, request: httpx.Request) -> httpx.Response:
        if self.not_ready:
            self.not_ready -= 1
            return httpx.Response(500, json=_envelope(None, 500, "用户未注册"))
        wanted = hashlib.sha256(self.password.encode()).hexdigest()
        if _body(request)["password"] != wanted:
            return httpx.Response(500, json=_envelope(None, 500, "密码错误"))
        headers = {"set-cookie": "fastgpt_token=other; Path=/"}
        return httpx.Response(200, json=_envelope({"token": self.token}), headers=headers)

    # datasets
    def _dataset_list(self, request: httpx.Request) -> httpx.Response:
        return _ok(list(self.datasets.values()))

    def _dataset_detail(self, request: httpx.Request) -> httpx.Response:
        return _found(self.datasets, request.url.params["id"], 501000)

    def _dataset_create(self, request: httpx.Request) -> httpx.Response:
        body, dataset_id = _body(request), self.new_id()
        self.datasets[dataset_id] = {
            "_id": dataset_id,
            "name": body["name"],
            # One that is given here is ignored.
            "intro": "",
            "vectorModel": {"model": body["vectorModel"]},
            "agentModel": {"model": body["agentModel"]},
        }
        return _ok(dataset_id)

    def _dataset_update(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        self.datasets[body.pop("id")].update(body)
        return _ok(None)

    def _dataset_delete(self, request: httpx.Request) -> httpx.Response:
        return _removed(self.datasets, request.url.params["id"], 501000)

    # collections
    def _dataset_collection_list(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        rows = [r for r in self.collections.values() if r["datasetId"] == body["datasetId"]]
        start = (body["pageNum"] - 1) * body["pageSize"]
        return _ok({"total": len(rows), "data": rows[start : start + body["pageSize"]]})

    def _dataset_collection_detail(self, request: httpx.Request) -> httpx.Response:
        return _found(self.collections, request.url.params["id"], 500)

    def _dataset_collection_delete(self, request: httpx.Request) -> httpx.Response:
        return _removed(self.collections, request.url.params["id"], 500)

    def _dataset_collection_create_localFile(self, request: httpx.Request) -> httpx.Response:
        _, _, rest = request.content.partition(b'name="data"')
        fields = json.loads(rest.split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0]) if rest else {}
        text = request.content.decode("utf-8", "replace")
        file_name = text.split('filename="')[1].split('"')[0]
        if re.search(r"%(?![0-9A-Fa-f]{2})", file_name) or not file_name.isascii():
            # A stray % is never answered; other letters come out mangled.
            raise httpx.ReadTimeout("timed out", request=request)
        metadata = {**fields.get("collectionMetadata", {}), "relatedImgId": "x"}
        return self._collected(unquote(file_name), {**fields, "metadata": metadata})

    def _dataset_collection_create_text(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        return self._collected(body["name"], body)

    def _dataset_collection_create_link(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        length = 900 if self.inserted else 0
        fields = {**body, "rawLink": body["link"], "rawTextLength": length}
        made = json.loads(self._collected("A page's title", fields).content)["data"]
        made["results"] = {"insertLen": self.inserted}
        return _ok(made)

    def _collected(self, name: str, fields: dict[str, Any]) -> httpx.Response:
        names = ("trainingType", "chunkSize", "metadata", "rawLink", "rawTextLength")
        kept = {name: fields[name] for name in names if name in fields}
        collection_id = self.add_collection(fields["datasetId"], name, **kept)
        left_out = [{"q": "a long chunk"}] * self.left_out
        results = {"insertLen": self.inserted, "overToken": left_out, "repeat": [], "error": []}
        return _ok({"collectionId": collection_id, "results": results})

    def _dataset_data_list(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        return _ok({"total": 1, "data": [{"_id": "d1", "q": f"text of {body['collectionId']}"}]})

    def _dataset_searchTest(self, request: httpx.Request) -> httpx.Response:
        text = _body(request)["text"]
        self.searched.append(text)
        collection_id = "other" if self.hits_nothing else text.removeprefix("text of ")
        return _ok({"list": [{"collectionId": collection_id, "q": "x", "sourceName": "n"}]})

    # apps
    def _app_list(self, request: httpx.Request) -> httpx.Response:
        return _ok([{"_id": a["_id"], "name": a["name"]} for a in self.apps.values()])

    def _app_detail(self, request: httpx.Request) -> httpx.Response:
        return _found(self.apps, request.url.params["appId"], 502000)

    def _app_create(self, request: httpx.Request) -> httpx.Response:
        body, app_id = _body(request), self.new_id()
        # chatConfig and intro are not taken here.
        kept = {key: body[key] for key in ("name", "type", "modules", "edges")}
        self.apps[app_id] = {"_id": app_id, "intro": "", **kept}
        return _ok(app_id)

    def _app_update(self, request: httpx.Request) -> httpx.Response:
        self.apps[request.url.params["appId"]].update(_body(request))
        return _ok(None)

    def _app_version_publish(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        self.published.append(body)
        self.apps[request.url.params["appId"]].update(
            modules=body["nodes"], edges=body["edges"], chatConfig=body["chatConfig"]
        )
        return _ok(None)

    def _app_del(self, request: httpx.Request) -> httpx.Response:
        return _removed(self.apps, request.url.params["appId"], 502000)

    # links and keys
    def _support_outLink_list(self, request: httpx.Request) -> httpx.Response:
        app_id = request.url.params["appId"]
        # Without the type it answers nothing.
        if request.url.params.get("type") != "share":
            return _ok([])
        return _ok([link for link in self.links.values() if link["appId"] == app_id])

    def _support_outLink_create(self, request: httpx.Request) -> httpx.Response:
        link_id, share_id = self.new_id(), f"share{self._next}"
        self.links[link_id] = {"_id": link_id, "shareId": share_id, **_body(request)}
        return _ok(share_id)

    def _support_outLink_update(self, request: httpx.Request) -> httpx.Response:
        body = _body(request)
        self.links[body["_id"]].update(body)
        return _ok(None)

    def _support_outLink_delete(self, request: httpx.Request) -> httpx.Response:
        return _removed(self.links, request.url.params["id"], 501)

    def _support_user_team_plan_getTeamPlanStatus(self, request: httpx.Request) -> httpx.Response:
        if self.postgres_error:
            return httpx.Response(500, json=_envelope(None, 500, self.postgres_error))
        return _ok({"standard": None, "totalPoints": None, "usedDatasetSize": 12})

    def _support_openapi_list(self, request: httpx.Request) -> httpx.Response:
        app_id = request.url.params["appId"]
        if app_id not in self.apps:
            return _found(self.apps, app_id, 502000)
        rows = [key for key in self.keys.values() if key["appId"] == app_id]
        return _ok([{**key, "apiKey": "******" + key["apiKey"][-4:]} for key in rows])

    def _support_openapi_create(self, request: httpx.Request) -> httpx.Response:
        key_id, body = self.new_id(), _body(request)
        if sum(key["appId"] == body["appId"] for key in self.keys.values()) >= 10:
            return httpx.Response(200, json=_envelope(None, 506002, "最多 10 组 API 密钥"))
        key = f"fastgpt-{key_id}"
        self.keys[key_id] = {"_id": key_id, "apiKey": key, **body}
        return _ok(key)

    def _support_openapi_delete(self, request: httpx.Request) -> httpx.Response:
        return _removed(self.keys, request.url.params["id"], 506000)

    def _chat(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if "token" in request.headers or "cookie" in request.headers:
            return httpx.Response(500, json=_envelope(None, 500, "a visitor has no session"))
        if self.chat_error:
            return httpx.Response(500, json=_envelope(None, 500, self.chat_error))
        quoted = {"quoteList": self.quotes} if self.quotes else {}
        answer = {
            "responseData": [{"moduleType": "datasetSearchNode", **quoted}],
            "choices": [{"message": {"role": "assistant", "content": "By its lease."}}],
        }
        return httpx.Response(200, json=answer)


def _body(request: httpx.Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.content)
    return body


def _yes(data: Any = None) -> dict[str, Any]:
    return {"success": True, "message": "", "data": data}


def _no(message: str) -> dict[str, Any]:
    return {"success": False, "message": message}


def _relay_error(message: str) -> dict[str, Any]:
    return {"error": {"message": f"{message} (request id: 1)", "type": "one_api_error"}}


def _detail(status: int, text: str) -> httpx.Response:
    return httpx.Response(status, json={"detail": f"[address=0.0.0.0:1, pid=7] {text}"})


def _envelope(data: Any, code: int = 200, message: str = "") -> dict[str, Any]:
    return {"code": code, "statusText": "", "message": message, "data": data}


def _ok(data: Any) -> httpx.Response:
    return httpx.Response(200, json=_envelope(data))


# What the real one says of a thing that is not there (docs/facts/measured.md §1), by code.
_NOT_THERE = {
    500: "Collection is not exist",
    501: "linkUnInvalid",
    501000: "core.dataset.error.unExistDataset",
    502000: "appUnExist",
    506000: "openapiUnExist",
}


def _found(rows: dict[str, dict[str, Any]], row_id: str, code: int) -> httpx.Response:
    if row_id in rows:
        return _ok(rows[row_id])
    # Known business errors come with HTTP 200.
    status = 500 if code == 500 else 200
    return httpx.Response(status, json=_envelope(None, code, _NOT_THERE[code]))


def _removed(rows: dict[str, dict[str, Any]], row_id: str, code: int) -> httpx.Response:
    answered = _found(rows, row_id, code)
    rows.pop(row_id, None)
    return _ok(None) if answered.json()["code"] == 200 else answered

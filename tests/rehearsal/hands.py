"""What people do by hand in the services' own web pages and on the server, and what they see there.

Plain HTTP, by the contracts in docs/facts/oneapi.md §3 to §5, docs/facts/xinference.md §2 and
docs/facts/fastgpt.md §3 to §8. Never through the program's clients: what they get wrong would be
wrong here too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import asyncssh
import httpx

SECONDS = 60.0
PAGES = 30


_SESSIONS: dict[tuple[str, str], dict[str, str]] = {}


class Refused(Exception):
    """A service said no; the text is its own."""


class Hands:
    """Somebody with the lab's outputs in front of three web pages. Use as a context manager."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self.oneapi = OneApiPage(str(outputs["oneapiUrl"]), str(outputs["oneapiPassword"]))
        self.fastgpt = FastGptPage(str(outputs["fastgptUrl"]), str(outputs["fastgptPassword"]))
        self.xinference = XinferencePage(str(outputs["xinferenceUrl"]))

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, *_: object) -> None:
        for page in (self.oneapi, self.fastgpt, self.xinference):
            page.close()


class _Page:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the page."""
        self._http.close()


class OneApiPage(_Page):
    """OneAPI as user `root`, by a session cookie as a browser has it. Logs in at the first use."""

    def __init__(self, url: str, password: str) -> None:
        super().__init__(url)
        self._password = password
        self._in = False

    def opens_with(self, password: str) -> bool:
        """Whether `root` can log in with it."""
        body = {"username": "root", "password": password}
        with httpx.Client(base_url=self._http.base_url, timeout=SECONDS, trust_env=False) as fresh:
            answer = fresh.post("/api/user/login", json=body).json()
        return bool(answer["success"])

    def accepts_cookies(self) -> bool:
        """Whether the session that was opened before is still good."""
        return bool(self._http.get("/api/user/self").json()["success"])

    def set_password(self, password: str) -> None:
        """Personal settings: another password."""
        self.call("PUT", "/api/user/self", json={"password": password})
        self._password = password

    def new_access_token(self) -> str:
        """Personal settings: make a new access token; the old one dies."""
        return str(self.call("GET", "/api/user/token"))

    def channels(self) -> list[dict[str, Any]]:
        """Every row of the channels' page."""
        return self._rows("/api/channel/")

    def channel(self, name: str) -> dict[str, Any]:
        """The one channel of that name."""
        return _one(self.channels(), name)

    def edit_channel(self, name: str, **fields: Any) -> None:
        """Change fields of a channel."""
        self.call("PUT", "/api/channel/", json={"id": self.channel(name)["id"], **fields})

    def delete_channel(self, name: str) -> None:
        """Delete the one channel of that name."""
        self.call("DELETE", f"/api/channel/{self.channel(name)['id']}")

    def add_channel(self, row: Mapping[str, Any]) -> None:
        """Add a channel with these fields."""
        self.call("POST", "/api/channel/", json=dict(row))

    def tokens(self) -> list[dict[str, Any]]:
        """Every row of the tokens' page, keys included."""
        return self._rows("/api/token/")

    def token(self, name: str) -> dict[str, Any]:
        """The one token of that name."""
        return _one(self.tokens(), name)

    def edit_token(self, name: str, **fields: Any) -> None:
        """Change fields of a token; the page sends the others along."""
        self.call("PUT", "/api/token/", json={**self.token(name), **fields})

    def delete_token(self, name: str) -> None:
        """Delete the one token of that name."""
        self.call("DELETE", f"/api/token/{self.token(name)['id']}")

    def add_token(self, name: str, models: str = "") -> None:
        """Add a token without a quota."""
        body = {
            "name": name,
            "models": models,
            "unlimited_quota": True,
            "remain_quota": 0,
            "expired_time": -1,
        }
        self.call("POST", "/api/token/", json=body)

    def relay_status(self, key: str) -> int:
        """HTTP status of the list of models, asked for with a relay key."""
        return self._http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call as root; its `data`."""
        if not self._in:
            self._enter()
            self._in = True
        return _success(self._http.request(method, path, **options))

    def _enter(self) -> None:
        """As a browser: with the session that is still open, if there is one.

        OneAPI counts every login, twenty in twenty minutes (docs/facts/oneapi.md §3).
        """
        session = (str(self._http.base_url), self._password)
        self._http.cookies.update(_SESSIONS.get(session, {}))
        if session in _SESSIONS and self.accepts_cookies():
            return
        body = {"username": "root", "password": self._password}
        _success(self._http.post("/api/user/login", json=body))
        _SESSIONS[session] = dict(self._http.cookies)

    def _rows(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for page in range(PAGES):
            found = self.call("GET", f"{path}?p={page}")
            if not found:
                return rows
            rows += found
        raise AssertionError(f"{path} has more than {PAGES} pages")


class XinferencePage(_Page):
    """Xinference, which knows no users."""

    def running(self) -> dict[str, dict[str, Any]]:
        """Uid to description of what serves now."""
        return {item["id"]: item for item in self._http.get("/v1/models").json()["data"]}

    def statuses(self, uid: str) -> list[str]:
        """Of the copies of a model that have not been stopped."""
        found = self._http.get(f"/v1/models/{uid}/replicas").json()
        gone = ("TERMINATED", "TERMINATING")
        return [item["status"] for item in found if item["status"] not in gone]

    def stop(self, uid: str) -> None:
        """Terminate a model."""
        self._checked("DELETE", f"/v1/models/{uid}")

    def launch(self, payload: Mapping[str, Any]) -> None:
        """Launch a model and wait for it."""
        self._checked("POST", "/v1/models", params={"wait_ready": "true"}, json=dict(payload))

    def version(self) -> str:
        """Of the server."""
        return str(self._checked("GET", "/v1/cluster/version").json()["version"])

    def autostarts(self) -> list[str]:
        """Uids that are launched at every start."""
        found = self._checked("GET", "/v1/autostart/models").json()["models"]
        return [item["launch"]["model_uid"] for item in found]

    def _checked(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._http.request(method, path, **options)
        if answer.is_error:
            raise Refused(f"{method} {path}: HTTP {answer.status_code} {answer.text[:300]}")
        return answer


class FastGptPage(_Page):
    """FastGPT as user `root`. Logs in at the first use."""

    def __init__(self, url: str, password: str) -> None:
        super().__init__(url)
        self._password = password
        self._token = ""

    def opens_with(self, password: str) -> bool:
        """Whether `root` can log in with it."""
        return bool(self._login(password)["code"] == 200)

    def accepts_session(self) -> bool:
        """Whether the session that was opened before is still good."""
        headers = {"token": self._token}
        answer = self._http.get("/api/support/user/account/tokenLogin", headers=headers).json()
        return bool(answer["code"] == 200)

    def bases(self) -> list[dict[str, Any]]:
        """Every base at the top level."""
        found: list[dict[str, Any]]
        found = self.call("POST", "/api/core/dataset/list", json={"parentId": None})
        return found

    def base(self, name: str) -> dict[str, Any]:
        """The one base of that name."""
        return _one(self.bases(), name)

    def add_base(self, name: str, vector_model: str, agent_model: str) -> str:
        """A new base; its id."""
        body = {
            "name": name,
            "type": "dataset",
            "parentId": None,
            "intro": "made by hand",
            "vectorModel": vector_model,
            "agentModel": agent_model,
        }
        return str(self.call("POST", "/api/core/dataset/create", json=body))

    def rename_base(self, base_id: str, name: str) -> None:
        """Another name."""
        self.call("PUT", "/api/core/dataset/update", json={"id": base_id, "name": name})

    def delete_base(self, base_id: str) -> None:
        """Delete it with its documents."""
        self.call("DELETE", "/api/core/dataset/delete", params={"id": base_id})

    def documents(self, base_id: str) -> list[dict[str, Any]]:
        """The documents of a base (no test has more than a page of them)."""
        body = {
            "datasetId": base_id,
            "pageNum": 1,
            "pageSize": 30,
            "parentId": None,
            "searchText": "",
        }
        answer = self.call("POST", "/api/core/dataset/collection/list", json=body)
        found: list[dict[str, Any]] = answer["data"]
        return found

    def rename_document(self, document_id: str, name: str) -> None:
        """Another name."""
        body = {"id": document_id, "name": name}
        self.call("PUT", "/api/core/dataset/collection/update", json=body)

    def delete_document(self, document_id: str) -> None:
        """Delete it with its chunks."""
        self.call("DELETE", "/api/core/dataset/collection/delete", params={"id": document_id})

    def add_folder(self, base_id: str, name: str) -> str:
        """A folder for documents; its id."""
        body = {"datasetId": base_id, "parentId": None, "name": name, "type": "folder"}
        return str(self.call("POST", "/api/core/dataset/collection/create", json=body))

    def move_document(self, document_id: str, folder_id: str) -> None:
        """Put it into a folder."""
        body = {"id": document_id, "parentId": folder_id}
        self.call("PUT", "/api/core/dataset/collection/update", json=body)

    def upload(self, base_id: str, name: str, content: bytes) -> str:
        """Upload a file with the page's own defaults; its id."""
        fields = {"datasetId": base_id, "parentId": None, "trainingType": "chunk", "chunkSize": 512}
        answer = self.call(
            "POST",
            "/api/core/dataset/collection/create/localFile",
            data={"data": json.dumps(fields)},
            files={"file": (quote(name), content, "application/octet-stream")},
        )
        return str(answer["collectionId"])

    def apps(self) -> list[dict[str, Any]]:
        """Every app at the top level."""
        found: list[dict[str, Any]]
        found = self.call("POST", "/api/core/app/list", json={"parentId": None})
        return found

    def app(self, name: str) -> dict[str, Any]:
        """The whole of the one app of that name."""
        return self.app_of(str(_one(self.apps(), name)["_id"]))

    def app_of(self, app_id: str) -> dict[str, Any]:
        """The whole of an app."""
        found: dict[str, Any]
        found = self.call("GET", "/api/core/app/detail", params={"appId": app_id})
        return found

    def add_app(self, name: str, kind: str = "simple") -> str:
        """A new app without knowledge, or a folder; its id."""
        body: dict[str, Any] = {"name": name, "type": kind, "modules": [], "edges": []}
        return str(self.call("POST", "/api/core/app/create", json=body))

    def change_app(self, app_id: str, **fields: Any) -> None:
        """Name, intro, or the folder it lies in."""
        self.call("PUT", "/api/core/app/update", params={"appId": app_id}, json=fields)

    def publish(self, app_id: str, nodes: list[Any], edges: list[Any], config: Any) -> None:
        """Save and publish a graph."""
        body = {
            "nodes": nodes,
            "edges": edges,
            "chatConfig": config,
            "type": "simple",
            "isPublish": True,
            "versionName": "by hand",
        }
        self.call("POST", "/api/core/app/version/publish", params={"appId": app_id}, json=body)

    def delete_app(self, app_id: str) -> None:
        """Delete it with its share links."""
        self.call("DELETE", "/api/core/app/del", params={"appId": app_id})

    def links(self, app_id: str) -> list[dict[str, Any]]:
        """Its share links."""
        query = {"appId": app_id, "type": "share"}
        found: list[dict[str, Any]] = self.call("GET", "/api/support/outLink/list", params=query)
        return found

    def add_link(self, app_id: str, name: str) -> str:
        """A new share link; its share id."""
        body = {
            "appId": app_id,
            "type": "share",
            "name": name,
            "responseDetail": False,
            "limit": {"QPM": 100, "maxUsagePoints": -1},
        }
        return str(self.call("POST", "/api/support/outLink/create", json=body))

    def change_link(self, link_id: str, **fields: Any) -> None:
        """Its name, or whether it shows citations."""
        self.call("POST", "/api/support/outLink/update", json={"_id": link_id, **fields})

    def delete_link(self, link_id: str) -> None:
        """Revoke it."""
        self.call("DELETE", "/api/support/outLink/delete", params={"id": link_id})

    def keys(self, app_id: str) -> list[dict[str, Any]]:
        """Its API keys, masked."""
        query = {"appId": app_id}
        found: list[dict[str, Any]] = self.call("GET", "/api/support/openapi/list", params=query)
        return found

    def add_key(self, app_id: str, name: str) -> str:
        """A new API key, shown this once."""
        body = {"appId": app_id, "name": name, "limit": {"maxUsagePoints": -1}}
        return str(self.call("POST", "/api/support/openapi/create", json=body))

    def rename_key(self, key_id: str, name: str) -> None:
        """Another name."""
        self.call("PUT", "/api/support/openapi/update", json={"_id": key_id, "name": name})

    def delete_key(self, key_id: str) -> None:
        """Delete it."""
        self.call("DELETE", "/api/support/openapi/delete", params={"id": key_id})

    def chats_with(self, key: str) -> bool:
        """Whether an app answers to this API key."""
        body = {"stream": False, "messages": [{"role": "user", "content": "What is this lab?"}]}
        headers = {"Authorization": f"Bearer {key}"}
        answer = self._http.post("/api/v1/chat/completions", json=body, headers=headers).json()
        return bool(answer.get("choices"))

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call as root; its `data`."""
        if not self._token:
            self._token = str(_coded(self._login(self._password))["token"])
        headers = {"token": self._token}
        return _coded(self._http.request(method, path, headers=headers, **options).json())

    def _login(self, password: str) -> dict[str, Any]:
        digest = hashlib.sha256(password.encode()).hexdigest()
        body = {"username": "root", "password": digest}
        with httpx.Client(base_url=self._http.base_url, timeout=SECONDS, trust_env=False) as fresh:
            answer = fresh.post("/api/support/user/account/loginByPassword", json=body)
        found: dict[str, Any] = answer.json()
        return found


def on_server(outputs: Mapping[str, Any], command: str) -> str:
    """What a command prints, run on the server as its operator; it has to succeed."""

    async def work() -> str:
        host, port = str(outputs["serverAddress"]), int(outputs["sshPort"])
        known = asyncssh.import_known_hosts(f"[{host}]:{port} {outputs['sshHostKey']}")
        options: dict[str, Any] = {
            "username": str(outputs["sshUser"]),
            "client_keys": [str(outputs["sshKeyFile"])],
            "known_hosts": known,
            "config": None,
        }
        async with asyncssh.connect(host, port, **options) as connection:
            ran = await connection.run(command, timeout=SECONDS, stdin=asyncssh.DEVNULL)
        assert ran.exit_status == 0, f"{command}: {ran.exit_status}\n{ran.stderr!r}"
        return str(ran.stdout)

    return asyncio.run(work())


def wait_until_healthy(outputs: Mapping[str, Any]) -> None:
    """After a start of the server: every container is healthy, and every model serves."""

    def healthy() -> bool:
        states = on_server(outputs, "docker ps -a --format '{{.Names}} {{.Status}}'").splitlines()
        return bool(states) and all("(healthy)" in line for line in states)

    until("all containers to be healthy", healthy)
    wanted = {m["name"] for m in outputs["models"] if m["servedBy"] == "xinference"}
    with Hands(outputs) as hands:
        until("the models", lambda: wanted <= hands.xinference.running().keys())


def until(what: str, met: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = met()
        except (httpx.HTTPError, OSError, asyncssh.Error, Refused) as error:
            last = f"{type(error).__name__}: {error}"
        else:
            if last:
                return
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:.0f} s for {what}; last seen: {last!r}")


def _one(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [row for row in rows if row["name"] == name]
    if len(found) != 1:
        names = ", ".join(str(row["name"]) for row in rows)
        raise AssertionError(f"{len(found)} are called {name} among: {names}")
    return found[0]


def _success(answer: httpx.Response) -> Any:
    body = answer.json() if answer.content else {}
    if not body.get("success"):
        raise Refused(f"HTTP {answer.status_code} {body.get('message')!r}")
    return body.get("data")


def _coded(body: dict[str, Any]) -> Any:
    if body.get("code") != 200:
        raise Refused(f"{body.get('code')} {body.get('message')!r}")
    return body.get("data")

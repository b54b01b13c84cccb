"""The real OneAPI (docs/facts/oneapi.md §9), and the requests that cases make of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx

from rehearsal.real_oneapi.build import binary
from rehearsal.real_oneapi.vocabulary import CL100K, O200K, write_small
from tests.contract.processes import Program, free_port, listens, plain_environment

ROOT_TOKEN = "lab"
_numbers = itertools.count(1)


def start(folder: Path, environment: dict[str, str]) -> Program:
    """Start the real OneAPI. `environment` comes over the usual one; an empty value takes a
    variable away. The database is a SQLite file in `folder`, which a second start finds again."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = plain_environment(
        REHEARSAL_ADDRESS="127.0.0.1",
        GLOBAL_API_RATE_LIMIT="100000",
        GLOBAL_WEB_RATE_LIMIT="100000",
        INITIAL_ROOT_TOKEN=ROOT_TOKEN,
        TIKTOKEN_CACHE_DIR=str(_vocabulary(folder)),
        SQLITE_PATH=str(folder / "one-api.db"),
        PORT=str(free_port()),
    )
    merged = {name: value for name, value in {**usual, **environment}.items() if value}
    return Program((str(binary()),), merged, folder, int(merged["PORT"]))


class OneApi:
    """A running OneAPI; `case` is part of the names of what is made in it."""

    def __init__(self, program: Program, case: str = "") -> None:
        self.program = program
        self.case = case
        self.http = httpx.Client(
            base_url=f"http://{program.address}:{program.port}",
            trust_env=False,
            timeout=30,
        )
        self.access_token = ""
        self._names = itertools.count(1)

    def wait_until_listening(self) -> None:
        """Listening means: migrated, root is there, vocabulary loaded."""
        self.program.wait_until(
            lambda: listens(self.program.address, self.program.port),
            "OneAPI to listen",
        )

    # management

    def api(self, method: str, path: str, body: object = None, **options: Any) -> dict[str, Any]:
        """A management call as root; the JSON answer, which must come with HTTP 200."""
        answer = self.raw(method, path, body, **options)
        assert answer.status_code == 200, f"{method} {path}: HTTP {answer.status_code}"
        parsed: dict[str, Any] = answer.json()
        return parsed

    def raw(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """The same, as it comes; `body` may be bytes."""
        headers = {"Authorization": self.access_token, **options.pop("headers", {})}
        if isinstance(body, bytes):
            return self.http.request(method, path, content=body, headers=headers, **options)
        return self.http.request(method, path, json=body, headers=headers, **options)

    def login(
        self, password: str = "123456", username: str = "root", client: str = ""
    ) -> httpx.Response:
        """A login from an address of its own, so that cases do not use up each other's limit."""
        number = next(_numbers)
        address = client or f"10.0.{number // 250}.{number % 250 + 1}"
        credentials = {"username": username, "password": password}
        headers = {"X-Forwarded-For": address}
        answer = self.http.post("/api/user/login", json=credentials, headers=headers)
        self.http.cookies.clear()
        return answer

    def become_root(self, password: str = "123456") -> None:
        """Log in once and keep the access token."""
        answer = self.login(password)
        cookie = {"Cookie": f"session={answer.cookies['session']}"}
        own = self.http.get("/api/user/self", headers=cookie).json()
        self.access_token = own["data"]["access_token"]

    # channels

    def new_name(self, prefix: str = "c") -> str:
        """A name that no other case uses."""
        return f"{prefix}-{self.case}-{next(self._names)}"

    def add_channel(self, **fields: Any) -> int:
        """POST a channel that must be accepted; its id, found by name."""
        channel = {"type": 1, "key": "none", "group": "default", **fields}
        answer = self.api("POST", "/api/channel/", channel)
        assert answer["success"], answer["message"]
        return self.channels_named(channel["name"])[-1]["id"]  # type: ignore[no-any-return]

    def channels_named(self, name: str) -> list[dict[str, Any]]:
        """All channels of exactly that name, oldest first."""
        found = self.api("GET", "/api/channel/search", params={"keyword": name})["data"]
        return sorted((row for row in found if row["name"] == name), key=lambda row: row["id"])

    def channel(self, channel_id: int) -> dict[str, Any]:
        """One channel that must be there."""
        answer = self.api("GET", f"/api/channel/{channel_id}")
        assert answer["success"], answer["message"]
        return answer["data"]  # type: ignore[no-any-return]

    # relay

    def relay(
        self, path: str, body: object, key: str = f"sk-{ROOT_TOKEN}", **options: Any
    ) -> httpx.Response:
        """A relay call with a token."""
        headers = {"Authorization": f"Bearer {key}".strip(), **options.pop("headers", {})}
        if isinstance(body, bytes):
            return self.http.post(path, content=body, headers=headers, **options)
        return self.http.post(path, json=body, headers=headers, **options)

    def chat(self, model: str, key: str = f"sk-{ROOT_TOKEN}", **more: Any) -> httpx.Response:
        """A chat with one question."""
        messages = [{"role": "user", "content": "Who are you?"}]
        body = {"model": model, "messages": messages, **more}
        return self.relay("/v1/chat/completions", body, key)

    def admitted(self, **headers: str) -> int:
        """The status with which GET /v1/models answers."""
        return self.http.get("/v1/models", headers=headers).status_code

    def models(self, key: str = f"sk-{ROOT_TOKEN}") -> list[str]:
        """What GET /v1/models lists, earlier cases' models too."""
        answer = self.http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        return [row["id"] for row in answer.json()["data"]]


def _vocabulary(folder: Path) -> Path:
    place = folder / "vocabulary"
    write_small(place, CL100K, O200K)
    return place

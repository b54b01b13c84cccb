"""The real OneAPI (docs/facts/oneapi.md §9), what people do to it, and our side of it."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from provisioning.clients.oneapi import OneApiClient, OneApiRelay
from rehearsal.real_oneapi.build import binary
from rehearsal.real_oneapi.vocabulary import CL100K, O200K, write_small
from stack.resources.declaration import Thing
from tests.clock import FakeClock
from tests.contract.processes import Program, free_port, listens, plain_environment
from tests.unit.subject import Subject

ROOT_TOKEN = "lab"
_numbers = itertools.count(1)


def start(folder: Path, environment: Mapping[str, str]) -> "OneApi":
    """Start the real OneAPI with a database in `folder`; `environment` comes over the usual one."""
    vocabulary = folder / "vocabulary"
    write_small(vocabulary, CL100K, O200K)
    usual = plain_environment(
        REHEARSAL_ADDRESS="127.0.0.1",
        GLOBAL_API_RATE_LIMIT="100000",
        GLOBAL_WEB_RATE_LIMIT="100000",
        INITIAL_ROOT_TOKEN=ROOT_TOKEN,
        TIKTOKEN_CACHE_DIR=str(vocabulary),
        SQLITE_PATH=str(folder / "one-api.db"),
        PORT=str(free_port()),
    )
    merged = {**usual, **environment}
    return OneApi(Program((str(binary()),), merged, folder, int(merged["PORT"])))


class Network(httpx.HTTPTransport):
    """Our side's real connections.

    Attributes:
        calls: (method, path), in order.
        address: sent as X-Forwarded-For, which OneAPI believes (`docs/facts/oneapi.md §3`).
        override: a documented answer by path, where OneAPI cannot be brought to it.
        spoil: by method and path, what is changed in a request, as by a mistake of ours.
    """

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.calls: list[tuple[str, str]] = []
        self.address = ""
        self.override: dict[str, httpx.Response] = {}
        self.spoil: dict[tuple[str, str], dict[str, Any]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = (request.method, request.url.path)
        self.calls.append(call)
        if call[1] in self.override:
            return self.override[call[1]]
        if self.address:
            request.headers["X-Forwarded-For"] = self.address
        if call in self.spoil:
            body = {**json.loads(request.content), **self.spoil[call]}
            headers = {**request.headers}
            del headers["content-length"]
            request = httpx.Request(*call[:1], request.url, headers=headers, json=body)
        return super().handle_request(request)

    def changes(self) -> list[tuple[str, str]]:
        """What was not only looked at."""
        return [call for call in self.calls if call[0] != "GET"]


class OneApi:
    """A running OneAPI; `case` is part of the names of what is made in it."""

    def __init__(self, program: Program, case: str = "") -> None:
        self.program = program
        self.case = case
        self.url = f"http://{program.address}:{program.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        self.access_token = ""
        self.network, self.clock = Network(), FakeClock()
        self._names = itertools.count(1)

    def wait_until_listening(self) -> None:
        """Listening means: migrated, root is there, vocabulary loaded."""
        address = (self.program.address, self.program.port)
        self.program.wait_until(lambda: listens(*address), "OneAPI to listen")

    # What people do to it

    def api(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The data that a management call as root is answered with."""
        headers = {"Authorization": self.access_token}
        answer = self.http.request(method, path, json=body, headers=headers, **options).json()
        assert answer["success"], answer["message"]
        return answer.get("data")

    def login(self, password: str = "123456", client: str = "") -> httpx.Response:
        """A login from an address of its own, so that cases do not use up each other's limit."""
        number = next(_numbers)
        headers = {"X-Forwarded-For": client or f"10.0.{number // 250}.{number % 250 + 1}"}
        credentials = {"username": "root", "password": password}
        answer = self.http.post("/api/user/login", json=credentials, headers=headers)
        self.http.cookies.clear()
        return answer

    def opens_with(self, password: str) -> bool:
        """Whether root's password is this."""
        return bool(self.login(password).json()["success"])

    def become_root(self) -> None:
        """Log in once and keep the access token."""
        cookie = {"Cookie": f"session={self.login().cookies['session']}"}
        own = self.http.get("/api/user/self", headers=cookie).json()
        self.access_token = own["data"]["access_token"]

    def new_name(self, prefix: str = "c") -> str:
        """A name that no other case uses; a token's may have 30 bytes."""
        return f"{prefix}-{self.case}-{next(self._names)}"

    def add_channel(self, **fields: Any) -> int:
        """Make a channel; its id."""
        channel = {"type": 1, "key": "none", "group": "default", **fields}
        self.api("POST", "/api/channel/", channel)
        return max(self.channels_named(channel["name"]))

    def channels_named(self, name: str) -> list[int]:
        """The ids of all channels of exactly that name, oldest first."""
        found = self.api("GET", "/api/channel/search", params={"keyword": name})
        return sorted(row["id"] for row in found if row["name"] == name)

    def relay(self, path: str, body: object, key: str = f"sk-{ROOT_TOKEN}") -> httpx.Response:
        """A relay call with a token."""
        return self.http.post(path, json=body, headers={"Authorization": f"Bearer {key}"})

    def chat(self, model: str, key: str = f"sk-{ROOT_TOKEN}", **more: Any) -> httpx.Response:
        """A chat with one question."""
        messages = [{"role": "user", "content": "Who are you?"}]
        return self.relay(
            "/v1/chat/completions", {"model": model, "messages": messages, **more}, key
        )

    def models(self, key: str = f"sk-{ROOT_TOKEN}") -> set[str] | None:
        """What GET /v1/models lists, earlier cases' models too; None where the key is refused."""
        answer = self.http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        return {row["id"] for row in answer.json()["data"]} if answer.is_success else None

    # Our side of it

    def client(self, access_token: str | None = None) -> OneApiClient:
        """Our management client; with root's access token unless another is given."""
        token = self.access_token if access_token is None else access_token
        return OneApiClient(self.url, token, transport=self.network, clock=self.clock)

    def our_relay(
        self, key: str = f"sk-{ROOT_TOKEN}", channel_id: int | None = None
    ) -> OneApiRelay:
        """Our client of its relay."""
        options: Any = {"transport": self.network, "clock": self.clock}
        return OneApiRelay(self.url, key, channel_id=channel_id, **options)

    def subject(self, thing: type[Thing], **inputs: Any) -> Subject:
        """A resource of it."""
        endpoint = {"host": self.program.address, "port": self.program.port}
        made = Subject(thing, {"endpoint": endpoint, **inputs}, self.network)
        made.provider.clock = made.clock = self.clock
        return made

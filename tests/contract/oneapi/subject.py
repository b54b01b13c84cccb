"""The real OneAPI (docs/facts/oneapi.md §9), what people do to it, and our side of it."""

import base64
import itertools
from pathlib import Path
from typing import Any

import httpx

from provisioning.clients.oneapi import OneApiClient, OneApiRelay
from rehearsal.real_oneapi.run import CL100K, O200K
from stack.resources.declaration import Thing
from tests.clock import FakeClock
from tests.contract.processes import Network, Program, free_port, plain_environment
from tests.unit.subject import Subject
from tools.oneapi_build import binary

ROOT_TOKEN = "lab"
ROOT_KEY = f"sk-{ROOT_TOKEN}"
_numbers = itertools.count(1)


def write_small(folder: Path, *names: str) -> None:
    """Put a vocabulary of one token a byte under each of `names` in `folder`: enough where OneAPI's
    counts do not matter."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256)]
    for name in names:
        (folder / name).write_text("".join(lines))


def start(folder: Path, **environment: str) -> "OneApi":
    """The real OneAPI with a database in `folder`; `environment` comes over the usual one."""
    write_small(folder / "vocabulary", CL100K, O200K)
    port = free_port()
    usual = plain_environment(
        REHEARSAL_ADDRESS="127.0.0.1",
        GLOBAL_API_RATE_LIMIT="100000",
        GLOBAL_WEB_RATE_LIMIT="100000",
        INITIAL_ROOT_TOKEN=ROOT_TOKEN,
        TIKTOKEN_CACHE_DIR=str(folder / "vocabulary"),
        SQLITE_PATH=str(folder / "one-api.db"),
        PORT=str(port),
    )
    made = OneApi(Program((str(binary()),), {**usual, **environment}, folder, port))
    made.program.wait_until_listening()
    return made


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

    def become_root(self) -> None:
        cookie = {"Cookie": f"session={self.login().cookies['session']}"}
        own = self.http.get("/api/user/self", headers=cookie).json()
        self.access_token = own["data"]["access_token"]

    def new_name(self, prefix: str = "c") -> str:
        """A name that no other case uses; a token's may have 30 bytes."""
        return f"{prefix}-{self.case}-{next(self._names)}"

    def add_channel(self, **fields: Any) -> int:
        channel = {"type": 1, "key": "none", "group": "default", **fields}
        self.api("POST", "/api/channel/", channel)
        return max(self.channels_named(channel["name"]))

    def channels_named(self, name: str) -> list[int]:
        """The ids of all channels of exactly that name, oldest first."""
        found = self.api("GET", "/api/channel/search", params={"keyword": name})
        return sorted(row["id"] for row in found if row["name"] == name)

    def relay(self, path: str, body: object) -> httpx.Response:
        return self.http.post(path, json=body, headers={"Authorization": f"Bearer {ROOT_KEY}"})

    def chat(self, model: str, **more: Any) -> httpx.Response:
        messages = [{"role": "user", "content": "Who are you?"}]
        return self.relay("/v1/chat/completions", {"model": model, "messages": messages, **more})

    def models(self, key: str = ROOT_KEY) -> set[str] | None:
        """What GET /v1/models lists, earlier cases' models too; None where the key is refused."""
        answer = self.http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        return {row["id"] for row in answer.json()["data"]} if answer.is_success else None

    # Our side of it

    def client(self, access_token: str | None = None) -> OneApiClient:
        """Our management client; with root's access token unless another is given."""
        token = self.access_token if access_token is None else access_token
        return OneApiClient(self.url, token, transport=self.network, clock=self.clock)

    def our_relay(self, key: str = ROOT_KEY, **more: Any) -> OneApiRelay:
        return OneApiRelay(self.url, key, transport=self.network, clock=self.clock, **more)

    def subject(self, thing: type[Thing], **inputs: Any) -> Subject:
        endpoint = {"host": self.program.address, "port": self.program.port}
        made = Subject(thing, {"endpoint": endpoint, **inputs}, self.network)
        made.provider.clock = made.clock = self.clock
        return made

"""What FastGPT 4.16 really answered (tests/contract/recordings/fastgpt-4.16.0), for its client."""

import json
from typing import Any

import httpx

from provisioning.clients.fastgpt import CurrentClient
from tests.clock import FakeClock
from tests.contract.record import RECORDINGS

FOLDER = RECORDINGS / "fastgpt-4.16.0"
LOGIN = ("03-login-a-preLogin", "03-login-b-loginByPassword")


def recording(name: str) -> Any:
    """One call, `request` and `answer`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


class Recorded(httpx.BaseTransport):
    """Answers each call with the next recording of that method and path; the last stays.

    `sent` are the bodies that came, by recording; `progress` is what the client told.
    """

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.sent: dict[str, list[Any]] = {}
        self.progress: list[str] = []
        self.heard: list[httpx.Request] = []
        self._left: dict[tuple[str, str], list[str]] = {}
        for name in names:
            asked = recording(name)["request"]
            place = (asked["method"], asked["path"].partition("?")[0])
            self._left.setdefault(place, []).append(name)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        names = self._left[request.method, request.url.path]
        name = names.pop(0) if len(names) > 1 else names[0]
        self.heard.append(request)
        content = request.read()
        is_json = "json" in request.headers.get("content-type", "")
        body = json.loads(content) if is_json else content
        self.sent.setdefault(name, []).append(body)
        answer = recording(name)["answer"]
        return httpx.Response(answer["status"], json=answer["body"])

    def client(self, token: str = "old") -> CurrentClient:
        told: Any = {"transport": self, "clock": self.clock, "progress": self.progress.append}
        return CurrentClient("http://x:3000", password="root-password", token=token, **told)

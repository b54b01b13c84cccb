"""Our OneAPI client, relay and resources on the real OneAPI, with time that is skipped."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

import httpx

from provisioning.clients.oneapi import OneApiClient, OneApiRelay
from stack.resources.base import LabProvider
from stack.resources.declaration import Props
from tests.contract.oneapi.subject import ROOT_TOKEN, OneApi

Provider = TypeVar("Provider", bound=LabProvider)


class SkippingClock:
    """Time that passes only when somebody sleeps, so that no case waits for real."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.on_sleep()


class Network(httpx.HTTPTransport):
    """Real connections. Can lend the caller another address.

    Attributes:
        calls: (method, path), in order.
        address: sent as X-Forwarded-For, which OneAPI believes (`docs/facts/oneapi.md §3`).
        spoil: changes the body of a request, as a mistake of ours would.
    """

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.calls: list[tuple[str, str]] = []
        self.address = ""
        self.spoil: Callable[[httpx.Request], dict[str, Any] | None] = lambda _: None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.path))
        if self.address:
            request.headers["X-Forwarded-For"] = self.address
        body = self.spoil(request)
        if body is not None:
            headers = request.headers.copy()
            del headers["content-length"]
            content = json.dumps(body).encode()
            request = httpx.Request(request.method, request.url, headers=headers, content=content)
        return super().handle_request(request)

    def changes(self) -> list[tuple[str, str]]:
        """What was not only looked at."""
        return [call for call in self.calls if call[0] != "GET"]


class OurSide:
    """What the lab uses, on one running OneAPI."""

    def __init__(self, oneapi: OneApi) -> None:
        self.oneapi = oneapi
        self.network = Network()
        self.clock = SkippingClock()
        self.base_url = f"http://{oneapi.program.address}:{oneapi.program.port}"
        self.endpoint = {"host": oneapi.program.address, "port": oneapi.program.port}

    def client(self, access_token: str | None = None) -> OneApiClient:
        """The management client; root's access token unless another is given."""
        return OneApiClient(
            self.base_url,
            access_token=self.oneapi.access_token if access_token is None else access_token,
            transport=self.network,
            clock=self.clock,
        )

    def relay(self, key: str = f"sk-{ROOT_TOKEN}", channel_id: int | None = None) -> OneApiRelay:
        """The relay."""
        return OneApiRelay(
            self.base_url,
            key,
            channel_id=channel_id,
            transport=self.network,
            clock=self.clock,
        )

    def provider(self, made: Provider) -> Provider:
        """A resource's provider, connected."""
        made.transport = self.network
        made.clock = self.clock
        return made

    def token_name(self) -> str:
        """A name for the case's token; OneAPI takes 30 bytes."""
        return f"t-{zlib.crc32(self.oneapi.case.encode()):08x}"

    def props(self, **inputs: Any) -> Props:
        """A resource's inputs."""
        token = self.oneapi.access_token
        return {"endpoint": self.endpoint, "access_token": token, **inputs}

"""The real Caddy with the lab's Caddyfile, before something that stands for Xinference."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import Unauthorized, Unreachable
from provisioning.clients.xinference import XinferenceClient
from tests.contract.caddy import DOMAIN, served, trusted
from tests.contract.processes import Program, new_address
from tests.contract.upstream import Upstream
from tests.waiting import until

KEY = "a-key-that-nobody-guesses"
LOGIN = base64.b64encode(f"root:{KEY}".encode()).decode()
XINFERENCE = new_address()
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caddy")


@pytest.fixture(scope="module")
def caddy(folder: Path) -> Iterator[Program]:
    """With a domain, so that it serves all that it can."""
    told = {"XINFERENCE_KEY": KEY, "XINFERENCE_LOGIN": LOGIN}
    program = served(folder, XINFERENCE, {"edition": "seeds"}, **told)
    yield program
    program.stop()


@pytest.fixture
def url(caddy: Program) -> str:
    return f"http://{caddy.address}:{caddy.port}"


def authorized(value: str) -> dict[str, str]:
    return {"Authorization": value}


def test_nothing_passes_without_the_key(url: str) -> None:
    """Xinference's own login leaves these open (docs/facts/xinference.md, "Login on 2.12.0")."""
    open_by_itself = ("/status", "/metrics", "/docs", "/openapi.json", "/v1/address", "/token")
    for path in (*open_by_itself, "/v1/cluster/auth", "/v1/models", "/", "/ui/", "//healthz/../v1"):
        for headers in ({}, authorized("Bearer wrong"), authorized(f"Basic {KEY}")):
            answer = httpx.get(url + path, headers=headers, trust_env=False)
            assert answer.status_code == 401, path
            assert "xinferenceKey" in answer.json()["detail"]
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="Xinference"'
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 204
    with XinferenceClient(url, "wrong") as client, pytest.raises(Unauthorized):
        client.version()


def test_who_has_the_key_is_passed_on_without_it(url: str) -> None:
    xinference = Upstream(XINFERENCE, (9997,))
    try:
        for given in (f"Bearer {KEY}", f"Basic {LOGIN}"):
            body = {"model": "qwen", "messages": [{"role": "user", "content": "Hi"}]}
            answer = httpx.post(url + CHAT, json=body, headers=authorized(given), trust_env=False)
            assert answer.json()["choices"]
        assert [asked.path for asked in xinference.asked] == [CHAT, CHAT]
        assert not [asked for asked in xinference.asked if "authorization" in asked.headers]
    finally:
        xinference.stop()


def test_without_xinference_nobody_has_answered(url: str) -> None:
    with XinferenceClient(url, KEY, retry_seconds=0.5) as client, pytest.raises(Unreachable):
        client.version()


def asked(caddy: Program, folder: Path, port: int, path: str = "/", **headers: str) -> Any:
    """What the domain answers, its certificate checked against Caddy's own authority."""
    with httpx.Client(verify=trusted(folder), trust_env=False) as http:
        url = f"https://{caddy.address}:{port}{path}"
        return http.get(
            url, headers={"Host": DOMAIN, **headers}, extensions={"sni_hostname": DOMAIN}
        )


def test_a_domain_is_served_by_tls_with_what_browsers_should_be_told(
    caddy: Program, folder: Path
) -> None:
    pages = Upstream(XINFERENCE, (3000, 9997))
    try:
        until(lambda: asked(caddy, folder, 40443).status_code, "the certificate")
        for port, path in ((40443, "/"), (8443, "/"), (40443, "/chat/share?shareId=a")):
            answer = asked(caddy, folder, port, path)
            assert answer.status_code == 200, answer.text
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            # A share link may stand in somebody's page; where root logs in may not.
            framed = "Content-Security-Policy" not in answer.headers
            assert framed == path.startswith("/chat/share"), path
        assert asked(caddy, folder, 9443, "/status").status_code == 401
        bearer = asked(caddy, folder, 9443, "/status", Authorization=f"Bearer {KEY}")
        assert bearer.status_code == 200
    finally:
        pages.stop()

"""The real Caddy with the lab's Caddyfile, before something that stands for Xinference."""

import base64
from collections.abc import Iterator

import httpx
import pytest

from provisioning.clients.errors import Unauthorized, Unreachable
from provisioning.clients.xinference import XinferenceClient
from provisioning.containers import CONTAINERS
from tests.contract.processes import PROJECT, Program, contained, new_address, resolve
from tests.contract.upstream import Upstream

KEY = "a-key-that-nobody-guesses"
LOGIN = base64.b64encode(f"root:{KEY}".encode()).decode()
XINFERENCE = new_address()
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def caddy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("caddy")
    place = folder / "root/etc/caddy/Caddyfile"
    place.parent.mkdir(parents=True)
    (folder / "root/run").mkdir()
    place.write_text((PROJECT / "provisioning/Caddyfile").read_text())
    resolve(folder, {"xinference": XINFERENCE})
    command = " ".join(["rehearsal.real_caddy", *CONTAINERS["caddy"].command[1:]])
    told = {"XINFERENCE_KEY": KEY, "XINFERENCE_LOGIN": LOGIN}
    program = contained(folder, command, new_address(), 9997, **told)
    program.wait_until_listening()
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
        for given in ({}, authorized("Bearer wrong"), authorized(f"Basic {KEY}")):
            answer = httpx.get(url + path, headers=given, trust_env=False)
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

"""The way of logos out of a bucket of OSS, by the real Caddy: to FastGPT, and to the browser."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.containers import PUBLIC_BUCKET
from tests.contract.behind import Behind
from tests.contract.caddy import DOMAIN, served, trusted
from tests.contract.processes import Program, new_address
from tests.waiting import until

BUCKET = "ai-lab-dev-0123456789-public"
HOST = f"{BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com"
LOGO = "system/plugin/models/OpenAI/logo"
BEHIND = new_address()
PROVIDERS = "/api/models/get-providers"


@pytest.fixture
def behind() -> Iterator[Behind]:
    found = Behind(BEHIND)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oss")


@pytest.fixture(scope="module")
def caddy(folder: Path) -> Iterator[Program]:
    changes = {"edition": "current", "storage": "oss"}
    program = served(folder, BEHIND, changes, PUBLIC_BUCKET=BUCKET)
    yield program
    program.stop()


def asked(caddy: Program, method: str, path: str) -> tuple[int, str, bytes]:
    """FastGPT asks its plugin."""
    opened = http.client.HTTPConnection(caddy.address, 3004, timeout=30)
    with contextlib.closing(opened):
        opened.request(method, path, headers={"Authorization": "Bearer plain"})
        answer = opened.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()


def told(avatar: str) -> dict[str, Any]:
    """What a plugin tells; its texts may look like a template."""
    row = {"provider": "OpenAI", "value": {"en": "{{ now }} {env.HOME}"}, "avatar": avatar}
    return {"data": {"modelProviders": [row, row], "aiproxyChannels": []}}


def test_fastgpt_hears_of_logos_at_the_door(caddy: Program, behind: Behind) -> None:
    signed = f"https://{HOST}/{LOGO}?OSSAccessKeyId=LTAI&Expires=1&Signature=a%2Bb%3D"
    behind.answers[PROVIDERS] = json.dumps(told(signed)).encode()
    status, kind, body = asked(caddy, "GET", PROVIDERS)
    assert (status, kind) == (200, "application/json")
    assert json.loads(body) == told(f"/{PUBLIC_BUCKET}/{LOGO}")
    ((_, _, headers, _),) = behind.asked
    assert headers["authorization"] == "Bearer plain"


def test_whatever_else_fastgpt_asks_its_plugin_passes_as_it_is(
    caddy: Program, behind: Behind
) -> None:
    behind.answers["/api/models"] = behind.answers["/api/list"] = b"{{ now }}"
    assert asked(caddy, "GET", "/api/models")[2] == b"{{ now }}"
    assert asked(caddy, "POST", "/api/list")[2] == b"{{ now }}"


@pytest.mark.parametrize("port", [40443, 7443])
def test_a_browser_gets_a_logo_from_the_bucket(
    caddy: Program, folder: Path, behind: Behind, port: int
) -> None:
    context = trusted(folder)

    def ask(path: str) -> int:
        opened = http.client.HTTPConnection(caddy.address, port, timeout=30)
        with contextlib.closing(opened):
            opened.connect()
            opened.sock = context.wrap_socket(opened.sock, server_hostname=DOMAIN)
            secrets = {"Cookie": "fastgpt_token=plain", "Authorization": "Bearer plain"}
            opened.request("GET", path, headers={"Host": DOMAIN, **secrets})
            with opened.getresponse() as answer:
                return answer.status

    until(lambda: ask(f"/{PUBLIC_BUCKET}/{LOGO}") == 200, "the certificate")
    _, path, headers, _ = behind.asked[-1]
    assert (path, headers["host"], headers["port"]) == (f"/{LOGO}", HOST, "9000")
    assert not {"cookie", "authorization"} & set(headers)
    ask(f"/{PUBLIC_BUCKET}/")
    assert "9000" not in {each[2]["port"] for each in behind.asked[1:]}

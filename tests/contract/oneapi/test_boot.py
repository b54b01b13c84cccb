"""Boot: what ends it, what it leaves behind, what a restart keeps (docs/facts/oneapi.md §1, §2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.real_oneapi.vocabulary import CL100K, O200K
from tests.contract.databases import Gate, Login
from tests.contract.oneapi.subject import OneApi, error_of

Start = Callable[..., OneApi]


def test_first_boot_makes_root_and_its_token(start: Start) -> None:
    """First boot: root/123456; INITIAL_ROOT_TOKEN as token 1, unlimited, never expiring (§2)."""
    oneapi = start()
    user = oneapi.login().json()["data"]
    assert (user["username"], user["role"], user["status"]) == ("root", 100, 1)
    assert user["access_token"] == ""
    oneapi.become_root()
    token = oneapi.api("GET", "/api/token/1")["data"]
    assert (token["name"], token["key"]) == ("Initial Root Token", "lab")
    assert (token["unlimited_quota"], token["expired_time"]) == (True, -1)
    assert oneapi.models() == []


def test_initial_root_token_counts_once(start: Start) -> None:
    """INITIAL_ROOT_TOKEN changed after the first boot does nothing (§2, trap 4)."""
    first = start()
    first.program.stop()
    second = start(INITIAL_ROOT_TOKEN="other")
    assert second.chat("none", "sk-other").status_code == 401
    assert second.chat("none", "sk-lab").status_code == 503


@pytest.mark.parametrize("value", ["sk-abc", "ab-cd"])
def test_initial_root_token_with_a_dash(start: Start, value: str) -> None:
    """An initial token with `sk-` or `-` in it boots, and never authenticates (§2, trap 4)."""
    oneapi = start(INITIAL_ROOT_TOKEN=value)
    for key in (value, f"sk-{value}", f"sk-sk-{value}"):
        answer = oneapi.chat("none", key)
        assert answer.status_code == 401
        assert error_of(answer)["message"] == "无效的令牌"


def test_initial_root_token_too_long(start: Start, mysql: Callable[[], Login]) -> None:
    """49 characters on MySQL: a normal start, and no token at all (§2, trap 4)."""
    oneapi = start(SQL_DSN=mysql().dsn, INITIAL_ROOT_TOKEN="a" * 49)
    assert oneapi.chat("none", "sk-" + "a" * 49).status_code == 401
    oneapi.become_root()
    assert oneapi.api("GET", "/api/token/")["data"] == []


@pytest.mark.known_difference("§1: INITIAL_ROOT_ACCESS_TOKEN came with v0.6.8")
def test_initial_root_access_token(start: Start) -> None:
    """INITIAL_ROOT_ACCESS_TOKEN is ignored by v0.6.6 (§1, trap 4)."""
    oneapi = start(INITIAL_ROOT_ACCESS_TOKEN="0123456789abcdef0123456789abcdef")
    oneapi.access_token = "0123456789abcdef0123456789abcdef"
    assert oneapi.api("GET", "/api/user/self")["success"] is oneapi.subject.is_real


def test_no_database_ends_boot(start: Start, gate: Gate) -> None:
    """MySQL not up: `[FATAL] ... connection refused`, exit 1 at once (§2, trap 3)."""
    gate.shut()
    oneapi = start(listens=False, SQL_DSN=gate.login.dsn)
    assert oneapi.program.wait_exit() == 1
    assert "[FATAL]" in oneapi.program.log
    assert "connection refused" in oneapi.program.log


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"database": "missing"}, "Unknown database"), ({"password": "wrong"}, "Access denied")],
    ids=["database", "password"],
)
def test_wrong_database_ends_boot(
    start: Start, mysql: Callable[[], Login], wrong: dict[str, str], said: str
) -> None:
    """A database that does not exist, or a wrong password: exit 1 (§1)."""
    login = mysql().but(**wrong)
    oneapi = start(listens=False, SQL_DSN=login.dsn)
    assert oneapi.program.wait_exit() == 1
    assert said in oneapi.program.log
    assert login.password not in oneapi.program.log


def test_no_vocabulary_ends_boot_after_root(start: Start) -> None:
    """No vocabulary and no way out: FATAL, exit 1, and root exists by then (§2, trap 3)."""
    first = start(listens=False, TIKTOKEN_CACHE_DIR="/nonexistent/vocabulary")
    assert first.program.wait_exit() == 1
    assert "token encoder" in first.program.log
    second = start(INITIAL_ROOT_TOKEN="second")
    assert second.chat("none", "sk-lab").status_code == 503
    assert second.chat("none", "sk-second").status_code == 401


def test_an_error_page_as_vocabulary_ends_boot(start: Start, tmp_path: Path) -> None:
    """A proxy's error page kept as the vocabulary: FATAL, exit 1 (§2)."""
    for name in (CL100K, O200K):
        (tmp_path / name).write_text("<html>502 Bad Gateway</html>\n")
    oneapi = start(listens=False, TIKTOKEN_CACHE_DIR=str(tmp_path))
    assert oneapi.program.wait_exit() == 1
    assert "[FATAL]" in oneapi.program.log


def test_database_gone_at_run_time(start: Start, gate: Gate) -> None:
    """DB down: login says wrong password, tokens fail, status stays green (§1, §3, §7, trap 1)."""
    oneapi = start(SQL_DSN=gate.login.dsn)
    oneapi.become_root()
    gate.shut()
    status = oneapi.http.get("/api/status")
    assert (status.status_code, status.json()["success"]) == (200, True)
    login = oneapi.login().json()
    assert (login["success"], login["message"]) == (False, "用户名或密码错误，或用户已被封禁")
    assert "access token 无效" in oneapi.api("GET", "/api/user/self")["message"]
    refused = oneapi.chat("none")
    assert (refused.status_code, error_of(refused)["message"]) == (401, "令牌验证失败")
    gate.open_again()
    oneapi.wait_for_chat("none", 503)
    assert oneapi.api("GET", "/api/user/self")["success"]


@pytest.mark.parametrize(("secret", "status"), [("kept", 200), ("", 401), ("random_string", 401)])
def test_cookies_over_a_restart(start: Start, secret: str, status: int) -> None:
    """Cookies outlive a restart only with a SESSION_SECRET, and not with `random_string` (§1)."""
    first = start(SESSION_SECRET=secret)
    cookie = {"Cookie": f"session={first.login().cookies['session']}"}
    assert first.http.get("/api/user/self", headers=cookie).status_code == 200
    first.program.stop()
    second = start(SESSION_SECRET=secret)
    assert second.http.get("/api/user/self", headers=cookie).status_code == status


def test_an_access_token_outlives_a_restart(start: Start) -> None:
    """The access token is in the database: SESSION_SECRET does not touch it (§3)."""
    first = start(SESSION_SECRET="one")
    first.become_root()
    first.program.stop()
    second = start(SESSION_SECRET="two")
    second.access_token = first.access_token
    assert second.api("GET", "/api/user/self")["success"]

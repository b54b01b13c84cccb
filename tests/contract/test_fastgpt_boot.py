"""FastGPT's start-up: lazy, racy, unforgiving (docs/facts/fastgpt.md §1, §2, §10.1, §10.2,
§10.4)."""

import contextlib
import json
import re
import threading
from pathlib import Path

import httpx
import pytest

from provisioning.channels import XINFERENCE_KEY
from rehearsal.doubles.fastgpt.config import Environment
from tests.contract.fastgpt_subject import (
    ROOT,
    ROOT_PASSWORD,
    FastGpt,
    Lab,
    config,
    data,
    error,
    lab,
    new_address,
    until,
)

__all__ = ["lab"]
INIT_DATA = "/api/common/system/getInitData"
PLAN = "/api/support/user/team/plan/getTeamPlanStatus"


class Asking:
    """A request that is not answered yet, and what came of it."""

    def __init__(self, fastgpt: FastGpt, path: str) -> None:
        self.answers: list[httpx.Response] = []
        self._http = fastgpt.anonymous()
        threading.Thread(target=self._ask, args=(path,), daemon=True).start()

    def _ask(self, path: str) -> None:
        with contextlib.suppress(httpx.TransportError), self._http as http:
            self.answers.append(http.get(path))


def without(fastgpt: FastGpt, lab: Lab, database: str) -> FastGpt:
    """Up, where nothing answers to the database's name."""
    fastgpt.resolve({name: address for name, address in lab.hosts.items() if name != database})
    return fastgpt.up()


def until_it_tried_twice(fastgpt: FastGpt, database: str) -> None:
    said = f"{database} connect error"
    until("two attempts", lambda: fastgpt.log.read_text().count(said) > 1)


def test_without_postgresql_it_lives_and_all_seems_well(lab: Lab) -> None:
    """F3: only what needs PostgreSQL tells, and the request that began the start-up hangs."""
    fastgpt = without(lab.fastgpt("no-pg"), lab, "pg")
    first = Asking(fastgpt, INIT_DATA)
    until_it_tried_twice(fastgpt, "pg")
    fastgpt.ready().dataset()
    assert "pg" in error(fastgpt.http.get(PLAN))[2]
    assert not first.answers
    fastgpt.resolve(lab.hosts)
    until("the first answer", lambda: first.answers)
    assert data(fastgpt.http.get(PLAN))["usedDatasetSize"] == 0


def test_without_mongodb_every_request_waits(lab: Lab) -> None:
    fastgpt = without(lab.fastgpt("no-mongo"), lab, "mongo")
    assert fastgpt.http.get("/chat/share?shareId=x").status_code == 200, "pages need no database"
    asked = [Asking(fastgpt, INIT_DATA) for _ in range(2)]
    until_it_tried_twice(fastgpt, "mongo")
    assert not [each for each in asked if each.answers]


@pytest.mark.parametrize(
    ("name", "content", "mode"),
    [("missing", "", 0), ("syntax", '{"llmModels": [', 0o644), ("private", "{}", 0o600)],
)
def test_a_config_it_cannot_read_ends_it(lab: Lab, name: str, content: str, mode: int) -> None:
    fastgpt = lab.fastgpt(name, content)
    if mode:
        fastgpt.config.chmod(mode)
    fastgpt.up()
    with pytest.raises(httpx.TransportError):
        fastgpt.http.get(INIT_DATA)
    assert fastgpt.process is not None
    assert fastgpt.process.wait(30) == 1


def test_a_wrong_shape_passes_the_start_up_and_fails_later(lab: Lab) -> None:
    fastgpt = lab.fastgpt("shape", config(vectorModels=[])).up().ready()
    detail = {"id": fastgpt.dataset()}
    assert error(fastgpt.http.get("/api/core/dataset/detail", params=detail))[:2] == (500, 500)


def test_each_start_sets_roots_password_anew_and_prints_the_secrets(lab: Lab) -> None:
    fastgpt = lab.fastgpt("rotated").up().ready()
    session = dict(fastgpt.http.headers)
    fastgpt.stop()
    fastgpt.up(DEFAULT_ROOT_PSW="another-one").http.get(INIT_DATA)
    assert error(fastgpt.try_login(ROOT_PASSWORD)) == (500, 500, "密码错误")
    assert data(fastgpt.try_login("another-one"))["token"]
    assert data(fastgpt.http.get(PLAN, headers=session)), "a session outlives the password"
    printed = fastgpt.log.read_text()
    assert "another-one" in printed
    assert XINFERENCE_KEY in printed
    fastgpt.stop()
    fastgpt.up(TOKEN_KEY="token-key-2").http.get(INIT_DATA)
    assert error(fastgpt.http.get(PLAN, headers=session))[:2] == (200, 403)


def test_config_json_is_read_once(lab: Lab) -> None:
    fastgpt = lab.fastgpt("init-data").up()
    assert data(fastgpt.http.get(INIT_DATA))["llmModels"]
    fastgpt.config.write_text(json.dumps(config(llmModels=[])))
    assert data(fastgpt.http.get(INIT_DATA))["llmModels"]
    fastgpt.stop()
    assert data(fastgpt.up().http.get(INIT_DATA))["llmModels"] == []


def test_hostname_is_the_only_name_it_listens_on(lab: Lab) -> None:
    other = new_address()
    fastgpt = lab.fastgpt("named")
    fastgpt.resolve({**lab.hosts, "3f2c1d9e8b7a": other})
    fastgpt.start(HOSTNAME="3f2c1d9e8b7a")

    def page() -> bool:
        try:
            return httpx.get(f"http://{other}:3000/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    until("the page at HOSTNAME's address", page)
    assert not fastgpt.listens()


def test_no_secret_in_the_environments_repr() -> None:
    names = ("CHAT_API_KEY", "TOKEN_KEY", "DEFAULT_ROOT_PSW", "MONGODB_URI", "PG_URL")
    env = {**dict.fromkeys(names, "hidden"), "REHEARSAL_MEMORY": "memory.db"}
    assert "hidden" not in repr(Environment.read(env))


def test_a_base_url_without_v1_reaches_nothing(lab: Lab) -> None:
    fastgpt = lab.fastgpt("no-v1", OPENAI_BASE_URL="http://oneapi:3000").up().ready()
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, "A text.")
    until("an attempt", lambda: "Embedding Error Invalid URL" in fastgpt.log.read_text())
    assert fastgpt.waiting(dataset) == 1


@pytest.mark.parametrize("page", sorted((ROOT / "rehearsal/doubles/fastgpt").glob("*.html")))
def test_the_pages_load_nothing_from_elsewhere(page: Path) -> None:
    found = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=|https?://|@import|url\(""", found)

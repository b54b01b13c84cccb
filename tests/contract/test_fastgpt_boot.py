"""FastGPT's start-up: lazy, racy, unforgiving (docs/facts/fastgpt.md §1, §2, §10.1, §10.2,
§10.4)."""

import contextlib
import json
import threading
from typing import Any

import httpx
import pytest

from rehearsal.doubles.fastgpt.config import Environment
from tests.contract.fastgpt_subject import (
    RERANK_KEY,
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


def ends_at_first_request(fastgpt: FastGpt) -> str:
    """The request that starts it up is cut off, the process exits with 1; what it had printed."""
    fastgpt.up()
    with pytest.raises(httpx.TransportError):
        fastgpt.http.get(INIT_DATA)
    assert fastgpt.exit_code() == 1
    return fastgpt.log.read_text()


class Asking:
    """A request that is not answered yet, and what came of it."""

    def __init__(self, fastgpt: FastGpt, path: str) -> None:
        self.answers: list[httpx.Response] = []
        self._http = fastgpt.anonymous()
        self._http.headers.update(fastgpt.http.headers)
        threading.Thread(target=self._ask, args=(path,), daemon=True).start()

    def _ask(self, path: str) -> None:
        with contextlib.suppress(httpx.TransportError), self._http as http:
            self.answers.append(http.get(path))

    def answered(self) -> Any:
        """The data of the answer, once it is there."""
        until("an answer", lambda: self.answers)
        return data(self.answers[0])


def attempts(fastgpt: FastGpt, database: str) -> int:
    """How often it tried in vain to reach `database`."""
    return fastgpt.log.read_text().count(f"{database} connect error")


def without(fastgpt: FastGpt, database: str) -> FastGpt:
    """Up, where nothing answers to the database's name."""
    hosts = {name: address for name, address in fastgpt.hosts.items() if name != database}
    fastgpt.resolve(hosts)
    return fastgpt.up()


def test_without_postgresql_it_lives_and_all_seems_well(lab: Lab) -> None:
    """F3: only what needs PostgreSQL waits for it, and the request that began the start-up."""
    fastgpt = without(lab.fastgpt("no-pg"), "pg")
    first = Asking(fastgpt, INIT_DATA)
    until("two attempts", lambda: attempts(fastgpt, "pg") > 1)
    assert data(fastgpt.http.get(INIT_DATA))["llmModels"]
    fastgpt.http.headers["token"] = fastgpt.login()["token"]
    assert fastgpt.dataset()
    counting = Asking(fastgpt, PLAN)
    so_far = attempts(fastgpt, "pg")
    until("another attempt", lambda: attempts(fastgpt, "pg") > so_far)
    assert not first.answers
    assert not counting.answers
    fastgpt.resolve(lab.hosts)
    assert first.answered()["llmModels"]
    assert counting.answered()["usedDatasetSize"] == 0
    fastgpt.resolve({"mongo": lab.hosts["mongo"]})
    assert "pg" in error(fastgpt.http.get(PLAN))[2]
    assert data(fastgpt.http.get(INIT_DATA))["llmModels"]


def test_without_mongodb_every_request_waits(lab: Lab) -> None:
    fastgpt = without(lab.fastgpt("no-mongo"), "mongo")
    assert fastgpt.http.get("/chat/share?shareId=x").status_code == 200, "pages need no database"
    assert fastgpt.http.get("/api/health").status_code == 404
    asked = [Asking(fastgpt, INIT_DATA) for _ in range(2)]
    until("two attempts", lambda: attempts(fastgpt, "mongo") > 1)
    assert not [each for each in asked if each.answers]


@pytest.mark.parametrize("content", ["", '{"llmModels": ['], ids=["missing", "syntax"])
def test_a_config_it_cannot_read_ends_it(
    lab: Lab, content: str, request: pytest.FixtureRequest
) -> None:
    ends_at_first_request(lab.fastgpt("config-" + request.node.callspec.id, content))


def test_a_config_that_only_its_owner_may_read_ends_it(lab: Lab) -> None:
    fastgpt = lab.fastgpt("config-private")
    fastgpt.path("/app/data/config.json").chmod(0o600)
    assert "EACCES" in ends_at_first_request(fastgpt)


def test_each_start_sets_roots_password_anew_and_prints_the_secrets(lab: Lab) -> None:
    fastgpt = lab.fastgpt("rotated").up().ready()
    user = fastgpt.login()["user"]["_id"]
    fastgpt.stop()
    fastgpt.up(DEFAULT_ROOT_PSW="another-one").http.get(INIT_DATA)
    assert error(fastgpt.try_login(ROOT_PASSWORD)) == (500, 500, "密码错误")
    assert fastgpt.login("another-one")["user"]["_id"] == user
    printed = fastgpt.log.read_text()
    assert "another-one" in printed
    assert RERANK_KEY in printed


def test_init_data_is_what_config_json_said_at_start_up(lab: Lab) -> None:
    fastgpt = lab.fastgpt("init-data").up().ready()
    first = fastgpt.get(INIT_DATA)
    assert first["vectorModels"][0]["model"] == "m3e-base"
    reranker = first["reRankModels"][0]
    assert (reranker["requestUrl"], reranker["requestAuth"]) == ("", "")
    assert reranker["model"] == "bge-reranker-v2-m3"
    assert first["systemVersion"].startswith("4.8.8")
    assert first["feConfigs"]["systemTitle"] == "FastGPT", "built-in values beat the file"
    assert first["feConfigs"]["uploadFileMaxSize"] == 500
    assert first["feConfigs"]["lafEnv"] == "x", "other keys come from the file"
    fastgpt.configure(config(llmModels=[]))
    assert fastgpt.get(INIT_DATA)["llmModels"], "the file is read once"
    fastgpt.stop()
    assert data(fastgpt.up().http.get(INIT_DATA))["llmModels"] == []


SHAPES = [
    pytest.param(
        {"llmModels": {}}, "global.llmModels?.filter is not a function", id="object-for-list"
    ),
    pytest.param({"vectorModels": []}, "Cannot read properties of undefined", id="empty-list"),
]


@pytest.mark.parametrize(("wrong", "says"), SHAPES)
def test_a_wrong_shape_passes_the_start_up_and_fails_later(
    lab: Lab, wrong: dict[str, Any], says: str, request: pytest.FixtureRequest
) -> None:
    fastgpt = lab.fastgpt("shape-" + request.node.callspec.id, config(**wrong)).up().ready()
    answer = fastgpt.http.post("/api/core/dataset/create", json={"name": "a"})
    assert error(answer)[:2] == (500, 500)
    assert says in error(answer)[2]


@pytest.mark.parametrize(
    "content",
    ["[1]", json.dumps(config(vectorModels=[{"name": "no model"}]))],
    ids=["no-object", "no-model-field"],
)
def test_what_is_missing_in_a_config_is_no_error(
    lab: Lab, content: str, request: pytest.FixtureRequest
) -> None:
    fastgpt = lab.fastgpt("lenient-" + request.node.callspec.id, content).up().ready()
    models = fastgpt.get(INIT_DATA)["llmModels"]
    assert bool(models and fastgpt.dataset()) == (content != "[1]")


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
    assert not fastgpt.listens(3000)


def test_oneapi_url_wins_and_nothing_is_added_to_it() -> None:
    given = {"REHEARSAL_MEMORY": "memory.db"}
    both = {**given, "OPENAI_BASE_URL": "http://a/v1", "ONEAPI_URL": "http://b"}
    assert Environment.read(both).base_url == "http://b"
    assert Environment.read(given).root_password == "123456"
    assert Environment.read(given).token_key == "any"


def test_no_secret_in_the_environments_repr() -> None:
    names = ("CHAT_API_KEY", "TOKEN_KEY", "DEFAULT_ROOT_PSW")
    env = dict.fromkeys((*names, "MONGODB_URI", "PG_URL"), "hidden")
    assert "hidden" not in repr(Environment.read({**env, "REHEARSAL_MEMORY": "memory.db"}))


def test_a_base_url_without_v1_reaches_nothing(lab: Lab) -> None:
    lab.upstream.reset()
    env = {"OPENAI_BASE_URL": "http://oneapi:3000"}
    fastgpt = lab.fastgpt("no-v1", **env).up().ready()
    dataset = fastgpt.dataset()
    fastgpt.text(dataset, "A text.")
    until("an attempt", lambda: lab.upstream.bodies("/embeddings"))
    assert fastgpt.queue(dataset)["trainingCount"] == 1
    assert "Embedding Error 404 Invalid URL" in fastgpt.log.read_text()

"""What the double of the current FastGPT does that no recording shows: its start, and what is lost
later (docs/facts/fastgpt-current-measured.md §1)."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contract.fastgpt_subject import (
    CURRENT_ENVIRONMENT,
    ROOT_PASSWORD,
    FastGpt,
    Stage,
    data,
    error,
    sha256,
)
from tests.contract.processes import resolve
from tests.waiting import until

INIT_DATA = "/api/common/system/getInitData"
SHORT = 0.5
MODELS: list[dict[str, Any]] = [
    {"model": "chat", "metadata": {"type": "llm", "maxContext": 8000, "maxResponse": 1000}},
    {"model": "vectors", "metadata": {"type": "embedding", "defaultToken": 512, "maxToken": 512}},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Upstream and plugin for FastGPTs of the current edition."""
    stage = Stage(tmp_path_factory.mktemp("current"))
    stage.plugin().wait_until_listening()
    yield stage
    stage.stop()


def without(stage: Stage, tree: FastGpt, *names: str) -> None:
    resolve(tree.tree, {name: at for name, at in stage.hosts.items() if name not in names})


def in_session(fastgpt: FastGpt) -> httpx.Client:
    http = fastgpt.anonymous()
    code = data(http.get("/api/support/user/account/preLogin", params={"username": "root"}))["code"]
    body = {"username": "root", "password": sha256(ROOT_PASSWORD), "code": code}
    login = http.post("/api/support/user/account/loginByPassword", json=body)
    http.headers["token"] = data(login)["token"]
    return http


def models_sent(http: httpx.Client, *more: dict[str, Any]) -> httpx.Response:
    usual = {"provider": "Other", "isActive": True, "isDefault": True, "quoteMaxToken": 1000}
    sent = [
        {"model": each["model"], "metadata": {"name": each["model"], **usual, **each["metadata"]}}
        for each in (*MODELS, *more)
    ]
    return http.put("/api/core/ai/model/updateWithJson", json={"config": json.dumps(sent)})


@pytest.mark.parametrize(
    "name", ["FILE_TOKEN_KEY", "AES256_SECRET_KEY", "INVOKE_TOKEN_SECRET", "FE_DOMAIN"]
)
def test_it_ends_without_a_variable(place: Stage, name: str) -> None:
    fastgpt = place.current(f"no-{name}", **{name: "x"})
    fastgpt.start()
    assert fastgpt.program.wait_exit() == 1
    assert f"Invalid environment variables. Please check: {name}" in fastgpt.log


@pytest.mark.parametrize(
    ("name", "said"), [("redis", "[redis_error]"), ("minio", "[s3_error]"), ("mongo", "mongo")]
)
def test_it_ends_without_a_service(place: Stage, name: str, said: str) -> None:
    fastgpt = place.current(f"without-{name}")
    without(place, fastgpt, name)
    fastgpt.start()
    assert fastgpt.program.wait_exit() == 1
    assert said in fastgpt.log


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PLUGIN_TOKEN": "another-token"}, "Unauthorized"),
        ({"PLUGIN_BASE_URL": "http://pg:3004"}, "fetch failed"),
    ],
)
def test_it_ends_without_the_plugin(place: Stage, env: dict[str, str], said: str) -> None:
    fastgpt = place.current(said.replace(" ", "-"), **env)
    fastgpt.start()
    assert fastgpt.program.wait_exit() == 1
    assert said in fastgpt.log


def test_without_postgresql_the_port_is_open_and_nothing_answers(place: Stage) -> None:
    fastgpt = place.current("without-pg")
    without(place, fastgpt, "pg")
    fastgpt.up()
    until(lambda: fastgpt.log.count("pg connect error") > 1, "two attempts")
    with pytest.raises(httpx.ReadTimeout):
        fastgpt.http.get(INIT_DATA, timeout=SHORT)
    resolve(fastgpt.tree, place.hosts)
    assert "systemVersion" not in data(fastgpt.http.get(INIT_DATA)), "nobody is logged in"


def test_what_is_lost_later_fails_what_needs_it_and_recovers(place: Stage) -> None:
    fastgpt = place.current("loses").up()
    http = in_session(fastgpt)
    data(models_sent(http))
    body = {"type": "dataset", "name": "base", "intro": "", "avatar": ""}
    dataset = data(http.post("/api/core/dataset/create", json=body))
    note = {"datasetId": dataset, "name": "note", "text": "words"}
    create, listed = "/api/core/dataset/collection/create/text", "/api/core/dataset/list"
    without(place, fastgpt, "redis")
    assert error(http.post(listed, json={})) == (500, 500, "Redis operation hash.getAll failed")
    assert "systemVersion" not in data(http.get(INIT_DATA))
    for name in ("minio", "pg"):
        without(place, fastgpt, name)
        assert http.post(create, json=note).status_code == 500
        assert data(http.get(INIT_DATA))["systemVersion"] == "4.16.0"
    without(place, fastgpt, "plugin")
    assert error(models_sent(http)) == (500, 500, "fetch failed")
    resolve(fastgpt.tree, place.hosts)
    assert data(http.post(create, json=note))["results"] == {"insertLen": 0}


def test_a_restart_keeps_models_and_sessions(place: Stage) -> None:
    fastgpt = place.current("restarts").up()
    http = in_session(fastgpt)
    data(models_sent(http))
    before = data(http.get("/api/core/ai/model/getConfigJson"))
    fastgpt.stop()
    fastgpt.up()
    assert data(http.get("/api/core/ai/model/getConfigJson")) == before
    assert data(http.get(INIT_DATA))["defaultModels"]["embedding"]["model"] == "vectors"


def base(http: httpx.Client, *texts: str) -> str:
    """A dataset with these texts in it, indexed."""
    body = {"type": "dataset", "name": "base", "intro": "", "avatar": ""}
    dataset = str(data(http.post("/api/core/dataset/create", json=body)))
    for text in texts:
        note = {"datasetId": dataset, "name": "note", "text": text}
        data(http.post("/api/core/dataset/collection/create/text", json=note))
    indexed(http, dataset)
    return dataset


def indexed(http: httpx.Client, dataset: str) -> None:
    queue, asked = "/api/core/dataset/training/getDatasetTrainingQueue", {"datasetId": dataset}
    until(lambda: not data(http.get(queue, params=asked))["trainingCount"], "an empty queue")


def found(http: httpx.Client, dataset: str) -> list[str]:
    body = {"datasetId": dataset, "text": "words", "searchMode": "embedding", "limit": 500}
    told = data(http.post("/api/core/dataset/searchTest", json={**body, "similarity": 0}))
    return [row["q"] for row in told["list"]]


def test_a_search_is_made_twice_with_an_old_pgvector(place: Stage) -> None:
    fastgpt = place.current("old-pgvector", REHEARSAL_PGVECTOR="0.7.0").up()
    http = in_session(fastgpt)
    data(models_sent(http))
    began = time.monotonic()
    assert found(http, base(http, "words")) == ["words"]
    assert time.monotonic() - began > SHORT
    assert 'invalid configuration parameter name "hnsw.max_scan_tuples"' in fastgpt.log


def test_another_embedding_model_makes_all_vectors_anew(place: Stage) -> None:
    http = in_session(place.current("rebuilds").up())
    data(models_sent(http, {**MODELS[1], "model": "others"}))
    dataset = base(http, "words", "more words")
    before = sorted(found(http, dataset))
    place.upstream.forget()
    body = {"datasetId": dataset, "vectorModel": "others"}
    data(http.post("/api/core/dataset/training/rebuildEmbedding", json=body))
    indexed(http, dataset)
    assert {asked["model"] for asked in place.upstream.bodies("/v1/embeddings")} == {"others"}
    assert sorted(found(http, dataset)) == before == ["more words", "words"]


def test_the_image_has_a_sound_to_try_a_model_with(place: Stage) -> None:
    http = in_session(place.current("hears").up())
    data(models_sent(http, {"model": "ears", "metadata": {"type": "stt"}}))
    assert data(http.get("/api/core/ai/model/test", params={"model": "ears"})) == "hello"


@pytest.mark.parametrize(
    ("name", "env", "code"),
    [("", {"AUTH_TOKEN": "short"}, 1), ("redis", {}, 0), ("minio", {}, 0)],
)
def test_the_plugin_ends_well_without_redis_or_s3(
    place: Stage, name: str, env: dict[str, str], code: int
) -> None:
    hosts, place.hosts = place.hosts, {k: v for k, v in place.hosts.items() if k != name}
    plugin = place.plugin(f"plugin-without-{name}", **env)
    place.hosts = hosts
    assert plugin.wait_exit() == code


def test_the_plugin_says_when_it_is_well(place: Stage) -> None:
    url = f"http://{place.hosts['plugin']}:3000/health"
    told = httpx.get(url, trust_env=False).json()["data"]
    assert told["status"] == "ok"
    assert told["timestamp"] <= time.time() * 1000
    assert CURRENT_ENVIRONMENT["PLUGIN_TOKEN"] not in str(told)

"""Login, sessions and API keys (docs/facts/fastgpt.md §1, §3, §4, §10.1, §10.3, §10.6)."""

import json
import time
from typing import Any

import httpx
import pytest

from rehearsal.doubles.fastgpt.auth import sign
from tests.contract.fastgpt_subject import (
    FastGpt,
    Lab,
    config,
    data,
    error,
    fastgpt,
    lab,
    running,
)

__all__ = ["fastgpt", "lab", "running"]
SESSION = "/api/support/user/account/tokenLogin"
UNAUTHORIZED = (200, 403, "凭证错误")
BAD_KEY = (200, 514, "Api Key 不合法")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_cookie_is_a_session(fastgpt: FastGpt) -> None:
    cookie = {"Cookie": f"fastgpt_token={fastgpt.login()['token']}"}
    with fastgpt.anonymous() as http:
        assert data(http.get(SESSION, headers=cookie))["username"] == "root"


def test_the_token_header_wins_over_the_cookie(fastgpt: FastGpt) -> None:
    cookie = {"Cookie": f"fastgpt_token={fastgpt.http.headers['token']}"}
    with fastgpt.anonymous() as http:
        assert error(http.get(SESSION, headers={**cookie, "token": "x.y.z"})) == UNAUTHORIZED


def test_tokens_are_signed_with_token_key_and_expire(fastgpt: FastGpt) -> None:
    user = fastgpt.get(SESSION)
    claims = {"userId": user["_id"], "teamId": user["team"]["teamId"]}
    claims["tmbId"] = user["team"]["tmbId"]
    soon, past = int(time.time()) + 60, int(time.time()) - 60
    forged = {
        "right": sign({**claims, "exp": soon}, "token-key-1"),
        "other key": sign({**claims, "exp": soon}, "any"),
        "expired": sign({**claims, "exp": past}, "token-key-1"),
        "no team": sign({"userId": user["_id"], "exp": soon}, "token-key-1"),
    }
    with fastgpt.anonymous() as http:
        codes = {
            name: http.get(SESSION, headers={"token": token}).json()["code"]
            for name, token in forged.items()
        }
    assert codes == {"right": 200, "other key": 403, "expired": 403, "no team": 403}


def test_a_key_is_shown_once_and_masked_after(fastgpt: FastGpt) -> None:
    key = fastgpt.post("/api/support/openapi/create", name="once")
    prefix, _, secret = key.partition("-")
    assert prefix == "fastgpt"
    assert secret.isalnum()
    assert 52 <= len(secret) <= 65
    listed = {row["name"]: row for row in fastgpt.get("/api/support/openapi/list")}
    assert listed["once"]["apiKey"] == "******" + key[-4:]
    assert key not in json.dumps(listed)
    fastgpt.http.delete("/api/support/openapi/delete", params={"id": listed["once"]["_id"]})
    with fastgpt.anonymous() as http:
        answer = http.post("/api/core/dataset/create", json={"name": "a"}, headers=bearer(key))
        assert error(answer) == BAD_KEY


def test_a_key_can_be_renamed(fastgpt: FastGpt) -> None:
    fastgpt.post("/api/support/openapi/create", name="old")
    (row,) = [row for row in fastgpt.get("/api/support/openapi/list") if row["name"] == "old"]
    body = {"_id": row["_id"], "name": "new", "limit": {"maxUsagePoints": 5}}
    data(fastgpt.http.put("/api/support/openapi/update", json=body))
    rows = {row["_id"]: row for row in fastgpt.get("/api/support/openapi/list")}
    assert rows[row["_id"]]["name"] == "new"
    data(fastgpt.http.delete("/api/support/openapi/delete", params={"id": row["_id"]}))


def test_ten_keys_per_app(fastgpt: FastGpt) -> None:
    app = fastgpt.post("/api/core/app/create", name="ten", type="simple", modules=[])
    for number in range(10):
        fastgpt.post("/api/support/openapi/create", name=f"key {number}", appId=app)
    body = {"name": "one more", "appId": app}
    answer = fastgpt.http.post("/api/support/openapi/create", json=body)
    assert error(answer) == (200, 506002, "最多 10 组 API 密钥")
    assert len(fastgpt.get("/api/support/openapi/list", appId=app)) == 10
    assert not [row for row in fastgpt.get("/api/support/openapi/list") if row.get("appId")]


@pytest.mark.parametrize(("prefix", "says"), [("my-lab", BAD_KEY), ("my-own-lab", UNAUTHORIZED)])
def test_a_prefix_with_a_dash_makes_keys_that_do_not_work(
    lab: Lab, prefix: str, says: tuple[int, int, str]
) -> None:
    content = config(systemEnv={"openapiPrefix": prefix})
    uri = f"mongodb://fastgpt:pw-1@mongo:27017/{prefix}?authSource=admin"
    other = lab.fastgpt(prefix, content, MONGODB_URI=uri).up().ready()
    key = other.post("/api/support/openapi/create", name="a")
    assert key.startswith(prefix)
    with other.anonymous() as http:
        answer = http.post("/api/core/dataset/create", json={"name": "a"}, headers=bearer(key))
        assert error(answer) == says


def test_a_third_part_of_a_key_is_an_app_id(fastgpt: FastGpt) -> None:
    key = fastgpt.post("/api/support/openapi/create", name="legacy")
    with fastgpt.anonymous() as http:
        made = http.post("/api/core/dataset/create", json={"name": "a"}, headers=bearer(key + "-x"))
        assert made.json()["code"] == 200
        body = {"messages": [{"role": "user", "content": "?"}]}
        headers = bearer(f"{key}-{'0' * 24}")
        answer = http.post("/api/v1/chat/completions", json=body, headers=headers)
        assert error(answer) == (500, 500, "app is empty")


def test_a_key_of_four_parts_is_none(fastgpt: FastGpt) -> None:
    key = fastgpt.post("/api/support/openapi/create", name="four parts")
    with fastgpt.anonymous() as http:
        headers = bearer(key + "-x-y")
        answer = http.post("/api/core/dataset/create", json={"name": "a"}, headers=headers)
        assert error(answer) == UNAUTHORIZED


WITH_KEY = [
    ("POST", "/api/core/dataset/create", {"name": "by key"}, True),
    ("GET", "/api/core/dataset/detail", {"id": "DATASET"}, True),
    ("GET", "/api/core/dataset/training/getDatasetTrainingQueue", {"datasetId": "DATASET"}, True),
    ("POST", "/api/core/dataset/collection/list", {"datasetId": "DATASET"}, True),
    ("POST", "/api/core/dataset/searchTest", {"datasetId": "DATASET", "text": "a"}, True),
    ("POST", "/api/core/dataset/list", {"parentId": None}, True),
    ("PUT", "/api/core/dataset/update", {"id": "DATASET", "name": "b"}, False),
    ("POST", "/api/core/app/list", {"parentId": None}, False),
    ("POST", "/api/core/app/create", {"name": "a", "type": "simple", "modules": []}, False),
    ("GET", "/api/support/outLink/list", {"appId": "DATASET", "type": "share"}, False),
    ("GET", "/api/support/openapi/list", {}, False),
    ("POST", "/api/support/openapi/create", {"name": "a"}, False),
]


@pytest.mark.parametrize(
    ("method", "path", "values", "taken"), WITH_KEY, ids=[row[1][5:] for row in WITH_KEY]
)
def test_which_endpoints_take_an_api_key(
    fastgpt: FastGpt, method: str, path: str, values: dict[str, Any], taken: bool
) -> None:
    rows = {row["name"]: row for row in fastgpt.get("/api/support/openapi/list")}
    if "table" in rows:
        data(
            fastgpt.http.delete("/api/support/openapi/delete", params={"id": rows["table"]["_id"]})
        )
    key = fastgpt.post("/api/support/openapi/create", name="table")
    dataset = fastgpt.dataset()
    given = {name: dataset if value == "DATASET" else value for name, value in values.items()}
    sent: dict[str, Any] = {"params": given} if method == "GET" else {"json": given}
    with fastgpt.anonymous() as http:
        answer = http.request(method, path, headers=bearer(key), **sent)
    assert answer.json()["code"] == (200 if taken else 403), answer.text


def test_an_api_key_is_tried_before_the_session(fastgpt: FastGpt) -> None:
    path, headers = "/api/core/dataset/create", bearer("fastgpt-unknown")
    answer = fastgpt.http.post(path, json={"name": "a"}, headers=headers)
    assert error(answer) == BAD_KEY


def test_a_general_key_cannot_chat(fastgpt: FastGpt) -> None:
    key = fastgpt.post("/api/support/openapi/create", name="general")
    body = {"messages": [{"role": "user", "content": "?"}]}
    with fastgpt.anonymous() as http:
        answer = http.post("/api/v1/chat/completions", json=body, headers=bearer(key))
    message = "Key is error. You need to use the app key rather than the account key."
    assert error(answer) == (500, 500, message)


def test_a_body_that_is_no_json_is_refused_before_all(fastgpt: FastGpt) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(
        f"{fastgpt.http.base_url}/api/core/app/list",
        content=b"{",
        headers=headers,
        trust_env=False,
    )
    assert (answer.status_code, answer.text) == (400, "Invalid JSON")

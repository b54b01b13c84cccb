"""Channels: what the management API takes, keeps, answers (docs/facts/oneapi.md §4, traps 7, 8,
9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.oneapi.subject import OneApi
from tests.contract.upstream import Upstream


def _mysql_only(oneapi: OneApi) -> None:
    if not oneapi.subject.mysql:
        pytest.skip("MySQL's widths and comparisons: no MariaDB here for the real OneAPI")


def test_post_tells_no_id(oneapi: OneApi) -> None:
    """POST answers success and message only; the id is found by name (trap 7)."""
    name = oneapi.new_name()
    answer = oneapi.api(
        "POST", "/api/channel/", {"type": 1, "key": "none", "name": name, "models": name}
    )
    assert answer == {"message": "", "success": True}
    (channel,) = oneapi.channels_named(name)
    assert (channel["status"], channel["group"], channel["priority"]) == (1, "default", 0)
    assert (channel["base_url"], channel["model_mapping"], channel["weight"]) == ("", "", 0)


def test_names_are_not_unique(oneapi: OneApi) -> None:
    """The same POST twice makes two channels (trap 7)."""
    name = oneapi.new_name()
    first = oneapi.add_channel(name=name, models=name)
    second = oneapi.add_channel(name=name, models=name)
    assert [row["id"] for row in oneapi.channels_named(name)] == [first, second]


def test_one_channel_per_line_of_the_key(oneapi: OneApi) -> None:
    """A key of several lines makes a channel for each that is not empty (§4)."""
    name = oneapi.new_name()
    oneapi.add_channel(name=name, models=name, key="one\n\ntwo\n")
    assert len(oneapi.channels_named(name)) == 2


@pytest.mark.parametrize("key", ["", "\n", None], ids=["empty", "newline", "missing"])
def test_an_empty_key(oneapi: OneApi, key: str | None) -> None:
    """No key: refused with `empty slice found`, nothing written (§4)."""
    name = oneapi.new_name()
    answer = oneapi.api("POST", "/api/channel/", {"type": 1, "key": key, "name": name})
    assert (answer["success"], answer["message"]) == (False, "empty slice found")
    assert oneapi.channels_named(name) == []


@pytest.mark.parametrize(
    "wrong",
    [{"type": "1"}, {"model_mapping": {"a": "b"}}, {"models": ["a"]}, {"priority": 1.5}],
    ids=["type", "model_mapping", "models", "priority"],
)
def test_fields_of_the_wrong_type(oneapi: OneApi, wrong: dict[str, Any]) -> None:
    """A field of the wrong JSON type: success false, Go's text, nothing written (§4)."""
    name = oneapi.new_name()
    answer = oneapi.api("POST", "/api/channel/", {"type": 1, "key": "k", "name": name, **wrong})
    assert answer["success"] is False
    assert answer["message"].startswith("json: cannot unmarshal")
    assert oneapi.channels_named(name) == []


def test_a_body_that_is_no_json(oneapi: OneApi) -> None:
    """A broken or empty body: HTTP 200, success false (§3)."""
    for body in (b"", b"{"):
        assert oneapi.api("POST", "/api/channel/", body)["success"] is False


def test_blanks_in_models_stay(oneapi: OneApi, upstream: Upstream) -> None:
    """`models` is split without trimming: `b` of `a, b` does not route (trap 8)."""
    a, b = oneapi.new_name("m"), oneapi.new_name("m")
    oneapi.add_channel(name=a, models=f"{a}, {b}", base_url=upstream.base_url)
    assert oneapi.chat(a).status_code == 200
    assert oneapi.chat(b).status_code == 503
    assert f" {b}" in oneapi.models()


def test_duplicate_models_leave_half_a_channel(oneapi: OneApi, upstream: Upstream) -> None:
    """POST with a model twice: refused, yet the row stays, without abilities (traps 7, 8)."""
    name = oneapi.new_name()
    channel = {"type": 1, "key": "k", "name": name, "models": f"{name},{name}"}
    answer = oneapi.api("POST", "/api/channel/", {**channel, "base_url": upstream.base_url})
    assert answer["success"] is False
    (half,) = oneapi.channels_named(name)
    assert half["models"] == f"{name},{name}"
    assert oneapi.chat(name).status_code == 503
    assert name not in oneapi.models()
    # A PUT with clean models repairs it.
    assert oneapi.api("PUT", "/api/channel/", {"id": half["id"], "models": name})["success"]
    assert oneapi.chat(name).status_code == 200


def test_models_that_differ_in_case(oneapi: OneApi, upstream: Upstream) -> None:
    """On MySQL `Qwen,qwen` is a duplicate, and a request in another case routes (trap 8)."""
    _mysql_only(oneapi)
    name = oneapi.new_name("Qwen")
    fields = {"type": 1, "key": "k", "base_url": upstream.base_url, "name": name}
    double = {**fields, "models": f"{name},{name.lower()}"}
    assert oneapi.api("POST", "/api/channel/", double)["success"] is False
    assert len(oneapi.channels_named(name)) == 1
    oneapi.add_channel(**{**fields, "name": f"{name}-b", "models": name})
    assert oneapi.chat(name.lower()).status_code == 200
    assert upstream.asked[-1].json["model"] == name.lower()


def test_put_with_duplicate_models(oneapi: OneApi, upstream: Upstream) -> None:
    """PUT with a model twice: refused, yet stored, and all abilities are gone (§4)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(name=name, models=name, base_url=upstream.base_url)
    twice = f"{name},{name}"
    assert not oneapi.api("PUT", "/api/channel/", {"id": channel, "models": twice})["success"]
    assert oneapi.channel(channel)["models"] == twice
    assert oneapi.chat(name).status_code == 503


@pytest.mark.parametrize(
    ("field", "width"), [("name", 191), ("base_url", 191), ("group", 32), ("model_mapping", 1024)]
)
def test_widths(oneapi: OneApi, field: str, width: int) -> None:
    """MySQL: name 191, base_url 191, group 32, model_mapping 1024; more is refused (§4)."""
    _mysql_only(oneapi)
    name = oneapi.new_name()
    for length, fits in ((width + 1, False), (width, True)):
        text = (name + "x" * width)[:length] if field == "name" else "x" * length
        body = {"type": 1, "key": "k", "name": name, "models": name, field: text}
        answer = oneapi.api("POST", "/api/channel/", body)
        assert answer["success"] is fits, answer["message"]
        assert len(oneapi.channels_named(body["name"])) == fits


def test_a_long_model_name_leaves_half_a_channel(oneapi: OneApi) -> None:
    """MySQL: a model name over 191 characters is refused after the row was written (§4)."""
    _mysql_only(oneapi)
    name = oneapi.new_name()
    body = {"type": 1, "key": "k", "name": name, "models": "x" * 192}
    assert oneapi.api("POST", "/api/channel/", body)["success"] is False
    assert len(oneapi.channels_named(name)) == 1


def test_lists_page_by_ten(start: Callable[..., OneApi]) -> None:
    """The list has ten a page, newest first; past the end it is empty (§4)."""
    oneapi = start()
    oneapi.become_root()
    for number in range(12):
        oneapi.add_channel(name=f"c{number:02}", models=f"m{number}")
    pages = [
        [row["name"] for row in oneapi.api("GET", f"/api/channel/?p={page}")["data"]]
        for page in (0, 1, 2)
    ]
    newest_first = [f"c{number:02}" for number in range(11, -1, -1)]
    assert pages == [newest_first[:10], newest_first[10:], []]
    assert oneapi.api("GET", "/api/channel/?p=-1")["data"][0]["name"] == "c11"
    found = oneapi.api("GET", "/api/channel/search")["data"]
    assert len(found) == 12


def test_search_is_by_prefix(start: Callable[..., OneApi]) -> None:
    """Search finds by the beginning of the name or by id; `%` and `_` are wild (trap 7)."""
    oneapi = start()
    oneapi.become_root()
    for name in ("lab", "lab-a", "my-lab", "la_x"):
        oneapi.add_channel(name=name, models=name)

    def found(keyword: str) -> list[str]:
        rows = oneapi.api("GET", "/api/channel/search", params={"keyword": keyword})["data"]
        return sorted(row["name"] for row in rows)

    assert found("lab") == ["lab", "lab-a"]
    assert found("LAB") == ["lab", "lab-a"]
    assert found("la_") == ["la_x", "lab", "lab-a"]
    assert found("%lab") == ["lab", "lab-a", "my-lab"]
    assert found("2") == ["lab-a"]
    assert found("none") == []


def test_get_never_shows_the_key(oneapi: OneApi) -> None:
    """GET, list and search show an empty key; PUT's answer shows it in clear (trap 9)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(name=name, models=name, key="very-secret")
    assert oneapi.channel(channel)["key"] == ""
    assert oneapi.channels_named(name)[0]["key"] == ""
    assert oneapi.api("GET", "/api/channel/")["data"][0]["key"] == ""
    changed = oneapi.api("PUT", "/api/channel/", {"id": channel, "priority": 1})
    assert changed["data"]["key"] == "very-secret"
    assert changed["data"]["name"] == name


def test_put_is_partial(oneapi: OneApi, upstream: Upstream) -> None:
    """PUT leaves out what is missing, empty or zero, but for four pointer fields (trap 9)."""
    name = oneapi.new_name()
    given = {
        "name": name,
        "models": name,
        "key": "k",
        "base_url": upstream.base_url,
        "model_mapping": '{"x":"y"}',
        "priority": 5,
        "weight": 3,
    }
    channel = oneapi.add_channel(**given)
    blank = {"models": "", "key": "", "name": "", "group": "", "type": 0, "status": 0}
    kept = oneapi.api("PUT", "/api/channel/", {"id": channel, **blank})["data"]
    assert {field: kept[field] for field in given} == given
    assert (kept["type"], kept["status"], kept["group"]) == (1, 1, "default")
    pointers = {"model_mapping": "", "priority": 0, "weight": 0, "base_url": ""}
    oneapi.api("PUT", "/api/channel/", {"id": channel, **pointers})
    row = oneapi.channel(channel)
    assert {field: row[field] for field in pointers} == pointers
    assert row["models"] == name


def test_put_renames_and_moves(oneapi: OneApi, upstream: Upstream) -> None:
    """PUT by id renames; a new key and new models hold from the next request on (§2, §4)."""
    name, model = oneapi.new_name(), oneapi.new_name("m")
    channel = oneapi.add_channel(name=name, models=name, base_url=upstream.base_url)
    changes = {"id": channel, "name": f"{name}-new", "models": model, "key": "new-key"}
    assert oneapi.api("PUT", "/api/channel/", changes)["success"]
    assert oneapi.channels_named(name) == []
    assert oneapi.chat(name).status_code == 503
    assert oneapi.chat(model).status_code == 200
    assert upstream.asked[-1].headers["authorization"] == "Bearer new-key"


def test_status_takes_a_channel_out(oneapi: OneApi, upstream: Upstream) -> None:
    """PUT of id and status alone: 2 stops routing and hides the model, 1 brings it back (§4)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(name=name, models=name, base_url=upstream.base_url)
    oneapi.api("PUT", "/api/channel/", {"id": channel, "status": 2})
    assert oneapi.chat(name).status_code == 503
    assert name not in oneapi.models()
    assert oneapi.chat(name, f"sk-lab-{channel}").status_code == 403
    oneapi.api("PUT", "/api/channel/", {"id": channel, "status": 1})
    assert oneapi.chat(name).status_code == 200


def test_put_without_an_id(oneapi: OneApi) -> None:
    """PUT without an id: success false, `WHERE conditions required` (§4)."""
    answer = oneapi.api("PUT", "/api/channel/", {"name": oneapi.new_name()})
    assert (answer["success"], answer["message"]) == (False, "WHERE conditions required")


def test_put_to_a_missing_id_leaves_a_ghost(oneapi: OneApi) -> None:
    """PUT to a missing id says success, makes no channel, and a ghost ability (trap 7)."""
    name = oneapi.new_name()
    ghost = {"id": 987654, "name": name, "models": name, "group": "default", "status": 1}
    assert oneapi.api("PUT", "/api/channel/", ghost)["success"] is True
    assert oneapi.channels_named(name) == []
    assert oneapi.api("GET", "/api/channel/987654")["success"] is False
    assert name in oneapi.models()
    answer = oneapi.chat(name)
    assert answer.status_code == 503
    assert "数据库一致性已被破坏" in answer.json()["error"]["message"]
    # DELETE of the id that never was clears the ghost away.
    assert oneapi.api("DELETE", "/api/channel/987654")["success"]
    assert name not in oneapi.models()


def test_missing_ids(oneapi: OneApi) -> None:
    """DELETE of a missing id succeeds; GET of one is `record not found` (§4, trap 7)."""
    assert oneapi.api("DELETE", "/api/channel/987655")["success"] is True
    answer = oneapi.api("GET", "/api/channel/987655")
    assert (answer["success"], answer["message"]) == (False, "record not found")
    assert oneapi.api("GET", "/api/channel/abc")["success"] is False


def test_delete(oneapi: OneApi, upstream: Upstream) -> None:
    """DELETE takes row and abilities at once (§4)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(name=name, models=name, base_url=upstream.base_url)
    assert oneapi.api("DELETE", f"/api/channel/{channel}")["success"]
    assert oneapi.chat(name).status_code == 503
    assert oneapi.channels_named(name) == []
    assert name not in oneapi.models()


def test_delete_disabled_leaves_abilities(start: Callable[..., OneApi]) -> None:
    """DELETE /disabled removes the disabled rows, and says how many (§4)."""
    oneapi = start()
    oneapi.become_root()
    gone = oneapi.add_channel(name="gone", models="gone")
    oneapi.add_channel(name="kept", models="kept")
    oneapi.api("PUT", "/api/channel/", {"id": gone, "status": 2})
    assert oneapi.api("DELETE", "/api/channel/disabled")["data"] == 1
    names = [row["name"] for row in oneapi.api("GET", "/api/channel/")["data"]]
    assert names == ["kept"]


def test_the_slash_matters(oneapi: OneApi) -> None:
    """`/api/channel` without its slash is a redirect, 301 for GET (§4)."""
    assert oneapi.raw("GET", "/api/channel").status_code == 301
    answer = oneapi.raw("POST", "/api/channel", {"type": 1, "key": "k", "name": "n"})
    assert answer.status_code in (301, 307)
    assert answer.headers["location"].endswith("/api/channel/")
    assert oneapi.raw("GET", "/api/token").status_code == 301


def test_groups(oneapi: OneApi, upstream: Upstream) -> None:
    """Groups are default, svip, vip; root reaches only channels of group default (§4, trap 10)."""
    with oneapi.recorder.unrecorded():
        groups = oneapi.api("GET", "/api/group/")["data"]
    assert sorted(groups) == ["default", "svip", "vip"]
    name, both = oneapi.new_name(), oneapi.new_name("m")
    oneapi.add_channel(name=name, models=name, group="vip", base_url=upstream.base_url)
    assert oneapi.chat(name).status_code == 503
    oneapi.add_channel(name=both, models=both, group="vip,default", base_url=upstream.base_url)
    assert oneapi.chat(both).status_code == 200


def test_options(start: Callable[..., OneApi]) -> None:
    """PUT /api/option/: ratios are JSON in a text, 0 is taken; bad JSON is HTTP 400 (§3, §6)."""
    oneapi = start()
    oneapi.become_root()
    ratios = {"key": "ModelRatio", "value": '{"m":0}'}
    assert oneapi.api("PUT", "/api/option/", ratios)["success"]
    with oneapi.recorder.unrecorded():
        options = oneapi.api("GET", "/api/option/")["data"]
    assert {"key": "ModelRatio", "value": '{"m":0}'} in options
    assert not [row for row in options if row["key"].endswith(("Token", "Secret"))]
    assert oneapi.raw("PUT", "/api/option/", b"{").status_code == 400
    broken = {"key": "ModelRatio", "value": "x"}
    assert oneapi.api("PUT", "/api/option/", broken)["success"] is False


def test_balance(oneapi: OneApi, upstream: Upstream) -> None:
    """update_balance fails against a model server without billing pages (§4)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(name=name, models=name, base_url=upstream.base_url)
    answer = oneapi.api("GET", f"/api/channel/update_balance/{channel}")
    assert (answer["success"], answer["message"]) == (False, "status code: 404")


def test_channel_test_chats_with_the_first_model(oneapi: OneApi, upstream: Upstream) -> None:
    """The channel test posts a chat of two tokens to the first model (§4)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(
        name=name, models=f"{name},other-embedding", base_url=upstream.base_url, key="k"
    )
    answer = oneapi.api("GET", f"/api/channel/test/{channel}")
    assert (answer["success"], answer["message"]) == (True, "")
    (asked,) = upstream.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer k"
    assert (asked.json["model"], asked.json["max_tokens"]) == (name, 2)


def test_channel_test_of_an_embedding(oneapi: OneApi, upstream: Upstream) -> None:
    """A channel with embeddings only fails its test, and routes all the same (§4)."""
    name = oneapi.new_name() + "-embedding"
    channel = oneapi.add_channel(name=name, models=name, base_url=upstream.base_url)
    answer = oneapi.api("GET", f"/api/channel/test/{channel}")
    assert answer["success"] is False
    assert answer["message"].startswith("status code 400")
    body = {"model": name, "input": "text"}
    assert oneapi.relay("/v1/embeddings", body).status_code == 200


@pytest.mark.known_difference("§4: `?model=` came after v0.6.6")
def test_channel_test_of_another_model(oneapi: OneApi, upstream: Upstream) -> None:
    """`?model=` on a channel test is ignored by v0.6.6 (§4)."""
    name, other = oneapi.new_name(), oneapi.new_name("m")
    channel = oneapi.add_channel(name=name, models=f"{name},{other}", base_url=upstream.base_url)
    assert oneapi.api("GET", f"/api/channel/test/{channel}?model={other}")["success"]
    assert upstream.asked[-1].json["model"] == (other if oneapi.subject.is_real else name)


def test_channel_test_of_a_dead_upstream(oneapi: OneApi) -> None:
    """A channel test to nobody: success false, in HTTP 200 (§4)."""
    name = oneapi.new_name()
    channel = oneapi.add_channel(name=name, models=name, base_url="http://127.0.0.1:9")
    answer = oneapi.api("GET", f"/api/channel/test/{channel}")
    assert answer["success"] is False
    assert "connection refused" in answer["message"]

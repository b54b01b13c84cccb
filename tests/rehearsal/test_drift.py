"""What people change by hand in the web pages: `refresh` says so, and `up` puts it right.

On the real engine, because only it shows that what a resource sees becomes an update, a replacement
or a new thing, in an order that works. Many hands at once: one run of the engine costs seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rehearsal.children import PROJECT
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.rehearsal.hands import Hands, Refused, on_server, until, wait_until_healthy
from tests.rehearsal.labs import (
    ask,
    change,
    done_to,
    everything_told,
    refused,
    settings_of,
    told,
    up,
)

TOKEN = "team"
KEY = "ci"
CHAT = "qwen2.5-instruct"
EMBEDDING = "m3e-base"
RERANKER = "bge-reranker-v2-m3"
BASE = "lab-manual"
APP = "lab-assistant"
LINK = "visitors"
DOCUMENT = "lab-manual.pdf"


@pytest.fixture(scope="module")
def lab(rehearsed_lab: Lab) -> Iterator[Lab]:
    """The reference lab with a token and an API key besides."""
    before = settings_of(rehearsed_lab)
    (app,) = before["knowledge"]["apps"]
    knowledge = {**before["knowledge"], "apps": [{**app, "apiKeys": [KEY]}]}
    change(rehearsed_lab, tokens=[{"name": TOKEN, "models": [CHAT]}], knowledge=knowledge)
    up(rehearsed_lab)
    yield rehearsed_lab
    change(rehearsed_lab, tokens=before["tokens"], knowledge=before["knowledge"])
    up(rehearsed_lab)


def test_changed_by_hand(lab: Lab) -> None:
    root_password, token = lab.outputs["oneapiPassword"], lab.outputs[f"token-{TOKEN}"]
    api_key, link = lab.outputs[f"apiKey-{APP}/{KEY}"], lab.outputs["shareLinks"][f"{APP}/{LINK}"]
    with Hands(lab.outputs) as hands:
        _launch_another_as_the_reranker(hands)
        hands.oneapi.edit_channel("xinference-chat", status=2)
        hands.oneapi.edit_channel(
            "xinference-embedding", models="another", base_url="http://elsewhere:9997"
        )
        hands.oneapi.edit_token(TOKEN, models=EMBEDDING, expired_time=1)
        hands.oneapi.set_password("changed-by-hand")
        _change_the_knowledge(hands)

    seen = done_to(lab.engine.refresh())
    assert {name for name, what in seen.items() if what == {"update"}} == {
        f"Model {RERANKER}",
        "ModelsReady side-models-ready",
        "Channel xinference-chat",
        "Channel xinference-embedding",
        f"Token token-{TOKEN}",
        "Root oneapi-root",
        f"Dataset base-{BASE}",
        f"Document document-{BASE}/{DOCUMENT}",
        f"App app-{APP}",
        f"ShareLink link-{APP}/{LINK}",
        f"ApiKey key-{APP}/{KEY}",
    }

    up(lab)
    assert lab.outputs["oneapiPassword"] == root_password
    assert lab.outputs[f"token-{TOKEN}"] == token
    assert lab.outputs[f"apiKey-{APP}/{KEY}"] == api_key
    assert lab.outputs["shareLinks"][f"{APP}/{LINK}"] == link
    _assert_all_is_well(lab)


def test_put_into_folders_and_a_new_access_token(lab: Lab) -> None:
    """People tidy up. An app in a folder is still the lab's; a document in one cannot be found."""
    with Hands(lab.outputs) as hands:
        app, base = hands.fastgpt.app(APP)["_id"], hands.fastgpt.base(BASE)["_id"]
        folder = hands.fastgpt.add_app("our apps", kind="folder")
        hands.fastgpt.change_app(app, parentId=folder)
        (document,) = hands.fastgpt.documents(base)
        hands.fastgpt.move_document(document["_id"], hands.fastgpt.add_folder(base, "our papers"))

        hands.oneapi.new_access_token()

        done = done_to(up(lab, "--refresh"))
        assert done == {
            f"DocumentsReady base-{BASE}-ready": {"update"},
            "Root oneapi-root": {"update"},
            "Channel xinference-chat": {"update"},
            "Channel xinference-embedding": {"update"},
            f"Token token-{TOKEN}": {"update"},
        }
        assert document["_id"] in {row["_id"] for row in hands.fastgpt.documents(base)}
        assert [link["name"] for link in hands.fastgpt.links(app)] == [LINK]

        hands.fastgpt.change_app(app, parentId=None)
        hands.fastgpt.delete_app(folder)
        hands.fastgpt.delete_document(
            next(d["_id"] for d in hands.fastgpt.documents(base) if d["name"] == "our papers")
        )


def test_deleted_by_hand(lab: Lab) -> None:
    with Hands(lab.outputs) as hands:
        app, base = hands.fastgpt.app(APP)["_id"], hands.fastgpt.base(BASE)["_id"]
        hands.xinference.stop(EMBEDDING)
        # Its process ends: described as ever once another is in its place, and silent for good.
        lab.world.call("switch_on", fault="xinference.crash", key=RERANKER, times=1)
        until("the crash", lambda: hands.xinference.statuses(RERANKER) == [])
        until("another process", lambda: RERANKER in hands.xinference.running())
        for channel in ("xinference-chat", "xinference-embedding"):
            hands.oneapi.delete_channel(channel)
        hands.oneapi.delete_token(TOKEN)
        hands.fastgpt.delete_document(hands.fastgpt.documents(base)[0]["_id"])
        hands.fastgpt.delete_link(hands.fastgpt.links(app)[0]["_id"])
        hands.fastgpt.delete_key(hands.fastgpt.keys(app)[0]["_id"])

    gone = done_to(lab.engine.refresh())
    assert {name for name, what in gone.items() if what == {"delete"}} == {
        f"Model {EMBEDDING}",
        f"Model {RERANKER}",
        "Channel xinference-chat",
        "Channel xinference-embedding",
        f"Token token-{TOKEN}",
        f"Document document-{BASE}/{DOCUMENT}",
        f"ShareLink link-{APP}/{LINK}",
        f"ApiKey key-{APP}/{KEY}",
    }

    up(lab)
    _assert_all_is_well(lab)


def test_whole_bases_and_apps_deleted_by_hand(lab: Lab) -> None:
    """In one go: `up --refresh` sees it and mends it."""
    with Hands(lab.outputs) as hands:
        hands.fastgpt.delete_app(hands.fastgpt.app(APP)["_id"])
        hands.fastgpt.delete_base(hands.fastgpt.base(BASE)["_id"])
        for channel in ("xinference-chat", "xinference-embedding"):
            hands.oneapi.delete_channel(channel)
        hands.oneapi.delete_token(TOKEN)

    made = done_to(up(lab, "--refresh"))
    assert {name for name, what in made.items() if "create" in what} == {
        "Channel xinference-chat",
        "Channel xinference-embedding",
        f"Token token-{TOKEN}",
        f"Dataset base-{BASE}",
        f"Document document-{BASE}/{DOCUMENT}",
        f"App app-{APP}",
        f"ShareLink link-{APP}/{LINK}",
        f"ApiKey key-{APP}/{KEY}",
    }
    _assert_all_is_well(lab)


def test_made_twice_by_hand(lab: Lab) -> None:
    """What can hold people's work gets another name; everything else is removed."""
    with Hands(lab.outputs) as hands:
        app, base = hands.fastgpt.app(APP)["_id"], hands.fastgpt.base(BASE)["_id"]
        _copy_a_channel(hands)
        _make_all_twice(hands, app, base)
        with pytest.raises(Refused, match="already in the model list"):
            hands.xinference.launch(
                {"model_uid": EMBEDDING, "model_name": EMBEDDING, "model_type": "embedding"}
            )

        seen = done_to(lab.engine.refresh())
        assert {name for name, what in seen.items() if what == {"update"}} == {
            "Channel xinference-embedding",
            f"Token token-{TOKEN}",
            f"Dataset base-{BASE}",
            f"DocumentsReady base-{BASE}-ready",
            f"App app-{APP}",
            f"ShareLink link-{APP}/{LINK}",
            f"ApiKey key-{APP}/{KEY}",
        }

        up(lab)
        assert hands.fastgpt.app(APP)["_id"] == app
        assert hands.fastgpt.base(BASE)["_id"] == base
        others = {row["name"]: row["_id"] for row in hands.fastgpt.apps()}
        hands.fastgpt.delete_app(others[f"{APP} (2)"])
        hands.fastgpt.delete_base(hands.fastgpt.base(f"{BASE} (2)")["_id"])
    _assert_all_is_well(lab)


def test_a_service_that_is_down_is_not_gone(lab: Lab) -> None:
    before = _resources(lab)
    on_server(lab.outputs, "docker stop xinference oneapi mysql")
    lab.engine.refresh()
    warnings = told(lab, "warning")
    assert told(lab, "error") == []
    for name in ("Xinference: ", "OneAPI: "):
        assert [name in text for text in warnings].count(True) == 1, warnings
    assert all("`pulumi up" in text for text in warnings)
    assert _resources(lab) == before

    done = done_to(up(lab))
    # As the real provider does it: replaced where a port is published, else started in place.
    published = {"Container xinference", "Container oneapi"}
    assert {name for name, what in done.items() if "replace" in what} == published
    assert done["Container mysql"] == {"update"}
    # It starts and does not wait; these do, before anybody seeds.
    assert done["ContainersReady oneapi-healthy"] == {"update"}
    assert done["ContainersReady xinference-healthy"] == {"update"}
    # The new container's models were waited for, and OneAPI's data are the old ones.
    _assert_all_is_well(lab)


def test_what_was_stopped_is_told_by_a_preview_and_started_by_a_plain_up(lab: Lab) -> None:
    on_server(lab.outputs, "docker stop fastgpt pg")
    lab.engine.preview()
    (warning,) = told(lab, "warning")
    assert "fastgpt (Exited" in warning
    assert "pg (Exited" in warning
    assert "`pulumi up` brings them back" in warning

    done = done_to(up(lab))
    assert done == {
        "ContainersReady fastgpt-healthy": {"update"},
        "Ready fastgpt-ready": {"update"},
    }
    _assert_all_is_well(lab)


@pytest.mark.slow
def test_a_server_that_is_off_is_not_gone_and_is_told_once(lab: Lab) -> None:
    before = _resources(lab)
    lab.world.call("stop_server")

    lab.engine.preview()
    (warning,) = told(lab, "warning")
    assert "start it in the cloud's console and run `pulumi up`" in warning

    error = refused(lab, lambda: lab.engine.up())
    assert "docker system dial-stdio" not in error
    said = everything_told(lab)
    assert said.count("start it in the cloud's console") == 1
    assert "Traceback" not in said

    # The Docker provider fails for each of its resources; ours say it once, all together.
    refused(lab, lambda: lab.engine.refresh())
    assert "Traceback" not in everything_told(lab)
    assert all("dial-stdio" in text or "failed" in text for text in told(lab, "error"))
    (warning,) = told(lab, "warning")
    assert "start it in the cloud's console" in warning
    assert _resources(lab) == before

    lab.world.call("start_server")
    wait_until_healthy(lab.outputs)
    up(lab)
    _assert_all_is_well(lab)


def test_a_damaged_vocabulary_is_brought_back_by_the_next_up(lab: Lab) -> None:
    """OneAPI dies at its next start without it, and nothing else would notice before."""
    place = "ai-lab/oneapi/*"
    whole = on_server(lab.outputs, f"sha256sum {place}")
    on_server(lab.outputs, f"truncate -s 1000 {place}")
    assert done_to(up(lab)) == {"File vocabulary": {"update"}}
    assert on_server(lab.outputs, f"sha256sum {place}") == whole


def test_what_leaves_the_settings_leaves_the_services(lab: Lab) -> None:
    """Doubles that people made go with what they double; what may hold their work stays."""
    before = settings_of(lab)
    with Hands(lab.outputs) as hands:
        app, base = hands.fastgpt.app(APP)["_id"], hands.fastgpt.base(BASE)["_id"]
        _make_all_twice(hands, app, base)
        change(lab, tokens=[], knowledge={})
        up(lab)
        assert [row["name"] for row in hands.oneapi.tokens()] == ["Initial Root Token"]
        assert app not in {row["_id"] for row in hands.fastgpt.apps()}
        assert base not in {row["_id"] for row in hands.fastgpt.bases()}
        for row in hands.fastgpt.apps():
            hands.fastgpt.delete_app(row["_id"])
        for row in hands.fastgpt.bases():
            hands.fastgpt.delete_base(row["_id"])
    change(lab, tokens=before["tokens"], knowledge=before["knowledge"])
    up(lab)
    _assert_all_is_well(lab)
    assert done_to(lab.engine.up("--refresh")) == {}, "after all that there is nothing left to do"


def _launch_another_as_the_reranker(hands: Hands) -> None:
    hands.xinference.stop(RERANKER)
    hands.xinference.launch(
        {
            "model_uid": RERANKER,
            "model_name": "bge-m3",
            "model_type": "embedding",
            "download_hub": "modelscope",
        }
    )


def _change_the_knowledge(hands: Hands) -> None:
    page = hands.fastgpt
    base, app = page.base(BASE), page.app(APP)
    (document,), (link,), (key,) = (
        page.documents(base["_id"]),
        page.links(app["_id"]),
        page.keys(app["_id"]),
    )
    page.rename_base(base["_id"], "renamed by hand")
    page.rename_document(document["_id"], "renamed.pdf")
    page.change_link(link["_id"], name="renamed", responseDetail=False)
    page.rename_key(key["_id"], "renamed")
    for node in app["modules"]:
        for given in node["inputs"]:
            if given["key"] == "systemPrompt":
                given["value"] = "Answer in riddles."
    page.publish(app["_id"], app["modules"], app["edges"], app["chatConfig"])
    page.change_app(app["_id"], name="renamed by hand")


def _copy_a_channel(hands: Hands) -> None:
    channel = hands.oneapi.channel("xinference-embedding")
    copied = ("name", "type", "base_url", "models", "model_mapping", "group", "priority")
    hands.oneapi.add_channel({**{name: channel[name] for name in copied}, "key": "another"})


def _make_all_twice(hands: Hands, app: str, base: str) -> None:
    hands.oneapi.add_token(TOKEN)
    page = hands.fastgpt
    page.add_app(APP)
    page.add_link(app, LINK)
    page.add_key(app, KEY)
    page.add_base(BASE, EMBEDDING, CHAT)
    page.upload(base, DOCUMENT, (PROJECT / "documents" / DOCUMENT).read_bytes())


def _assert_all_is_well(lab: Lab) -> None:
    """The services themselves say so, and the lab answers."""
    with Hands(lab.outputs) as hands:
        assert {CHAT, EMBEDDING, RERANKER} <= hands.xinference.running().keys()
        assert hands.xinference.running()[RERANKER]["model_name"] == RERANKER
        assert sorted(hands.xinference.autostarts()) == sorted([CHAT, EMBEDDING, RERANKER])

        rows = {row["name"]: row for row in hands.oneapi.channels()}
        assert len(hands.oneapi.channels()) == len(rows) == 2
        assert {name: row["models"] for name, row in rows.items()} == {
            "xinference-chat": CHAT,
            "xinference-embedding": EMBEDDING,
        }
        assert {row["base_url"] for row in rows.values()} == {"http://xinference:9997"}
        assert {row["status"] for row in rows.values()} == {1}
        token = hands.oneapi.token(TOKEN)
        assert (token["models"], token["expired_time"], token["status"]) == (CHAT, -1, 1)
        assert f"sk-{token['key']}" == lab.outputs[f"token-{TOKEN}"]
        assert hands.oneapi.relay_status(lab.outputs[f"token-{TOKEN}"]) == 200

        app, base = hands.fastgpt.app(APP), hands.fastgpt.base(BASE)
        assert [row["name"] for row in hands.fastgpt.documents(base["_id"])] == [DOCUMENT]
        assert "riddles" not in str(app["modules"])
        assert base["_id"] in str(app["modules"])
        (link,), (key,) = hands.fastgpt.links(app["_id"]), hands.fastgpt.keys(app["_id"])
        assert (link["name"], link["responseDetail"]) == (LINK, True)
        assert key["name"] == KEY
        assert hands.fastgpt.chats_with(lab.outputs[f"apiKey-{APP}/{KEY}"])
    answered = ask(lab)
    assert {citation["source"] for citation in answered["citations"]} == {DOCUMENT}
    with Probe(lab.outputs) as probe:
        probe.rerank(RERANKER)


def _resources(lab: Lab) -> set[str]:
    return {resource["urn"] for resource in lab.engine.export()["deployment"]["resources"]}

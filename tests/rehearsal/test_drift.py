"""What people change by hand in the web pages: `refresh` says so, and `up` puts it right.

On the real engine, because only it shows that what a resource sees becomes an update, a replacement
or a new thing, in an order that works. Many hands at once: one run of the engine costs seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from provisioning.clients.errors import Conflict
from provisioning.clients.fastgpt.rows import Intake
from provisioning.clients.oneapi import OneApiRelay, Token
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from rehearsal.processes import PROJECT
from tests.rehearsal.hands import Hands, chats_with, on_server, the, wait_until_healthy
from tests.rehearsal.labs import (
    ask,
    change,
    done_to,
    everything_told,
    refused,
    resources_of,
    settings_of,
    told,
    up,
    with_this_done,
)
from tests.waiting import until

CHAT, EMBEDDING, RERANKER = "qwen2.5-instruct", "m3e-base", "bge-reranker-v2-m3"
BASE, APP, DOCUMENT = "lab-manual", "lab-assistant", "lab-manual.pdf"
TOKEN, KEY, LINK = "team", "ci", "visitors"
CHANNELS = {"Channel xinference-chat", "Channel xinference-embedding"}
IN_ONEAPI = CHANNELS | {f"Token token-{TOKEN}"}
IN_A_BASE = {f"Document document-{BASE}/{DOCUMENT}"}
IN_AN_APP = {f"ShareLink link-{APP}/{LINK}", f"ApiKey key-{APP}/{KEY}"}
KNOWLEDGE = {f"Dataset base-{BASE}", f"App app-{APP}", *IN_A_BASE, *IN_AN_APP}
OUR_UPLOAD = Intake("chunk", 512)


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


@pytest.fixture
def hands(lab: Lab) -> Iterator[Hands]:
    with Hands(lab.outputs) as hands:
        yield hands


def ids(hands: Hands) -> tuple[str, str]:
    """Of the lab's app and base."""
    return the(APP, hands.fastgpt.apps()).id, the(BASE, hands.fastgpt.datasets()).id


def test_changed_by_hand(lab: Lab, hands: Hands) -> None:
    before = dict(lab.outputs)
    _launch_another_as_the_reranker(hands, lab)
    hands.oneapi.edit_channel("xinference-chat", status=2)
    elsewhere = "http://elsewhere:9997"
    hands.oneapi.edit_channel("xinference-embedding", models="another", base_url=elsewhere)
    hands.oneapi.edit_token(TOKEN, models=EMBEDDING, expired_time=1)
    hands.oneapi.set_password("changed-by-hand")
    _change_the_knowledge(hands)

    of_the_reranker = {f"Model {RERANKER}", "ModelsReady side-models-ready"}
    others = {"Root oneapi-root"} | of_the_reranker
    assert with_this_done(lab.engine.refresh(), "update") == IN_ONEAPI | KNOWLEDGE | others

    up(lab)
    for name in ("oneapiPassword", f"token-{TOKEN}", f"apiKey-{APP}/{KEY}", "shareLinks"):
        assert lab.outputs[name] == before[name]
    _assert_all_is_well(lab)


def test_put_into_folders_and_a_new_access_token(lab: Lab, hands: Hands) -> None:
    """People tidy up. An app in a folder is still the lab's; a document in one cannot be found."""
    app, base = ids(hands)
    folder = hands.fastgpt.add_folder_of_apps("our apps")
    hands.fastgpt.move_app(app, folder)
    (document,) = hands.fastgpt.collections(base)
    hands.fastgpt.put_document_into_a_folder(base, document.id, "our papers")
    hands.oneapi.new_access_token()

    done = done_to(up(lab, "--refresh"))
    expected = {f"DocumentsReady base-{BASE}-ready", "Root oneapi-root"} | IN_ONEAPI
    assert done == {name: {"update"} for name in expected}
    there = {row.name: row.id for row in hands.fastgpt.collections(base)}
    assert document.id in there.values()
    assert [link.name for link in hands.fastgpt.share_links(app)] == [LINK]

    hands.fastgpt.move_app(app, None)
    hands.fastgpt.delete_app(folder)
    hands.fastgpt.delete_collection(there["our papers"], dataset_id=base)


@pytest.mark.fault("a model's process killed")
def test_deleted_by_hand(lab: Lab, hands: Hands) -> None:
    app, base = ids(hands)
    hands.xinference.stop(EMBEDDING)
    _crash_the_reranker(lab)
    _empty_oneapi(hands)
    hands.fastgpt.delete_collection(hands.fastgpt.collections(base)[0].id, dataset_id=base)
    hands.fastgpt.delete_share_link(hands.fastgpt.share_links(app)[0].id, app_id=app)
    hands.fastgpt.delete_api_key(hands.fastgpt.api_keys(app)[0].id, app_id=app)

    models = {f"Model {EMBEDDING}", f"Model {RERANKER}"}
    gone = with_this_done(lab.engine.refresh(), "delete")
    assert gone == IN_ONEAPI | IN_A_BASE | IN_AN_APP | models
    up(lab)
    _assert_all_is_well(lab)


def test_whole_bases_and_apps_deleted_by_hand(lab: Lab, hands: Hands) -> None:
    """In one go: `up --refresh` sees it and mends it."""
    app, base = ids(hands)
    hands.fastgpt.delete_app(app)
    hands.fastgpt.delete_dataset(base)
    _empty_oneapi(hands)
    made = done_to(up(lab, "--refresh"))
    assert {name for name, what in made.items() if "create" in what} == IN_ONEAPI | KNOWLEDGE
    _assert_all_is_well(lab)


def test_made_twice_by_hand(lab: Lab, hands: Hands) -> None:
    """What can hold people's work gets another name; everything else is removed."""
    app, base = ids(hands)
    (channel,) = hands.oneapi.channels_named("xinference-embedding")
    hands.oneapi.create_channel(channel.model_copy(update={"key": "another"}))
    _make_all_twice(hands, app, base)
    taken = {"model_uid": EMBEDDING, "model_name": EMBEDDING, "model_type": "embedding"}
    with pytest.raises(Conflict, match="already in the model list"):
        hands.xinference.launch(taken)

    seen = with_this_done(lab.engine.refresh(), "update")
    doubled = (IN_ONEAPI | KNOWLEDGE) - IN_A_BASE - {"Channel xinference-chat"}
    assert seen == doubled | {f"DocumentsReady base-{BASE}-ready"}

    up(lab)
    assert ids(hands) == (app, base)
    hands.fastgpt.delete_app(the(f"{APP} (2)", hands.fastgpt.apps()).id)
    hands.fastgpt.delete_dataset(the(f"{BASE} (2)", hands.fastgpt.datasets()).id)
    _assert_all_is_well(lab)


def test_a_service_that_is_down_is_not_gone(lab: Lab) -> None:
    before = _urns(lab)
    on_server(lab.outputs, "docker stop xinference oneapi mysql")
    lab.engine.refresh()
    warnings = told(lab, "warning")
    assert told(lab, "error") == []
    for name in ("Xinference: ", "OneAPI: "):
        assert [name in text for text in warnings].count(True) == 1, warnings
    assert all("`pulumi up" in text for text in warnings)
    assert _urns(lab) == before

    done = done_to(up(lab))
    # As the real provider does it: replaced where a port is published, else started in place.
    assert {name for name, what in done.items() if "replace" in what} == {"Container oneapi"}
    # It starts and does not wait; these do, before anybody seeds.
    healthy = (f"ContainersReady {service}-healthy" for service in ("oneapi", "xinference"))
    started = ("Container mysql", "Container xinference")
    assert [done[name] for name in (*started, *healthy)] == [{"update"}] * 4
    # The new container's models were waited for, and OneAPI's data are the old ones.
    _assert_all_is_well(lab)


@pytest.mark.fault("containers stopped by hand")
def test_what_was_stopped_is_told_by_a_preview_and_started_by_a_plain_up(lab: Lab) -> None:
    on_server(lab.outputs, "docker stop fastgpt pg")
    lab.engine.preview()
    (warning,) = told(lab, "warning")
    for words in ("fastgpt (Exited", "pg (Exited", "`pulumi up` brings them back"):
        assert words in warning
    awaited = ("ContainersReady fastgpt-healthy", "Ready fastgpt-ready")
    assert done_to(up(lab)) == {name: {"update"} for name in awaited}
    _assert_all_is_well(lab)


@pytest.mark.slow
@pytest.mark.fault("Redis gone")
@pytest.mark.fault("S3 gone")
@pytest.mark.fault("MongoDB gone")
@pytest.mark.fault("FastGPT's plugin gone")
def test_what_fastgpt_stands_on_is_brought_back_by_a_plain_up(lab: Lab) -> None:
    on_server(lab.outputs, "docker stop plugin redis minio mongo")
    lab.engine.preview()
    (warning,) = told(lab, "warning")
    for name in ("plugin", "redis", "minio", "mongo"):
        assert f"{name} (Exited" in warning
    up(lab)
    _assert_all_is_well(lab)


@pytest.mark.slow
@pytest.mark.fault("FastGPT started without Redis")
@pytest.mark.fault("FastGPT started without MongoDB")
@pytest.mark.fault("FastGPT started without S3")
@pytest.mark.fault("FastGPT started without PostgreSQL")
@pytest.mark.fault("FastGPT started without its plugin")
@pytest.mark.fault("FastGPT started without code-sandbox")
def test_a_start_without_what_fastgpt_needs_goes_on_by_a_plain_up(lab: Lab) -> None:
    """It has ended once for lack of Redis; code-sandbox is in no lab that did not ask for it."""
    on_server(lab.outputs, "docker stop redis minio mongo plugin pg && docker restart fastgpt")
    log = partial(on_server, lab.outputs, "docker logs --tail 5 fastgpt")
    until(lambda: "[redis_error]" in log(), "FastGPT to miss Redis", log)
    up(lab)
    _assert_all_is_well(lab)


@pytest.mark.slow
@pytest.mark.fault("the server off")
def test_a_server_that_is_off_is_not_gone_and_is_told_once(lab: Lab) -> None:
    before = _urns(lab)
    lab.world.call("stop_server")

    lab.engine.preview()
    (warning,) = told(lab, "warning")
    assert "start it in the cloud's console and run `pulumi up`" in warning

    assert "docker system dial-stdio" not in refused(lab, lab.engine.up)
    said = everything_told(lab)
    assert said.count("start it in the cloud's console") == 1
    assert "Traceback" not in said

    # The Docker provider fails for each of its resources; ours say it once, all together.
    refused(lab, lab.engine.refresh)
    assert "Traceback" not in everything_told(lab)
    assert all("dial-stdio" in text or "failed" in text for text in told(lab, "error"))
    (warning,) = told(lab, "warning")
    assert "start it in the cloud's console" in warning
    assert _urns(lab) == before

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


def test_what_leaves_the_settings_leaves_the_services(lab: Lab, hands: Hands) -> None:
    """Doubles that people made go with what they double; what may hold their work stays."""
    before = settings_of(lab)
    app, base = ids(hands)
    _make_all_twice(hands, app, base)
    change(lab, tokens=[], knowledge={})
    up(lab)
    assert hands.oneapi.tokens() == ["Initial Root Token"]
    apps, bases = hands.fastgpt.apps(), hands.fastgpt.datasets()
    assert not {app, base} & {row.id for row in (*apps, *bases)}
    for row in apps:
        hands.fastgpt.delete_app(row.id)
    for dataset in bases:
        hands.fastgpt.delete_dataset(dataset.id)
    change(lab, tokens=before["tokens"], knowledge=before["knowledge"])
    up(lab)
    _assert_all_is_well(lab)
    assert done_to(lab.engine.up("--refresh")) == {}, "after all that there is nothing left to do"


def _launch_another_as_the_reranker(hands: Hands, lab: Lab) -> None:
    hands.xinference.stop(RERANKER)
    model = {"model_name": "bge-m3", "model_type": "embedding", "download_hub": "modelscope"}
    hands.xinference.launch({"model_uid": RERANKER, **model})
    with Probe(lab.outputs) as probe:
        until(lambda: RERANKER in probe.running(), "the other model")


def _crash_the_reranker(lab: Lab) -> None:
    """Its process ends: described as ever once another is in its place, and silent for good."""
    lab.world.call("switch_on", fault="xinference.crash", key=RERANKER, times=1)
    path, gone = f"/v1/models/{RERANKER}/replicas", ("TERMINATED", "TERMINATING")
    with Probe(lab.outputs) as probe:
        until(lambda: all(c["status"] in gone for c in probe.xinference("GET", path)), "the crash")
        until(lambda: RERANKER in probe.running(), "another process")


def _empty_oneapi(hands: Hands) -> None:
    for channel in hands.oneapi.channels():
        hands.oneapi.delete_channel(channel.id)
    (token,) = hands.oneapi.tokens_named(TOKEN)
    hands.oneapi.delete_token(token.id)


def _change_the_knowledge(hands: Hands) -> None:
    page = hands.fastgpt
    app_id, base_id = ids(hands)
    app, base = page.app(app_id), page.dataset(base_id)
    (document,), (link,) = page.collections(base_id), page.share_links(app_id)
    (key,) = page.api_keys(app_id)
    page.update_dataset(base_id, name="renamed", agent_model=base.agent_model, intro=base.intro)
    page.rename_collection(document.id, "renamed.pdf")
    page.update_share_link(link.id, "renamed", response_detail=False)
    page.rename_api_key(key.id, "renamed", app_id=app.id)
    (prompt,) = (i for node in app.nodes for i in node["inputs"] if i["key"] == "systemPrompt")
    prompt["value"] = "Answer in riddles."
    page.publish_app(
        app_id, nodes=app.nodes, edges=app.edges, chat_config=app.chat_config, version_name="hand"
    )
    page.update_app(app_id, name="renamed by hand")


def _make_all_twice(hands: Hands, app: str, base: str) -> None:
    hands.oneapi.create_token(Token(name=TOKEN, unlimited_quota=True))
    page = hands.fastgpt
    page.create_app(APP, [], [])
    page.create_share_link(app, LINK, response_detail=False)
    page.create_api_key(app, KEY)
    page.create_dataset(BASE, vector_model=EMBEDDING, agent_model=CHAT)
    page.upload_file(base, DOCUMENT, (PROJECT / "documents" / DOCUMENT).read_bytes(), OUR_UPLOAD)


def _assert_all_is_well(lab: Lab) -> None:
    """The services themselves say so, and the lab answers."""
    api_key, token_key = lab.outputs[f"apiKey-{APP}/{KEY}"], lab.outputs[f"token-{TOKEN}"]
    with Hands(lab.outputs) as hands:
        assert hands.xinference.describe(RERANKER)["model_name"] == RERANKER
        assert hands.xinference.autostart().keys() == {CHAT, EMBEDDING, RERANKER}

        channels = [(c.name, c.models, c.base_url, c.status) for c in hands.oneapi.channels()]
        ours = (("xinference-chat", CHAT), ("xinference-embedding", EMBEDDING))
        expected = [(name, (model,), "http://caddy:9997", 1) for name, model in ours]
        assert sorted(channels) == expected
        (token,) = hands.oneapi.tokens_named(TOKEN)
        assert (token.models, token.expired_time, token.status) == ((CHAT,), -1, 1)
        assert f"sk-{token.key}" == token_key
        with OneApiRelay(lab.outputs["oneapiUrl"], token_key) as relay:
            assert relay.chat(CHAT, "Hi")

        app_id, base = ids(hands)
        nodes = str(hands.fastgpt.app(app_id).nodes)
        assert [row.name for row in hands.fastgpt.collections(base)] == [DOCUMENT]
        assert "riddles" not in nodes
        assert base in nodes
        links = hands.fastgpt.share_links(app_id)
        assert [(link.name, link.response_detail) for link in links] == [(LINK, True)]
        assert [key.name for key in hands.fastgpt.api_keys(app_id)] == [KEY]
        assert chats_with(lab.outputs, api_key)
    assert {citation["source"] for citation in ask(lab)["citations"]} == {DOCUMENT}
    with Probe(lab.outputs) as probe:
        assert {CHAT, EMBEDDING, RERANKER} <= set(probe.running())
        probe.rerank(RERANKER)


def _urns(lab: Lab) -> set[str]:
    return {resource["urn"] for resource in resources_of(lab)}

"""One setting renews the passwords, and every place that holds one follows.

On the real engine, because what is replaced is the point, and what an interrupted one leaves. That
databases take their new passwords is shown on a real server.
"""

from __future__ import annotations

import json
import os
import signal

import pytest

from rehearsal.children import command_of, descendants
from rehearsal.engine import EngineError
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.rehearsal.hands import Hands, on_server
from tests.rehearsal.labs import ask, change, done_to, settings_of, up

SECRETS = {
    "mysql": ("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD"),
    "pg": ("POSTGRES_PASSWORD",),
    "mongo": ("MONGO_INITDB_ROOT_PASSWORD",),
    "oneapi": ("SESSION_SECRET", "SQL_DSN"),
    "fastgpt": (
        "DEFAULT_ROOT_PSW",
        "TOKEN_KEY",
        "FILE_TOKEN_KEY",
        "ROOT_KEY",
        "MONGODB_URI",
        "PG_URL",
    ),
}
FOR_LIFE = {"oneapi": ("INITIAL_ROOT_TOKEN",), "fastgpt": ("CHAT_API_KEY",)}


def test_every_place_follows(rehearsed_lab: Lab) -> None:
    lab = rehearsed_lab
    before, old = dict(lab.outputs), _environments(lab)
    with Hands(before) as old_hands:
        channels = [row["id"] for row in old_hands.oneapi.channels()]
        (document,) = old_hands.fastgpt.documents(old_hands.fastgpt.bases()[0]["_id"])

        _rotate(lab)
        done = done_to(up(lab))

        assert not old_hands.oneapi.accepts_cookies()
        assert not old_hands.fastgpt.accepts_session()
    _assert_nothing_was_made_anew(done)
    _assert_all_secrets_differ(old, _environments(lab))
    with Hands(lab.outputs) as hands:
        assert not hands.oneapi.opens_with(before["oneapiPassword"])
        assert not hands.fastgpt.opens_with(before["fastgptPassword"])
        assert [row["id"] for row in hands.oneapi.channels()] == channels
        assert hands.fastgpt.documents(hands.fastgpt.bases()[0]["_id"])[0]["_id"] == document["_id"]
    assert lab.outputs["fastgptToken"] == before["fastgptToken"]
    assert lab.outputs["shareLinks"] == before["shareLinks"]
    _assert_it_answers(lab)


@pytest.mark.slow
def test_an_interrupted_rotation_is_finished_by_the_next_up(rehearsed_lab: Lab) -> None:
    """As when the operator's machine dies: the database has its new password, and nobody knows."""
    lab, old = rehearsed_lab, _environments(rehearsed_lab)
    _rotate(lab)
    _kill_the_up(lab, "command:remote:Command db-password-pg updating")

    up(lab)

    _assert_all_secrets_differ(old, _environments(lab))
    _assert_it_answers(lab)
    assert done_to(lab.engine.up("--refresh")) == {}


def _rotate(lab: Lab) -> None:
    change(lab, passwordRotation=int(settings_of(lab).get("passwordRotation", 1)) + 1)


def _kill_the_up(lab: Lab, moment: str) -> None:
    """Kill `pulumi up` when it prints `moment`, and take its lock away."""
    seen: list[str] = []

    def on_line(line: str) -> None:
        if moment in " ".join(line.split()) and not seen:
            seen.append(line)
            for pid in descendants(os.getpid()):
                if command_of(pid).startswith("pulumi up"):
                    os.kill(pid, signal.SIGKILL)

    lab.engine.on_line = on_line
    try:
        with pytest.raises(EngineError):
            lab.engine.up()
    finally:
        lab.engine.on_line = lambda line: None
    assert seen, f"the up never came to: {moment}"
    lab.engine._run(["cancel", "--yes", "--stack", lab.engine.stack])


def _environments(lab: Lab) -> dict[str, dict[str, str]]:
    """Container to its environment, as the server knows it."""
    names = " ".join(SECRETS)
    text = on_server(lab.outputs, f"docker inspect --format '{{{{json .Config.Env}}}}' {names}")
    lists = [json.loads(line) for line in text.splitlines()]
    return {
        name: dict(entry.split("=", 1) for entry in entries)
        for name, entries in zip(SECRETS, lists, strict=True)
    }


def _assert_all_secrets_differ(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]
) -> None:
    same = [
        f"{container}'s {name}"
        for container, names in SECRETS.items()
        for name in names
        if old[container][name] == new[container][name]
    ]
    assert same == []
    for container, names in FOR_LIFE.items():
        for name in names:
            assert old[container][name] == new[container][name]


def _assert_nothing_was_made_anew(done: dict[str, set[str]]) -> None:
    """Only passwords and the containers that hold one in their environment are replaced."""
    replaced = {name for name, what in done.items() if "create-replacement" in what}
    assert {name for name in replaced if name.startswith("Container ")} == {
        f"Container {name}" for name in SECRETS
    }
    others = {name for name in replaced if not name.startswith(("Container ", "Password "))}
    assert others == set()
    assert [name for name, what in done.items() if "delete" in what or "create" in what] == []


def _assert_it_answers(lab: Lab) -> None:
    with Probe(lab.outputs) as probe:
        probe.chat(probe.models("chat")[0])
    assert ask(lab)["citations"], "the question is not answered with a citation any more"
    with Hands(lab.outputs) as hands:
        assert hands.oneapi.opens_with(lab.outputs["oneapiPassword"])
        assert hands.fastgpt.opens_with(lab.outputs["fastgptPassword"])

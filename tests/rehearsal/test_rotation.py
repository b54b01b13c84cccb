"""One setting renews the passwords, and every place that holds one follows.

On the real engine, because what is replaced is the point, and what an interrupted one leaves. That
databases take their new passwords is shown on a real server.
"""

import json

import pytest

from provisioning.clients.errors import Unauthorized
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.rehearsal.hands import Hands, on_server
from tests.rehearsal.labs import ask, change, done_to, kill_the_up, settings_of, up

IN_REACH = ("MONGODB_URI", "REDIS_URL", "STORAGE_SECRET_ACCESS_KEY")
OF_FASTGPT = ("DEFAULT_ROOT_PSW", "ROOT_KEY", "INVOKE_TOKEN_SECRET", "FILE_TOKEN_KEY")
SECRETS = {
    "mysql": ("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD"),
    "pg": ("POSTGRES_PASSWORD",),
    "mongo": ("MONGO_INITDB_ROOT_PASSWORD",),
    "oneapi": ("SESSION_SECRET", "SQL_DSN", "INITIAL_ROOT_TOKEN"),
    "caddy": ("XINFERENCE_KEY", "XINFERENCE_LOGIN"),
    "redis": ("REDISCLI_AUTH",),
    "minio": ("MINIO_ROOT_PASSWORD",),
    "plugin": (*IN_REACH, "AUTH_TOKEN", "JWT_SECRET"),
    "fastgpt": (
        *(*OF_FASTGPT, *IN_REACH, "PG_URL", "PLUGIN_TOKEN"),
        *("CHAT_API_KEY", "AES256_SECRET_KEY"),
    ),
}
FOR_LIFE = [
    ("oneapi", "INITIAL_ROOT_TOKEN"),
    ("fastgpt", "CHAT_API_KEY"),
    ("fastgpt", "AES256_SECRET_KEY"),
]
Environments = dict[str, dict[str, str]]


def test_every_place_follows(rehearsed_lab: Lab) -> None:
    lab = rehearsed_lab
    before, old = dict(lab.outputs), _environments(lab)
    with Hands(before) as old_hands:
        channels = old_hands.oneapi.channels()
        documents = old_hands.fastgpt.everything()["documents"]

        _rotate(lab)
        done = done_to(up(lab))

        with pytest.raises(Unauthorized):
            # Neither the open session nor another one with the old password.
            old_hands.fastgpt.datasets()
        with pytest.raises(Unauthorized):
            old_hands.xinference.version()
    _assert_nothing_was_made_anew(done)
    _assert_all_secrets_differ(old, _environments(lab))
    with Hands(lab.outputs) as hands:
        assert not hands.oneapi.opens_with("root", before["oneapiPassword"])
        assert hands.oneapi.channels() == channels
        assert hands.fastgpt.everything()["documents"] == documents
    for name in ("fastgptToken", "shareLinks"):
        assert lab.outputs[name] == before[name]
    _assert_it_answers(lab)


@pytest.mark.slow
@pytest.mark.fault("pulumi up killed while passwords are renewed")
def test_an_interrupted_rotation_is_finished_by_the_next_up(rehearsed_lab: Lab) -> None:
    """As when the operator's machine dies: the database has its new password, and nobody knows."""
    lab, old = rehearsed_lab, _environments(rehearsed_lab)
    _rotate(lab)
    kill_the_up(lab, "command:remote:Command db-password-pg updating")

    up(lab)

    _assert_all_secrets_differ(old, _environments(lab))
    _assert_it_answers(lab)
    assert done_to(lab.engine.up("--refresh")) == {}


def _rotate(lab: Lab) -> None:
    change(lab, passwordRotation=int(settings_of(lab).get("passwordRotation", 1)) + 1)


def _environments(lab: Lab) -> Environments:
    """Container to its environment, as the server knows it."""
    names = " ".join(SECRETS)
    text = on_server(lab.outputs, f"docker inspect --format '{{{{json .Config.Env}}}}' {names}")
    lists = [json.loads(line) for line in text.splitlines()]
    return {
        name: dict(entry.split("=", 1) for entry in entries)
        for name, entries in zip(SECRETS, lists, strict=True)
    }


def _assert_all_secrets_differ(old: Environments, new: Environments) -> None:
    pairs = [(container, name) for container, names in SECRETS.items() for name in names]
    assert [(c, name) for c, name in pairs if old[c][name] == new[c][name]] == FOR_LIFE


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
        assert hands.oneapi.opens_with("root", lab.outputs["oneapiPassword"])
        assert hands.fastgpt.login()

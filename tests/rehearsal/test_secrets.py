"""No secret of a lab that stands is where it has no business. Only a whole run leaves its traces:
state, logs, process lists (the server's processes are this machine's), files of the server."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch

from rehearsal.lab import Lab
from tests.rehearsal.conftest import Shared
from tests.rehearsal.hands import on_server
from tests.rehearsal.labs import pulumi

_DOCKER = "world/servers/*/var/lib/docker"
# Below the rehearsal's folder.
MEANT: dict[str, set[str]] = {
    # The operator's own file.
    "id_rsa": {"private key"},
    # mongod reads it from there.
    "world/servers/*/root/ai-lab/mongo/keyfile": {"mongo-key"},
    # FastGPT calls the reranker itself: its database, which on a rented server is MongoDB's volume.
    "world/servers/*/var/lib/rehearsal/fastgpt-current.db*": {"xinference-key"},
    # Its database, which on a rented server is MySQL's volume.
    f"{_DOCKER}/volumes/ai-lab-oneapi/_data/*": {
        *("oneapiAccessToken", "relay-token", "xinference-key"),
    },
    # It prints a statement that took long, values and all: on a busy machine only.
    f"{_DOCKER}/containers/oneapi/log": {"oneapiAccessToken", "relay-token", "xinference-key"},
}


def test_secrets_are_where_they_are_needed_only(rehearsed_lab: Lab, shared: Shared) -> None:
    secrets = _secrets(rehearsed_lab)
    assert any(line.startswith(b"pulumi\0up\0") for line in shared.commands)
    told = {
        "a command line": b"\n".join(shared.commands),
        "what up printed": shared.said.encode(),
        "the outputs": pulumi(rehearsed_lab, "stack", "output").encode(),
        "the outputs as JSON": pulumi(rehearsed_lab, "stack", "output", "--json").encode(),
        "the state": pulumi(rehearsed_lab, "stack", "export").encode(),
        **dict(_files(rehearsed_lab)),
    }
    found = {place: _named(text, secrets) for place, text in told.items()}
    assert any(place.endswith("mongo/keyfile") and names for place, names in found.items())
    left = {place: names - _meant(place) for place, names in found.items()}
    assert {place: names for place, names in left.items() if names} == {}


def _secrets(lab: Lab) -> dict[str, str]:
    """Value to name: every password, every secret output as it was made and as it is now, the SSH
    key, and what two of them become when they are sent."""
    shown = json.loads(pulumi(lab, "stack", "output", "--json"))
    names = [name for name, value in shown.items() if value == "[secret]"]
    outputs = {run[name]: name for run in (lab.outputs, lab.engine.outputs()) for name in names}
    exported = json.loads(pulumi(lab, "stack", "export", "--show-secrets"))
    passwords = {
        json.loads(resource["outputs"]["result"]["plaintext"]): resource["urn"].rpartition("::")[2]
        for resource in exported["deployment"]["resources"]
        if resource["type"].endswith("lab:Password")
    }
    assert len(outputs) >= 5
    assert len(passwords) == 19
    named = {name: value for value, name in passwords.items()}
    return {
        **outputs,
        **passwords,
        b64encode(f"root:{named['xinference-key']}".encode()).decode(): "Xinference's login",
        hashlib.sha256(named["fastgpt-root"].encode()).hexdigest(): "FastGPT's login",
        # A line of its middle: within JSON its line ends are others.
        (lab.folder / "id_rsa").read_text().splitlines()[5]: "private key",
    }


def _files(lab: Lab) -> Iterator[tuple[str, bytes]]:
    """What stands under the rehearsal's folder; a container's name is there instead of its id."""
    listed = on_server(lab.outputs, "docker ps -a --format '{{.ID}} {{.Names}}'")
    containers = [line.split() for line in listed.splitlines()]
    for file in lab.folder.rglob("*"):
        # A journal is there for a moment only.
        with suppress(FileNotFoundError):
            if file.is_file() and not file.is_symlink():
                place = str(file.relative_to(lab.folder))
                for id, name in containers:
                    place = re.sub(rf"{id}\w*", name, place)
                yield place, file.read_bytes()


def _named(text: bytes, secrets: dict[str, str]) -> set[str]:
    return {name for value, name in secrets.items() if value.encode() in text}


def _meant(place: str) -> set[str]:
    return {name for form, names in MEANT.items() if fnmatch(place, form) for name in names}

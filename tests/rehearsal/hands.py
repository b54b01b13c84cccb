"""What people do by hand in the services' own web pages and on the server, and what they see there.

Through the services' clients, which tests/contract holds against the services themselves; `_call`
is for what only a person does. What visitors see is `rehearsal.probes`' to tell, by plain HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

import asyncssh
import httpx

from provisioning.clients.fastgpt import CurrentClient, FastGptClient, SeedsClient
from provisioning.clients.oneapi import OneApiClient
from provisioning.clients.xinference import XinferenceClient
from rehearsal.probes import Probe
from tests.rehearsal.servers import over_ssh
from tests.waiting import until

_Named = TypeVar("_Named", bound=Any)


class Hands(ExitStack):
    """Somebody with the lab's outputs in front of three web pages. Use as a context manager."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        super().__init__()
        password = outputs["fastgptPassword"]
        self.oneapi = OneApiPage(outputs["oneapiUrl"], outputs["oneapiAccessToken"])
        page = PAGES[outputs["fastgptEdition"]]
        self.fastgpt: FastGptPage = page(outputs["fastgptUrl"], password=password)
        self.xinference = XinferenceClient(outputs["xinferenceUrl"], outputs["xinferenceKey"])
        for page in (self.oneapi, self.fastgpt, self.xinference):
            self.enter_context(page)


class OneApiPage(OneApiClient):
    """OneAPI as user `root`, whose page sends less care than the client's own calls."""

    def edit_channel(self, name: str, **fields: Any) -> None:
        (channel,) = self.channels_named(name)
        self._call("PUT", "/api/channel/", json={"id": channel.id, **fields})

    def edit_token(self, name: str, **fields: Any) -> None:
        (token,) = self.tokens_named(name)
        self._call("PUT", "/api/token/", json=token.body(id=token.id, **fields))

    def tokens(self) -> list[str]:
        """Names on the first page of tokens."""
        return [row["name"] for row in self._call("GET", "/api/token/", params={"p": 0})]

    def new_access_token(self) -> None:
        """Make a new access token; the old one, which is this page's, dies."""
        self._access_token = self._call("GET", "/api/user/token")


class FastGptPage(FastGptClient):
    """FastGPT as user `root`, of no edition yet."""

    def everything(self) -> dict[str, Any]:
        """Names to ids of all there is, to compare two moments; two of one name fail here.

        Of keys the names: one that nobody knows any more is made anew.
        """
        bases, apps = _by_name(self.datasets()), _by_name(self.apps())
        return {
            "bases": bases,
            "documents": {name: _by_name(self.collections(id)) for name, id in bases.items()},
            "apps": apps,
            "links": {name: _by_name(self.share_links(id)) for name, id in apps.items()},
            "keys": {name: list(_by_name(self.api_keys(id))) for name, id in apps.items()},
        }

    def put_document_into_a_folder(self, base_id: str, document_id: str, folder: str) -> None:
        body = {"datasetId": base_id, "parentId": None, "name": folder, "type": "folder"}
        made = self._call("POST", "/api/core/dataset/collection/create", json=body)
        moved = {"id": document_id, "parentId": made}
        self._call("PUT", "/api/core/dataset/collection/update", json=moved)

    def add_folder_of_apps(self, name: str) -> str:
        body = {"name": name, "type": "folder", "modules": [], "edges": []}
        return str(self._call("POST", "/api/core/app/create", json=body))

    def move_app(self, app_id: str, folder_id: str | None) -> None:
        parent = {"parentId": folder_id}
        self._call("PUT", "/api/core/app/update", params={"appId": app_id}, json=parent)


class SeedsPage(FastGptPage, SeedsClient):
    """FastGPT 4.8.8."""


class CurrentPage(FastGptPage, CurrentClient):
    """FastGPT 4.16."""


PAGES = {"seeds": SeedsPage, "current": CurrentPage}


def _by_name(rows: Iterable[Any]) -> dict[str, str]:
    found = [(row.name, row.id) for row in rows]
    assert len(dict(found)) == len(found), f"there are two of one name: {found}"
    return dict(found)


def the(name: str, rows: Iterable[_Named]) -> _Named:
    """The one row of that name."""
    (found,) = (row for row in rows if row.name == name)
    return found


def chats_with(outputs: Mapping[str, Any], key: str) -> bool:
    """Whether an app answers to this API key."""
    body = {"stream": False, "messages": [{"role": "user", "content": "What is this lab?"}]}
    url = f"{outputs['fastgptUrl']}/api/v1/chat/completions"
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)
    return bool(answer.json().get("choices"))


def on_server(outputs: Mapping[str, Any], command: str) -> str:
    """What a command prints, run on the server as its operator; it has to succeed."""
    host, port = str(outputs["serverAddress"]), int(outputs["sshPort"])
    known = asyncssh.import_known_hosts(f"[{host}]:{port} {outputs['sshHostKey']}")
    who, key_file = str(outputs["sshUser"]), str(outputs["sshKeyFile"])
    return over_ssh(host, port, command, username=who, client_keys=[key_file], known_hosts=known)


def wait_until_healthy(outputs: Mapping[str, Any]) -> None:
    """After a start of the server: every container is healthy, and every model serves."""

    def healthy() -> bool:
        states = on_server(outputs, "docker ps -a --format '{{.Names}} {{.Status}}'").splitlines()
        return bool(states) and all("(healthy)" in line for line in states)

    until(healthy, "all containers to be healthy")
    with Probe(outputs) as probe:
        wanted = {m["name"] for m in outputs["models"] if m["servedBy"] == "xinference"}
        until(lambda: wanted <= set(probe.running()), "the models")

"""FastGPT's apps, and the ways into them: share links, chats through one, and API keys.

`docs/facts/fastgpt.md §5 to §8`, `docs/facts/fastgpt-current-measured.md §5`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from provisioning.clients.errors import NotFound, Refused, Unexpected
from provisioning.clients.fastgpt.rows import Answer, ApiKey, App, Hit, ShareLink
from provisioning.clients.fastgpt.session import Session
from provisioning.clients.http import AnyRow, Json

CHAT_SECONDS = 300.0
APP = "/api/core/app"
LINK = "/api/support/outLink"
KEY = "/api/support/openapi"
UNLIMITED_KEY = {"maxUsagePoints": -1}
_LINK_LIMIT = {"QPM": 100, "maxUsagePoints": -1}


class Apps(Session):
    """The calls about apps, share links and API keys, and a visitor's."""

    shows_keys: ClassVar[bool]
    """Whether an API key can be seen again after it was made."""
    _update_link: ClassVar[str]
    """The method that changes a share link."""

    @abstractmethod
    def _link(self, *, response_detail: bool) -> dict[str, Json]:
        """What says whether a share link shows the citations."""

    @abstractmethod
    def _visit(self, share_id: str, visitor: str) -> dict[str, Json]:
        """What a visitor sends of himself with a question."""

    @abstractmethod
    def api_keys(self, app_id: str) -> list[ApiKey]:
        """All API keys of an app, masked; none of an app that is gone."""

    @abstractmethod
    def find_api_key(self, key_id: str, *, app_id: str) -> ApiKey | None:
        """An app's key, by its id, whatever its name; None where it is gone."""

    @abstractmethod
    def create_api_key(self, app_id: str, name: str) -> ApiKey:
        """Make an API key of an app, with the key."""

    @abstractmethod
    def api_key(self, key_id: str, *, app_id: str) -> str:
        """An API key again; "" where FastGPT does not show it."""

    @abstractmethod
    def rename_api_key(self, key_id: str, name: str, *, app_id: str) -> None:
        """Another name; the key stays."""

    def apps(self) -> list[App]:
        """All apps at the top level, without their graphs."""
        return self._rows(App, self._read(f"{APP}/list", {"parentId": None}))

    def app(self, app_id: str) -> App:
        """One app, in whatever folder; NotFound where it is not among FastGPT's apps."""
        return self._one(App, f"{APP}/detail", {"appId": app_id}, self.apps)

    def create_app(self, name: str, nodes: Sequence[Json], edges: Sequence[Json]) -> str:
        """Make a simple app; returns its id. Nothing else is taken here: update and publish it."""
        # Called nodes everywhere else.
        graph = {"modules": list(nodes), "edges": list(edges)}
        body = {"name": name, "type": "simple", "avatar": "/icon/logo.svg", **graph}
        return str(self._call("POST", f"{APP}/create", json=body))

    def update_app(self, app_id: str, **card: str) -> None:
        """Change name, intro or avatar. The graph is `publish_app`'s: visitors get the newest."""
        self._call("PUT", f"{APP}/update", params={"appId": app_id}, json=card)

    def publish_app(
        self,
        app_id: str,
        *,
        nodes: Sequence[Json],
        edges: Sequence[Json],
        chat_config: Mapping[str, Json],
        version_name: str,
    ) -> None:
        """Make this graph the newest version, which is the one that answers."""
        graph = {"nodes": list(nodes), "edges": list(edges), "chatConfig": dict(chat_config)}
        # 4.16 takes no type, and leaves it out.
        version = {"type": "simple", "isPublish": True, "versionName": version_name}
        self._read(f"{APP}/version/publish", graph | version, params={"appId": app_id})

    def delete_app(self, app_id: str) -> None:
        """Delete it with its links and keys; one that is not there counts as deleted."""
        try:
            self.app(app_id)
        except NotFound:
            return
        for key in self.api_keys(app_id):
            self.delete_api_key(key.id, app_id=app_id)
        self._call("DELETE", f"{APP}/del", params={"appId": app_id})

    def share_links(self, app_id: str) -> list[ShareLink]:
        """All share links of an app; none of an app that is gone."""
        return self._of_app(ShareLink, f"{LINK}/list", app_id, type="share")

    def create_share_link(self, app_id: str, name: str, *, response_detail: bool) -> ShareLink:
        """Make a share link."""
        shown = self._link(response_detail=response_detail)
        body = {"appId": app_id, "type": "share", "name": name, "limit": _LINK_LIMIT, **shown}
        # All that is told is its shareId.
        share_id = self._call("POST", f"{LINK}/create", json=body)
        made = (link for link in self.share_links(app_id) if link.share_id == share_id)
        return self._made(made, f"{LINK}/create")

    def update_share_link(self, link_id: str, name: str, *, response_detail: bool) -> None:
        """Change a share link."""
        shown = self._link(response_detail=response_detail)
        body = {"_id": link_id, "name": name, "limit": _LINK_LIMIT, **shown}
        self._call(self._update_link, f"{LINK}/update", json=body, twice_is_harmless=True)

    def delete_share_link(self, link_id: str, *, app_id: str) -> None:
        """Delete a share link; one that is not there counts as deleted."""
        self._delete(f"{LINK}/delete", link_id, lambda: self.share_links(app_id))

    def ask(self, share_id: str, question: str, *, visitor: str, chat_id: str) -> Answer:
        """Ask through a share link, as a visitor does: without any login.

        Refused with the upstream's text, e.g. OneAPI's "no channel".
        """
        visit = {"chatId": chat_id, **self._visit(share_id, visitor)}
        messages = [{"role": "user", "content": question}]
        body = {"stream": False, "detail": True, "variables": {}, "messages": messages}
        response = self._send(
            "POST",
            "/api/v1/chat/completions",
            json=visit | body,
            seconds=CHAT_SECONDS,
            twice_is_harmless=True,
        )
        answer = self._json(response)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise self._refusal(response, answer)
        if failed := answer.get("error"):
            # 4.16: with HTTP 200, and whatever content there was before.
            raise self._error(Refused, response, str(failed))
        # Each passage once.
        seen: dict[str, Hit] = {}
        for node in answer.get("responseData") or []:
            for quoted in node.get("quoteList") or []:
                seen.setdefault(str(quoted.get("id") or len(seen)), self._row(Hit, quoted))
        text = _text_of(answer["choices"][0]["message"].get("content"))
        return Answer(text, tuple(seen.values()))

    def delete_api_key(self, key_id: str, *, app_id: str) -> None:
        """Delete an API key; one that is not there counts as deleted."""
        self._delete(f"{KEY}/delete", key_id, lambda: self.api_keys(app_id))

    def _of_app(self, shape: type[AnyRow], path: str, app_id: str, **more: str) -> list[AnyRow]:
        try:
            return self._rows(shape, self._call("GET", path, params={"appId": app_id, **more}))
        except Refused:
            try:
                self.app(app_id)
            except NotFound:
                return []
            raise

    def _made(self, found: Iterator[AnyRow], path: str) -> AnyRow:
        for row in found:
            return row
        raise Unexpected(self.service, f"POST {path}", "what it made, it does not list")


def _text_of(content: Json) -> str:
    """A string for one part, a list where there are several (`docs/facts/fastgpt.md §7`)."""
    if not isinstance(content, list):
        return str(content or "")
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(
        str(text.get("content") or "") if isinstance(text, dict) else str(text or "")
        for text in texts
    )

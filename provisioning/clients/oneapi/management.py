"""OneAPI's management interface: users, channels, tokens.

It answers HTTP 200 with `{"success", "message", "data"}` even when it refuses, so `success` alone
counts (`docs/facts/oneapi.md §3`).
"""

from contextlib import suppress

import httpx
import tenacity
from typing_extensions import Unpack

from provisioning.clients.errors import (
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from provisioning.clients.http import Json, Options, Request, ServiceClient, pages
from provisioning.clients.oneapi.rows import ENABLED, AnyListed, Channel, Token
from provisioning.clients.waiting import repeating

PAGE_SIZE = 10
RATE_LIMIT_SECONDS = 200.0
RATE_LIMIT_PAUSE = 10.0
FIRST_PASSWORD = "123456"  # noqa: S105 - what a fresh OneAPI has; replaced at the first contact
_LOOKUP_FAILED = "令牌验证失败"
_TOO_MANY = (
    "HTTP 429: too many requests (180 in 3 minutes, 20 logins in 20 minutes, per address); wait, "
    "or restart the OneAPI container, which forgets the count"
)


class OneApiClient(ServiceClient):
    """OneAPI as an administrator sees it; without an `access_token` only `login` works."""

    service = "OneAPI"

    def __init__(self, base_url: str, access_token: str = "", **options: Unpack[Options]) -> None:
        super().__init__(base_url, **options)
        self._access_token = access_token
        self._hide(access_token)

    def login(self, username: str, password: str) -> str:
        """Log in and take up the user's access token; returns it.

        Each login counts, whether it succeeds or not. Unauthorized where the user name or password
        is refused, or the database is down.
        """
        try:
            self._log_in(username, password)
        except RateLimited:
            raise
        except Refused as error:
            said = f"{error.answer} (a database that is down gives the same answer)"
            raise Unauthorized(self.service, error.call, said) from None
        # Not GET /api/user/token: that one makes a new token and ends the old one.
        token = str(self.me()["access_token"] or self._call("GET", "/api/user/token"))
        # A cookie would go before the token from now on.
        self._http.cookies.clear()
        self._access_token = token
        self._hide(token)
        return token

    def opens_with(self, username: str, password: str) -> bool:
        """Whether the password is still right, or too many logins keep it from being tried."""
        try:
            self._log_in(username, password, patient=False)
        except RateLimited:
            return True
        except Refused:
            self.check_database()
            return False
        finally:
            self._http.cookies.clear()
        return True

    def _log_in(self, username: str, password: str, *, patient: bool = True) -> None:
        self._hide(password)
        who, path = {"username": username, "password": password}, "/api/user/login"
        self._call("POST", path, json=who, twice_is_harmless=True, patient=patient)

    def check_database(self) -> None:
        """Unreachable if its database is down, which looks like wrong credentials elsewhere."""
        # A relay key cannot even be looked up then (docs/facts/oneapi.md §7).
        headers = {"Authorization": "Bearer sk-nobody"}
        response = self._send("GET", "/v1/models", headers=headers)
        if _LOOKUP_FAILED in response.text:
            said = "its database does not answer: look at `docker logs mysql` on the server"
            raise self._error(Unreachable, response, said)

    def me(self) -> dict[str, Json]:
        """The caller's own user: `id`, `username`, `role`, `access_token`, ..."""
        return dict(self._call("GET", "/api/user/self"))

    def set_password(self, password: str) -> None:
        """Set the caller's password, 8 to 20 characters; tokens and sessions stay valid."""
        self._hide(password)
        self._call("PUT", "/api/user/self", json={"password": password})

    def channels(self) -> list[Channel]:
        """All channels, the newest first."""

        def read(page: int) -> list[Channel]:
            return self._rows(Channel, self._call("GET", "/api/channel/", params={"p": page}))

        return list({found.id: found for found in pages(read, PAGE_SIZE)}.values())

    def channel(self, channel_id: int) -> Channel:
        """One channel; NotFound where there is none."""
        return self._listed(Channel, self._call("GET", f"/api/channel/{channel_id}"))

    def channels_named(self, name: str) -> list[Channel]:
        """All channels of exactly this name, the newest first."""
        return self._named(Channel, "channel", name)

    def create_channel(self, channel: Channel) -> int:
        """Make a channel; returns its id.

        A refused POST can leave a row behind that breaks OneAPI's start later; it is removed.
        """
        self._hide(channel.key)
        before = {found.id for found in self.channels_named(channel.name)}
        try:
            self._call("POST", "/api/channel/", json=channel.body())
        except Refused:
            for left in {found.id for found in self.channels_named(channel.name)} - before:
                self.delete_channel(left)
            raise
        made = {found.id for found in self.channels_named(channel.name)} - before
        if not made:
            said = f"it said yes, but shows no new channel named {channel.name}"
            raise Unexpected(self.service, "POST /api/channel/", said)
        return max(made)

    def update_channel(self, channel_id: int, channel: Channel) -> None:
        """Bring an existing channel to `channel`, enabled; NotFound where it is gone."""
        # A PUT to one that is gone would say yes, and leave a ghost among the models.
        self.channel(channel_id)
        self._hide(channel.key)
        self._call("PUT", "/api/channel/", json=channel.body(id=channel_id, status=ENABLED))

    def delete_channel(self, channel_id: int) -> None:
        """Delete a channel; one that is not there counts as deleted."""
        self._call("DELETE", f"/api/channel/{channel_id}")

    def token(self, token_id: int) -> Token:
        """One token; NotFound where there is none."""
        return self._listed(Token, self._call("GET", f"/api/token/{token_id}"))

    def tokens_named(self, name: str) -> list[Token]:
        """All tokens of exactly this name, the newest first."""
        return self._named(Token, "token", name)

    def create_token(self, token: Token) -> Token:
        """Make a token; OneAPI chooses its key."""
        return self._listed(Token, self._call("POST", "/api/token/", json=token.body()))

    def update_token(self, token_id: int, token: Token) -> Token:
        """Bring a token to `token`, enabled; its subnet stays. NotFound where there is none."""
        # PUT replaces all but the status, which has one of its own: refused while the stored time
        # or quota forbids it.
        row = self._call("GET", f"/api/token/{token_id}")
        kept = {"subnet": row["subnet"]} if "subnet" in row else {}
        self._call("PUT", "/api/token/", json=token.body(id=token_id, **kept))
        found = self.token(token_id)
        if found.status == ENABLED:
            return found
        enabled = {"id": token_id, "status": ENABLED}
        self._call("PUT", "/api/token/", params={"status_only": "true"}, json=enabled)
        return self.token(token_id)

    def delete_token(self, token_id: int) -> None:
        """Delete a token; one that is not there counts as deleted."""
        with suppress(NotFound):
            self._call("DELETE", f"/api/token/{token_id}")

    def _named(self, shape: type[AnyListed], kind: str, name: str) -> list[AnyListed]:
        # The search goes by prefix.
        rows = self._call("GET", f"/api/{kind}/search", params={"keyword": name}) or []
        found = [self._listed(shape, row) for row in rows if row["name"] == name]
        return sorted(found, key=lambda each: -each.id)

    def _listed(self, shape: type[AnyListed], row: Json) -> AnyListed:
        found = self._row(shape, row)
        self._hide(found.key)
        return found

    def _call(
        self, method: str, path: str, *, patient: bool = True, **request: Unpack[Request]
    ) -> Json:
        """One management call; returns `data`. A patient one waits out "too many requests"."""
        if self._access_token:
            request["headers"] = {"Authorization": self._access_token}
        # Who does not wait for a connection does not wait for a rate limit either.
        patient = patient and self._retry_seconds > 0
        again = repeating(
            tenacity.retry_if_exception_type(RateLimited),
            tenacity.wait_fixed(RATE_LIMIT_PAUSE),
            seconds=RATE_LIMIT_SECONDS if patient else 0,
            clock=self.clock,
        )
        return again(lambda: self._data(self._send(method, path, **request)))

    def _data(self, response: httpx.Response) -> Json:
        if response.status_code == 429:
            raise self._error(RateLimited, response, _TOO_MANY)
        if response.status_code == 401:
            raise self._error(Unauthorized, response)
        body = self._json(response)
        if not isinstance(body, dict) or "success" not in body:
            raise self._error(Unexpected, response)
        if body["success"]:
            return body.get("data")
        message = str(body.get("message") or "(no message)")
        if "record not found" in message:
            raise self._error(NotFound, response, message)
        kind = Unauthorized if "access token" in message.lower() else Refused
        raise self._error(kind, response, message)

"""OneAPI's management interface: options, users, channels, tokens.

It answers HTTP 200 with `{"success", "message", "data"}` even when it refuses, so `success` alone
counts (`docs/facts/oneapi.md §3`).
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import tenacity
from typing_extensions import Unpack

from provisioning.clients.http import (
    Json,
    NotFound,
    Options,
    RateLimited,
    Refused,
    ServiceClient,
    Unauthorized,
    Unexpected,
    Unreachable,
    call_of,
    said_by,
)
from provisioning.clients.oneapi.rows import (
    ENABLED,
    Channel,
    Token,
    clean_models,
    mapping_text,
    token_body,
)

PAGE_SIZE = 10
MOST_PAGES = 1000
RATE_LIMIT_SECONDS = 200.0
RATE_LIMIT_PAUSE = 10.0
FIRST_PASSWORD = "123456"  # noqa: S105 - what a fresh OneAPI has; replaced at the first contact
_NOBODY = "nobody"
_LOOKUP_FAILED = "令牌验证失败"
_KEPT = ("remain_quota", "expired_time", "unlimited_quota", "models", "subnet", "name")


class OneApiClient(ServiceClient):
    """OneAPI's management interface.

    Args:
        access_token: of an administrator; without it only `status` and `login` work.
    """

    service = "OneAPI"

    def __init__(
        self, base_url: str, *, access_token: str = "", **options: Unpack[Options]
    ) -> None:
        super().__init__(base_url, **options)
        self._access_token = access_token
        self._hide(access_token)

    def status(self) -> dict[str, Json]:
        """`version`, `start_time`, ...; says nothing about the database behind it."""
        return dict(self._call("GET", "/api/status"))

    # -- root -----------------------------------------------------------------------------------

    def login(self, username: str, password: str) -> str:
        """Log in and take up the user's access token; returns it.

        Each login counts against 20 in 20 minutes, whether it succeeds or not. A database that is
        down answers like a wrong password.

        Raises:
            Unauthorized: user name or password refused.
            RateLimited: too many logins for longer than `RATE_LIMIT_SECONDS`.
        """
        self._hide(password)
        try:
            credentials = {"username": username, "password": password}
            self._call("POST", "/api/user/login", json=credentials, twice_is_harmless=True)
        except RateLimited:
            raise
        except Refused as error:
            raise Unauthorized(
                self.service,
                error.call,
                f"{error.answer} (a database that is down gives the same answer)",
            ) from None
        # Not GET /api/user/token: that one makes a new token and ends the old one.
        token = str(self.me()["access_token"] or "")
        token = token or str(self._call("GET", "/api/user/token"))
        # A cookie would go before the token from now on.
        self._http.cookies.clear()
        self._access_token = token
        self._hide(token)
        return token

    def opens_with(self, username: str, password: str) -> bool:
        """Whether the password is still the right one. A login that counts, as each does.

        True as well where too many logins keep it from being tried.

        Raises:
            Unreachable: OneAPI's database does not answer.
        """
        self._hide(password)
        try:
            self._call(
                "POST",
                "/api/user/login",
                json={"username": username, "password": password},
                twice_is_harmless=True,
                patient=False,
            )
        except RateLimited:
            return True
        except Refused:
            self.check_database()
            return False
        finally:
            self._http.cookies.clear()
        return True

    def check_database(self) -> None:
        """Tell a database that is down from wrong credentials: logins and access tokens cannot.

        Raises:
            Unreachable: a relay key could not even be looked up (`docs/facts/oneapi.md §7`).
        """
        headers = {"Authorization": f"Bearer sk-{_NOBODY}"}
        response = self._send("GET", "/v1/models", headers=headers)
        if _LOOKUP_FAILED in response.text:
            said = "its database does not answer: look at `docker logs mysql` on the server"
            raise Unreachable(self.service, call_of(response), said)

    def me(self) -> dict[str, Json]:
        """The caller's own user: `id`, `username`, `role`, `access_token`, ..."""
        return dict(self._call("GET", "/api/user/self"))

    def set_password(self, password: str) -> None:
        """Set the caller's password, 8 to 20 characters; tokens and sessions stay valid."""
        self._hide(password)
        self._call("PUT", "/api/user/self", json={"password": password})

    # -- channels -------------------------------------------------------------------------------

    def channels(self) -> list[Channel]:
        """All channels, the newest first."""
        return [self._row(Channel, row) for row in self._all("/api/channel/")]

    def channel(self, channel_id: int) -> Channel:
        """One channel.

        Raises:
            NotFound
        """
        return self._row(Channel, self._call("GET", f"/api/channel/{channel_id}"))

    def channels_named(self, name: str) -> list[Channel]:
        """All channels of exactly this name, the newest first (the search goes by prefix)."""
        rows = self._call("GET", "/api/channel/search", params={"keyword": name}) or []
        found = [self._row(Channel, row) for row in rows if row["name"] == name]
        return sorted(found, key=lambda channel: -channel.id)

    def create_channel(self, channel: Channel) -> int:
        """Make a channel; returns its id.

        A refused POST can leave a row behind that breaks OneAPI's start later; it is removed.
        """
        before = {found.id for found in self.channels_named(channel.name)}
        try:
            self._call("POST", "/api/channel/", json=self._body(channel))
        except Refused:
            for left in self.channels_named(channel.name):
                if left.id not in before:
                    self.delete_channel(left.id)
            raise
        made = [found.id for found in self.channels_named(channel.name) if found.id not in before]
        if not made:
            said = f"it said yes, but shows no new channel named {channel.name}"
            raise Unexpected(self.service, "POST /api/channel/", said)
        return max(made)

    def update_channel(self, channel_id: int, channel: Channel) -> None:
        """Bring an existing channel to `channel`, enabled.

        Raises:
            NotFound: it is gone. (A PUT alone would say yes and leave a ghost among the models.)
        """
        self.channel(channel_id)
        self._call(
            "PUT",
            "/api/channel/",
            json={"id": channel_id, "status": ENABLED, **self._body(channel)},
        )

    def delete_channel(self, channel_id: int) -> None:
        """Delete a channel; one that is not there counts as deleted."""
        self._call("DELETE", f"/api/channel/{channel_id}")

    def _body(self, channel: Channel) -> dict[str, Json]:
        self._hide(channel.key)
        return {
            "name": channel.name,
            "type": channel.type,
            # One channel per line of the key would be made.
            "key": channel.key.strip(),
            "base_url": channel.base_url.rstrip("/"),
            "models": ",".join(clean_models(channel.models)),
            "model_mapping": mapping_text(channel.model_mapping),
            "priority": channel.priority,
            "group": "default",
        }

    # -- tokens ---------------------------------------------------------------------------------

    def token(self, token_id: int) -> Token:
        """One token.

        Raises:
            NotFound
        """
        return self._token(self._call("GET", f"/api/token/{token_id}"))

    def tokens_named(self, name: str) -> list[Token]:
        """All tokens of exactly this name, the newest first."""
        rows = self._call("GET", "/api/token/search", params={"keyword": name}) or []
        found = [self._token(row) for row in rows if row["name"] == name]
        return sorted(found, key=lambda token: -token.id)

    def create_token(self, token: Token) -> Token:
        """Make a token; OneAPI chooses its key."""
        return self._token(self._call("POST", "/api/token/", json=token_body(token)))

    def update_token(self, token_id: int, token: Token, *, set_quota: bool) -> Token:
        """Bring a token to `token`, enabled; what is left of its quota stays unless `set_quota`.

        PUT replaces everything, so what is not ours to change is read first. It does so but for the
        status, which has a PUT of its own: refused while the stored time or quota forbids it. A
        token whose quota is used up, and stays so, is left as it is.

        Raises:
            NotFound
        """
        row = self._call("GET", f"/api/token/{token_id}")
        body = {key: row[key] for key in _KEPT if key in row}
        wanted = token_body(token)
        if not set_quota:
            wanted.pop("remain_quota")
        body.update(wanted, id=token_id)
        self._call("PUT", "/api/token/", json=body)
        found = self.token(token_id)
        if found.status == ENABLED or not (found.unlimited or found.remain_quota > 0):
            return found
        enabled = {"id": token_id, "status": ENABLED}
        self._call("PUT", "/api/token/", params={"status_only": "true"}, json=enabled)
        return self.token(token_id)

    def delete_token(self, token_id: int) -> None:
        """Delete a token; one that is not there counts as deleted."""
        try:
            self._call("DELETE", f"/api/token/{token_id}")
        except NotFound:
            return

    def _token(self, row: Json) -> Token:
        found = self._row(Token, row)
        self._hide(found.key)
        return found

    # -- calls ----------------------------------------------------------------------------------

    def _all(self, path: str) -> list[dict[str, Json]]:
        rows: dict[int, dict[str, Json]] = {}
        for page in range(MOST_PAGES):
            found = self._call("GET", path, params={"p": page}) or []
            rows.update({int(row["id"]): row for row in found})
            if len(found) < PAGE_SIZE:
                break
        return list(rows.values())

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Json = None,
        twice_is_harmless: bool | None = None,
        patient: bool = True,
    ) -> Json:
        """One management call; returns `data`. A patient one waits out "too many requests"."""
        headers = {"Authorization": self._access_token} if self._access_token else None
        # Who does not wait for a connection does not wait for a rate limit either.
        patient = patient and self._retry_seconds > 0
        give_up_at = self.clock.monotonic() + RATE_LIMIT_SECONDS
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(RateLimited),
            stop=lambda _: not patient or self.clock.monotonic() >= give_up_at,
            wait=tenacity.wait_fixed(RATE_LIMIT_PAUSE),
            sleep=self.clock.sleep,
            reraise=True,
        )
        return retrying(
            lambda: self._data(
                self._send(
                    method,
                    path,
                    params=params,
                    json=json,
                    headers=headers,
                    twice_is_harmless=twice_is_harmless,
                )
            )
        )

    def _data(self, response: httpx.Response) -> Json:
        call = call_of(response)
        if response.status_code == 429:
            raise RateLimited(
                self.service,
                call,
                "HTTP 429: too many requests (180 in 3 minutes, 20 logins in 20 minutes, per "
                "address); wait, or restart the OneAPI container, which forgets the count",
            )
        if response.status_code == 401:
            raise Unauthorized(self.service, call, self._masked(said_by(response)))
        body = self._json(response)
        if not isinstance(body, dict) or "success" not in body:
            raise Unexpected(self.service, call, self._masked(said_by(response)))
        if body["success"]:
            return body.get("data")
        message = self._masked(str(body.get("message") or "(no message)"))
        if "record not found" in message:
            raise NotFound(self.service, call, message)
        if "access token" in message.lower():
            raise Unauthorized(self.service, call, message)
        raise Refused(self.service, call, message)

"""OneAPI's tables over a `Store`: what its queries find and what its constraints refuse.

The statements are those of v0.6.6: a channel row and its abilities are written one after the other
and not together, which is how half-made rows come about (docs/facts/oneapi.md §4).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import re
import threading
import time
from typing import Any

from rehearsal.doubles.oneapi.go_json import Json
from rehearsal.doubles.oneapi.rows import (
    ADMIN,
    AUTO_DISABLED,
    DISABLED,
    ENABLED,
    ITEMS_PER_PAGE,
    Ability,
    Channel,
    Token,
    User,
)
from rehearsal.doubles.oneapi.store import Store

_MYSQL_WIDTHS = {
    "channels": {"name": 191, "base_url": 191, "group": 32, "model_mapping": 1024},
    "tokens": {"name": 191, "key": 48, "models": 191, "subnet": 191},
    "abilities": {"group": 32, "model": 191},
    "users": {"username": 191, "access_token": 32},
}
_POINTERS = ("weight", "base_url", "model_mapping", "priority")
_ROUNDS = 20_000


class TableError(Exception):
    """The database refused; the text is the one the API passes on."""


class NotFoundError(TableError):
    """No such row."""

    def __init__(self) -> None:
        super().__init__("record not found")


class Tables:
    """All tables of one OneAPI."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()

    # users

    def users(self) -> list[User]:
        """All users, oldest first."""
        return [User.of(row) for row in self._rows("users")]

    def user(self, user_id: int) -> User:
        """Raises NotFoundError."""
        row = self._store.get("users", str(user_id))
        if row is None:
            raise NotFoundError
        return User.of(row)

    def user_named(self, name: str) -> User | None:
        """The user with that login name."""
        return next((user for user in self.users() if self._same(user.username, name)), None)

    def user_with_access_token(self, token: str) -> User | None:
        """The user whose access token it is."""
        found = (user for user in self.users() if self._same(user.access_token, token))
        return next(found, None)

    def add_user(self, user: User, password: str) -> User:
        """Insert; raises TableError when the name is taken."""
        with self._lock:
            if self.user_named(user.username):
                raise self._duplicate("users.username", user.username)
            user.id = self._next_id("users")
            user.password = _hash(password)
            self._save("users", user.id, user.as_json())
            return user

    def update_user(self, user_id: int, changes: dict[str, Any]) -> None:
        """Set the non-empty columns of `changes`; a password comes in plain and is hashed here."""
        with self._lock:
            user = self.user(user_id)
            changes = {name: value for name, value in changes.items() if value}
            taken = self.user_named(changes.get("username", user.username))
            if taken is not None and taken.id != user_id:
                raise self._duplicate("users.username", changes["username"])
            if "password" in changes:
                changes["password"] = _hash(changes["password"])
            self._save("users", user_id, {**user.as_json(), **changes})

    def consume(self, user_id: int, token_id: int, channel_id: int, quota: int) -> None:
        """Book a finished call on the user, on a limited token, and on the channel."""
        with self._lock:
            self._add("users", user_id, {"quota": -quota, "used_quota": quota, "request_count": 1})
            self._add("channels", channel_id, {"used_quota": quota})
            token = self._store.get("tokens", str(token_id))
            if token and not token["unlimited_quota"]:
                self._add("tokens", token_id, {"remain_quota": -quota, "used_quota": quota})
                self._set("tokens", token_id, accessed_time=int(time.time()))

    # tokens

    def tokens(self, user_id: int) -> list[Token]:
        """A user's tokens, oldest first."""
        rows = (Token.of(row) for row in self._rows("tokens"))
        return [token for token in rows if token.user_id == user_id]

    def tokens_page(self, user_id: int, page: int) -> list[Token]:
        """Ten of a user's tokens, newest first; `page` counts from 0."""
        return _page(self.tokens(user_id), page)

    def tokens_like(self, user_id: int, prefix: str) -> list[Token]:
        """A user's tokens by name, as LIKE finds them."""
        pattern = _like(prefix)
        return [token for token in self.tokens(user_id) if pattern.fullmatch(token.name)]

    def token(self, token_id: int, user_id: int) -> Token:
        """Raises NotFoundError, TableError for id 0."""
        if not token_id:
            raise TableError("id 或 userId 为空！")
        row = self._store.get("tokens", str(token_id))
        if row is None or row["user_id"] != user_id:
            raise NotFoundError
        return Token.of(row)

    def token_by_key(self, key: str) -> Token:
        """Raises NotFoundError, and StoreError when the database is away."""
        for row in self._rows("tokens"):
            if self._same(row["key"], key):
                return Token.of(row)
        raise NotFoundError

    def add_token(self, token: Token) -> Token:
        """Insert, with the table's defaults for what is zero."""
        with self._lock:
            token.with_defaults()
            self._check_widths("tokens", token.as_json())
            token.id = self._next_id("tokens", token.id)
            self._save("tokens", token.id, token.as_json())
            return token

    def save_token(self, token: Token) -> None:
        """Write every column."""
        with self._lock:
            self._check_widths("tokens", token.as_json())
            self._save("tokens", token.id, token.as_json())

    def delete_token(self, token_id: int, user_id: int) -> None:
        """Raises NotFoundError."""
        self._store.delete("tokens", str(self.token(token_id, user_id).id))

    # channels

    def channels(self) -> list[Channel]:
        """All channels, oldest first."""
        return [Channel.of(row) for row in self._rows("channels")]

    def channels_page(self, page: int) -> list[Channel]:
        """Ten channels, newest first; `page` counts from 0."""
        return _page(self.channels(), page)

    def channels_like(self, keyword: str) -> list[Channel]:
        """By name as LIKE finds them, or by id."""
        pattern, number = _like(keyword), _atoi(keyword)
        return [
            channel
            for channel in self.channels()
            if channel.id == number or pattern.fullmatch(channel.name)
        ]

    def channel(self, channel_id: int) -> Channel:
        """Raises NotFoundError."""
        row = self._store.get("channels", str(channel_id))
        if row is None:
            raise NotFoundError
        return Channel.of(row)

    def add_channels(self, channels: list[Channel]) -> None:
        """All rows at once, then the abilities of each: a refusal there leaves the rows."""
        if not channels:
            raise TableError("empty slice found")
        with self._lock:
            for channel in channels:
                self._check_widths("channels", channel.with_defaults().as_json())
                if channel.id and self._store.get("channels", str(channel.id)):
                    raise self._duplicate("channels.id", str(channel.id))
            for channel in channels:
                channel.id = self._next_id("channels", channel.id)
                self._save("channels", channel.id, channel.as_json())
            for channel in channels:
                self._add_abilities(channel)

    def update_channel(self, given: Channel) -> Channel:
        """Set what was given, rebuild the abilities, return the row.

        A missing id is not noticed: abilities are written for a channel that does not exist.
        """
        if not given.id:
            raise TableError("WHERE conditions required")
        with self._lock:
            row = self._store.get("channels", str(given.id))
            if row is not None:
                row = {**row, **_given_columns(given)}
                self._check_widths("channels", row)
                self._save("channels", given.id, row)
                given = Channel.of(row)
            self._store.delete("abilities", str(given.id))
            self._add_abilities(given)
            return given

    def delete_channel(self, channel_id: int) -> None:
        """Row and abilities; a missing one is no error."""
        with self._lock:
            self._store.delete("channels", str(channel_id))
            self._store.delete("abilities", str(channel_id))

    def delete_disabled_channels(self) -> int:
        """Rows only: their abilities stay behind. Returns how many went."""
        with self._lock:
            gone = [row for row in self.channels() if row.status in (DISABLED, AUTO_DISABLED)]
            for channel in gone:
                self._store.delete("channels", str(channel.id))
            return len(gone)

    def disable_channel(self, channel_id: int) -> None:
        """What OneAPI itself does to a failing channel, where that is switched on."""
        with self._lock:
            abilities = self._store.get("abilities", str(channel_id)) or []
            for ability in abilities:
                ability["enabled"] = False
            self._store.put("abilities", str(channel_id), abilities)
            self._set("channels", channel_id, status=AUTO_DISABLED)

    def tested_channel(self, channel_id: int, milliseconds: int) -> None:
        """Remember a channel test."""
        now = int(time.time())
        self._set("channels", channel_id, response_time=milliseconds, test_time=now)

    # abilities

    def abilities(self) -> list[Ability]:
        """All abilities."""
        stored = self._store.list("abilities")
        return [Ability.of(row) for rows in stored.values() for row in rows]

    def models_of(self, group: str) -> list[str]:
        """The models that some enabled ability serves to `group`, sorted."""
        found = (row for row in self.abilities() if row.enabled and self._same(row.group, group))
        return sorted({row.model for row in found})

    def channel_for(self, group: str, model: str, any_priority: bool = False) -> Channel | None:
        """A random channel of the highest priority, or None when no ability fits.

        Raises:
            NotFoundError: the ability's channel is gone.
        """
        fitting = [
            row
            for row in self.abilities()
            if row.enabled and self._same(row.group, group) and self._same(row.model, model)
        ]
        if not fitting:
            return None
        if not any_priority:
            highest = max(row.priority for row in fitting)
            fitting = [row for row in fitting if row.priority == highest]
        return self.channel(random.choice(fitting).channel_id)

    # options

    def options(self) -> dict[str, str]:
        """The options that were ever set."""
        return self._store.list("options")

    def set_option(self, key: str, value: str) -> None:
        """Write one option."""
        self._store.put("options", key, value)

    def is_admin(self, user_id: int) -> bool:
        """Whether the user is an administrator or root."""
        return self.user(user_id).role >= ADMIN

    # how rows are kept

    def _rows(self, table: str) -> list[dict[str, Any]]:
        stored: dict[str, dict[str, Any]] = self._store.list(table)
        return [stored[key] for key in sorted(stored, key=int)]

    def _save(self, table: str, row_id: int, row: dict[str, Any]) -> None:
        self._store.put(table, str(row_id), row)

    def _set(self, table: str, row_id: int, **columns: Json) -> None:
        with self._lock:
            row = self._store.get(table, str(row_id))
            if row is not None:
                self._save(table, row_id, {**row, **columns})

    def _add(self, table: str, row_id: int, amounts: dict[str, int]) -> None:
        row = self._store.get(table, str(row_id))
        if row is not None:
            self._set(table, row_id, **{name: row[name] + n for name, n in amounts.items()})

    def _next_id(self, table: str, wanted: int = 0) -> int:
        last: int = self._store.get("sequences", table) or 0
        self._store.put("sequences", table, max(wanted, last + (0 if wanted else 1)))
        return wanted or last + 1

    def _add_abilities(self, channel: Channel) -> None:
        rows = [
            Ability(
                group, model, channel.id, channel.status == ENABLED, channel.priority or 0
            ).as_json()
            for model in channel.models.split(",")
            for group in channel.group.split(",")
        ]
        for row in rows:
            self._check_widths("abilities", row)
        self._check_unique(rows)
        self._store.put("abilities", str(channel.id), rows)

    def _check_unique(self, rows: list[dict[str, Any]]) -> None:
        seen: set[tuple[str, str]] = set()
        for row in rows:
            key = (self._folded(row["group"]), self._folded(row["model"]))
            if key in seen:
                columns = "abilities.group, abilities.model, abilities.channel_id"
                entry = f"{row['group']}-{row['model']}-{row['channel_id']}"
                raise self._duplicate(columns, entry)
            seen.add(key)

    def _check_widths(self, table: str, row: dict[str, Any]) -> None:
        if not self._store.mysql:
            return
        for column, width in _MYSQL_WIDTHS[table].items():
            if len(row[column] or "") > width:
                raise TableError(
                    f"Error 1406 (22001): Data too long for column '{column}' at row 1"
                )

    def _duplicate(self, columns: str, entry: str) -> TableError:
        if self._store.mysql:
            return TableError(f"Error 1062 (23000): Duplicate entry '{entry}' for key 'PRIMARY'")
        return TableError(f"UNIQUE constraint failed: {columns}")

    def _same(self, one: str, other: str) -> bool:
        return self._folded(one) == self._folded(other)

    def _folded(self, text: str) -> str:
        return text.casefold() if self._store.mysql else text


def check_password(password: str, hashed: str) -> bool:
    """Whether `hashed` was made from `password`."""
    salt, _, expected = hashed.partition("$")
    return hmac.compare_digest(_derive(password, bytes.fromhex(salt)), expected)


def _hash(password: str) -> str:
    salt = os.urandom(16)
    return f"{salt.hex()}${_derive(password, salt)}"


def _derive(password: str, salt: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS).hex()


def _given_columns(channel: Channel) -> dict[str, Any]:
    """What a partial update sets: pointers that were given, everything else that is not zero."""
    row = channel.as_json()
    return {
        name: value
        for name, value in row.items()
        if (value is not None if name in _POINTERS else value)
    }


def _page(rows: list[Any], page: int) -> list[Any]:
    start = max(page, 0) * ITEMS_PER_PAGE
    return rows[::-1][start : start + ITEMS_PER_PAGE]


def _like(prefix: str) -> re.Pattern[str]:
    """`LIKE prefix%`: neither `%` nor `_` is escaped, and case does not count."""
    wild = {"%": ".*", "_": "."}
    pattern = "".join(wild.get(character) or re.escape(character) for character in prefix)
    return re.compile(pattern + ".*", re.S | re.I)


def _atoi(text: str) -> int:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else 0

"""The rows of OneAPI's tables, in the JSON order and with the defaults of v0.6.6."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

ENABLED, DISABLED, AUTO_DISABLED = 1, 2, 3
"""Channel states. The first two hold for tokens too."""
TOKEN_EXPIRED, TOKEN_EXHAUSTED = 3, 4
COMMON_USER, ADMIN, ROOT = 1, 10, 100
NEVER = -1
QUOTA_OF_ROOT = 500_000_000_000_000
ITEMS_PER_PAGE = 10

CHANNEL_SHAPE = {
    "id": "int",
    "type": "int",
    "key": "string",
    "status": "int",
    "name": "string",
    "weight": "*uint",
    "created_time": "int64",
    "test_time": "int64",
    "response_time": "int",
    "base_url": "*string",
    "other": "string",
    "balance": "float64",
    "balance_updated_time": "int64",
    "models": "string",
    "group": "string",
    "used_quota": "int64",
    "model_mapping": "*string",
    "priority": "*int64",
    "config": "string",
}
TOKEN_SHAPE = {
    "id": "int",
    "user_id": "int",
    "key": "string",
    "status": "int",
    "name": "string",
    "created_time": "int64",
    "accessed_time": "int64",
    "expired_time": "int64",
    "remain_quota": "int64",
    "unlimited_quota": "bool",
    "used_quota": "int64",
    "models": "*string",
    "subnet": "*string",
}
USER_SHAPE = {
    "id": "int",
    "username": "string",
    "password": "string",
    "display_name": "string",
    "role": "int",
    "status": "int",
    "email": "string",
    "access_token": "string",
    "quota": "int64",
    "group": "string",
}


Kind = TypeVar("Kind", bound="Row")


@dataclass
class Row:
    """A row that knows how to be JSON and how to come from it."""

    def as_json(self) -> dict[str, Any]:
        """All columns."""
        return asdict(self)

    @classmethod
    def of(cls: type[Kind], value: dict[str, Any]) -> Kind:
        """The row in `value`, unknown columns left out."""
        names = {column.name for column in fields(cls)}
        return cls(**{name: column for name, column in value.items() if name in names})


@dataclass
class Channel(Row):
    """A channel. None in a pointer column means "not given"."""

    id: int = 0
    type: int = 0
    key: str = ""
    status: int = 0
    name: str = ""
    weight: int | None = None
    created_time: int = 0
    test_time: int = 0
    response_time: int = 0
    base_url: str | None = None
    other: str = ""
    balance: float = 0
    balance_updated_time: int = 0
    models: str = ""
    group: str = ""
    used_quota: int = 0
    model_mapping: str | None = None
    priority: int | None = None
    config: str = ""

    def with_defaults(self) -> Channel:
        """What a table's defaults make of columns that were not given or zero."""
        self.status = self.status or ENABLED
        self.group = self.group or "default"
        self.weight = self.weight or 0
        self.base_url = self.base_url or ""
        self.model_mapping = self.model_mapping or ""
        self.priority = self.priority or 0
        return self

    def shown(self) -> dict[str, Any]:
        """As GET, list and search show it: without the key (docs/facts/oneapi.md §4)."""
        return {**self.as_json(), "key": ""}


@dataclass
class Ability(Row):
    """That a channel serves a model to a group."""

    group: str
    model: str
    channel_id: int
    enabled: bool
    priority: int


@dataclass
class Token(Row):
    """A relay token; `key` is without `sk-`."""

    id: int = 0
    user_id: int = 0
    key: str = ""
    status: int = 0
    name: str = ""
    created_time: int = 0
    accessed_time: int = 0
    expired_time: int = 0
    remain_quota: int = 0
    unlimited_quota: bool = False
    used_quota: int = 0
    models: str | None = None
    subnet: str | None = None

    def with_defaults(self) -> Token:
        """What a table's defaults make of columns that were not given or zero."""
        self.status = self.status or ENABLED
        self.expired_time = self.expired_time or NEVER
        self.models = self.models or ""
        self.subnet = self.subnet or ""
        return self


@dataclass
class User(Row):
    """A user; `password` is a hash."""

    id: int = 0
    username: str = ""
    password: str = ""
    display_name: str = ""
    role: int = COMMON_USER
    status: int = ENABLED
    email: str = ""
    github_id: str = ""
    wechat_id: str = ""
    lark_id: str = ""
    verification_code: str = ""
    access_token: str = ""
    quota: int = 0
    used_quota: int = 0
    request_count: int = 0
    group: str = "default"
    aff_code: str = ""
    inviter_id: int = 0

    def shown(self) -> dict[str, Any]:
        """As GET self shows it: without the password, with the access token in clear."""
        return {**self.as_json(), "password": ""}

    def at_login(self) -> dict[str, Any]:
        """As the login's answer shows it: a few columns, the others empty."""
        kept = User(self.id, self.username, "", self.display_name, self.role, self.status)
        kept.group = ""
        return kept.as_json()

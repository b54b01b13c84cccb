"""Root's session with FastGPT, and how its answers are judged.

Every answer but a chat's is `{"code", "statusText", "message", "data"}`; `code` alone counts, the
HTTP status does not, and a missing object is not a 404 (`docs/facts/fastgpt.md §0, §10`). What each
edition does in its own way stands in `seeds.py` and `current.py`.
"""

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias, TypeVar

import httpx
from typing_extensions import Unpack

from provisioning.clients.errors import (
    NotFound,
    Refused,
    ServiceError,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from provisioning.clients.fastgpt.rows import InitData, NamedRow
from provisioning.clients.http import Json, Options, Request, ServiceClient
from provisioning.clients.waiting import FIRST_PAUSE, Waiting, wait_until

ACCOUNT = "/api/support/user/account"
INIT_DATA = "/api/common/system/getInitData"
VECTORS_SECONDS = 25.0
_BAD_CREDENTIAL = frozenset({403, 514})

AnyNamed = TypeVar("AnyNamed", bound=NamedRow)
Listed: TypeAlias = Callable[[], Iterable[NamedRow]]
"""FastGPT's own list of what there is."""


@dataclass
class SharedToken:
    """One session of several clients: who finds it ended opens the next, for all of them."""

    value: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Session(ServiceClient, ABC):
    """FastGPT as root sees it; logs in by itself, or goes on with an earlier session's `token`."""

    service = "FastGPT"
    start_advice: ClassVar[str]
    """What to do where it does not come up."""
    stuck_advice: ClassVar[str]
    """Where the word of a failing embedding model is found."""
    embedding_failed: ClassVar[re.Pattern[str]]
    """That word, and as its group `model`, where it tells, which one failed."""
    login_seconds: ClassVar[float] = 60.0
    login_pauses: ClassVar[tuple[float, float]] = (FIRST_PAUSE, 2.0)
    """Seconds between two tries to log in: at first, and at the most."""
    login_waits_for: ClassVar[tuple[type[ServiceError], ...]] = (Unreachable,)
    """Errors of a login that count as "not yet"."""
    login_advice: ClassVar[str]

    def __init__(
        self,
        base_url: str,
        *,
        password: str = "",
        token: str | SharedToken = "",
        progress: Callable[[str], None] = lambda _: None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(base_url, **options)
        self._password = password
        self._progress = progress
        self._session = token if isinstance(token, SharedToken) else SharedToken(token)
        self._hide(password, self.token)

    @property
    def token(self) -> str:
        """Of the session, "" before the first."""
        return self._session.value

    @abstractmethod
    def init_data(self) -> InitData:
        """What it runs with; Unexpected or Refused while it is being set up."""

    @abstractmethod
    def vector_problem(self) -> str:
        """Why it cannot get at its vectors in PostgreSQL; "" where nothing says so."""

    @abstractmethod
    def _log_in(self, digest: str) -> str | Waiting:
        """Try to log root in with the password's sha256; the token."""

    @abstractmethod
    def _gone(self, error: Refused, object_id: str, listed: Listed) -> bool:
        """Whether a refusal about one thing means that it is not there."""

    def login(self) -> str:
        """Open a session of 7 days, once root is made; its token. Unauthorized: wrong password."""
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        self._hide(digest)
        self._session.value = wait_until(
            "root to be logged in",
            lambda: self._log_in(digest),
            service=self.service,
            deadline=self.login_seconds,
            advice=self.login_advice,
            first_pause=self.login_pauses[0],
            every=self.login_pauses[1],
            tolerate=self.login_waits_for,
            clock=self.clock,
            progress=self._progress,
        )
        self._http.cookies.clear()
        self._hide(self.token)
        return self.token

    def end_sessions(self) -> None:
        """End all of root's, where another password does not end them by itself."""

    def _wrong_password(self, error: Refused) -> Unauthorized:
        said = (
            f"{error.answer}. If root's password was changed in the web page: FastGPT sets "
            "the lab's again at its start, so `docker restart fastgpt` on the server helps"
        )
        return Unauthorized(self.service, error.call, said)

    def _call(self, method: str, path: str, **request: Unpack[Request]) -> Json:
        """One call in root's session; a session that has expired is opened again, once."""
        token = self.token
        if token:
            with suppress(Unauthorized):
                return self._open(method, path, token, **request)
        self._renew(token)
        return self._open(method, path, self.token, **request)

    def _renew(self, ended: str) -> None:
        """Open the session that comes after this one, unless another client has."""
        with self._session.lock:
            if self.token == ended:
                self.login()
        self._hide(self.token)

    def _read(self, path: str, body: Json, **request: Unpack[Request]) -> Json:
        """A POST that may be repeated: it only reads, or does the same when done twice."""
        return self._call("POST", path, **{**request, "json": body, "twice_is_harmless": True})

    def _one(
        self, shape: type[AnyNamed], path: str, params: Mapping[str, str], listed: Listed
    ) -> AnyNamed:
        """One thing, whose id is in `params`; NotFound where FastGPT has it no more."""
        try:
            found = self._row(shape, self._call("GET", path, params=params))
        except Refused as error:
            (object_id,) = params.values()
            if not self._gone(error, object_id, listed):
                raise
            raise NotFound(self.service, error.call, error.answer) from None
        if found.deleted:
            raise NotFound(self.service, f"GET {path}", f"deleted at {found.deleted}")
        return found

    def _delete(
        self, path: str, object_id: str, listed: Listed, **request: Unpack[Request]
    ) -> None:
        """Delete one thing; refused, and not there, is as good."""
        request["params"] = {"id": object_id}
        try:
            self._call("DELETE", path, **request)
        except Refused as error:
            if not self._gone(error, object_id, listed):
                raise

    def _open(self, method: str, path: str, token: str = "", **request: Unpack[Request]) -> Json:
        request["headers"] = {"token": token} if token else {}
        response = self._send(method, path, **request)
        body = self._json(response)
        if isinstance(body, dict) and body.get("code") == 200:
            return body.get("data")
        raise self._refusal(response, body)

    def _refusal(self, response: httpx.Response, body: Json) -> ServiceError:
        if not isinstance(body, dict) or "code" not in body:
            return self._error(Unexpected, response)
        parts = (body["code"], body.get("statusText"), body.get("message"))
        said = " ".join(str(part) for part in parts if part)
        return self._error(self._kind(body["code"]), response, said)

    def _kind(self, code: Json) -> type[Refused]:
        return Unauthorized if code in _BAD_CREDENTIAL else Refused

"""Root's session with FastGPT, and how its answers are judged.

Every answer but a chat's is `{"code", "statusText", "message", "data"}`; `code` alone counts, the
HTTP status does not, and a missing object is not a 404 (`docs/facts/fastgpt.md §0, §10`). That
something is gone is therefore concluded from FastGPT's own lists.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

import httpx
from typing_extensions import Unpack

from provisioning.clients.errors import NotFound, Refused, ServiceError, Unauthorized, Unexpected
from provisioning.clients.fastgpt.rows import InitData, NamedRow
from provisioning.clients.http import AnyRow, Json, Options, Request, ServiceClient
from provisioning.clients.waiting import Waiting, wait_until

LOGIN_SECONDS = 60.0
VECTORS_SECONDS = 25.0
_NOT_REGISTERED = "用户未注册"
_BAD_CREDENTIAL = frozenset({403, 514})

Listed: TypeAlias = Callable[[], Iterable[NamedRow]]
"""FastGPT's own list of what there is."""


class Session(ServiceClient):
    """FastGPT as root sees it; logs in by itself, or goes on with an earlier session's `token`."""

    service = "FastGPT"

    def __init__(
        self, base_url: str, *, password: str = "", token: str = "", **options: Unpack[Options]
    ) -> None:
        super().__init__(base_url, **options)
        self._password = password
        self.token = token
        self._hide(password, token)

    def init_data(self) -> InitData:
        """What it runs with; Unexpected while it is being set up.

        The first call starts FastGPT's lazy set-up, so never two at a time.
        """
        return self._row(InitData, self._open("GET", "/api/common/system/getInitData"))

    def count_vectors(self) -> int:
        """Vectors stored for root's team: the cheapest call that needs PostgreSQL (and MongoDB).

        With PostgreSQL away, or without its table, this is Refused, or Unreachable where it hangs
        (FastGPT dials for 20 seconds); others answer as ever (`docs/facts/measured.md §1 F3`).
        """
        path = "/api/support/user/team/plan/getTeamPlanStatus"
        return int(self._call("GET", path, seconds=VECTORS_SECONDS)["usedDatasetSize"])

    def login(self) -> str:
        """Open a session of 7 days, once root is made; its token. Unauthorized: wrong password."""
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        self._hide(digest)
        self.token = wait_until(
            "user root to exist",
            lambda: self._log_in(digest),
            service=self.service,
            deadline=LOGIN_SECONDS,
            advice="see the log of the fastgpt container; MongoDB must run as a replica set",
            clock=self.clock,
        )
        self._http.cookies.clear()
        self._hide(self.token)
        return self.token

    def _log_in(self, digest: str) -> str | Waiting:
        path = "/api/support/user/account/loginByPassword"
        who = {"username": "root", "password": digest}
        try:
            data = self._open("POST", path, json=who, twice_is_harmless=True)
        except Refused as error:
            if _NOT_REGISTERED in error.answer:
                return Waiting(error.answer)
            said = (
                f"{error.answer}. If root's password was changed in the web page: FastGPT sets "
                "the lab's again at its start, so `docker restart fastgpt` on the server helps"
            )
            raise Unauthorized(self.service, error.call, said) from None
        return str(data["token"])

    def _call(self, method: str, path: str, **request: Unpack[Request]) -> Json:
        """One call in root's session; a session that has expired is opened again, once."""
        if self.token:
            with suppress(Unauthorized):
                return self._open(method, path, self.token, **request)
        self.login()
        return self._open(method, path, self.token, **request)

    def _read(self, path: str, body: Json, **request: Unpack[Request]) -> Json:
        """A POST that may be repeated: it only reads, or does the same when done twice."""
        return self._call("POST", path, **{**request, "json": body, "twice_is_harmless": True})

    def _one(
        self, shape: type[AnyRow], path: str, params: Mapping[str, str], listed: Listed
    ) -> AnyRow:
        """One thing, whose id is in `params`; NotFound where FastGPT's list does not show it."""
        try:
            return self._row(shape, self._call("GET", path, params=params))
        except Refused as error:
            if any(row.id in params.values() for row in listed()):
                raise
            raise NotFound(self.service, error.call, error.answer) from None

    def _delete(self, path: str, object_id: str, listed: Listed) -> None:
        """Delete one thing; refused, and not in FastGPT's list, is as good."""
        try:
            self._call("DELETE", path, params={"id": object_id})
        except Refused:
            if any(row.id == object_id for row in listed()):
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
        kind = Unauthorized if body["code"] in _BAD_CREDENTIAL else Refused
        return self._error(kind, response, " ".join(str(part) for part in parts if part))

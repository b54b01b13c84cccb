"""What the clients share: calls over HTTP, and rows as the services show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypedDict, TypeVar

import httpx
import tenacity
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from typing_extensions import Unpack

from provisioning.clients.errors import ServiceError, Unexpected, Unreachable
from provisioning.clients.waiting import SYSTEM_CLOCK, Clock, repeating

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
Json: TypeAlias = Any
"""Whatever a service answers, decoded."""

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
RETRY_SECONDS = 30.0
MOST_PAGES = 1000
SHORTEST_SECRET = 6
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)


def pages(read: Callable[[int], list[T]], size: int) -> Iterator[T]:
    """The rows of page after page, from 0 to the first that is not full; some may come twice."""
    for number in range(MOST_PAGES):
        yield from (rows := read(number))
        if len(rows) < size:
            return


class Row(BaseModel):
    """One thing as a service shows it: frozen; more keys are let be, a null is as good as none."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Json) -> Json:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None}


AnyRow = TypeVar("AnyRow", bound=Row)
ErrorKind: TypeAlias = Callable[[str, str, str], ServiceError]


class Options(TypedDict, total=False):
    """What every client takes beside its address; calls are repeated for `retry_seconds`."""

    transport: httpx.BaseTransport | None
    answer_seconds: float
    retry_seconds: float
    clock: Clock


class Request(TypedDict, total=False):
    """What every client's calls take beside method and path: httpx's, and two of our own.

    `seconds`: for this one answer. `twice_is_harmless`: it may be repeated though it may have
    arrived; unsaid, what is no POST.
    """

    params: Mapping[str, str | int]
    headers: Mapping[str, str]
    json: Json
    data: Mapping[str, str]
    files: Mapping[str, tuple[str, bytes, str]]
    seconds: float
    twice_is_harmless: bool


class ServiceClient:
    """Base of the clients: one service at `base_url`, e.g. `http://127.0.0.1:41234`.

    Environment proxies are ignored (`trust_env=False`): the address is this machine's own tunnel.
    """

    service: ClassVar[str] = "service"

    def __init__(self, base_url: str, **options: Unpack[Options]) -> None:
        self.base_url = base_url.rstrip("/")
        self.clock = options.get("clock", SYSTEM_CLOCK)
        self._retry_seconds = options.get("retry_seconds", RETRY_SECONDS)
        self._answer_seconds = options.get("answer_seconds", ANSWER_SECONDS)
        self._secrets: set[str] = set()
        self._http = httpx.Client(
            base_url=self.base_url, transport=options.get("transport"), trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _send(self, method: str, path: str, **request: Unpack[Request]) -> httpx.Response:
        """One call, repeated over a failing connection for `retry_seconds`, then Unreachable."""
        seconds = request.pop("seconds", self._answer_seconds)
        repeatable = request.pop("twice_is_harmless", method != "POST")
        again = repeating(
            tenacity.retry_if_exception_type(httpx.TransportError if repeatable else _UNSENT),
            tenacity.wait_exponential(multiplier=0.25, max=3),
            seconds=self._retry_seconds,
            clock=self.clock,
        )
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            return again(self._http.request, method, path, timeout=timeout, **request)
        except httpx.TransportError as error:
            said = f"{type(error).__name__} {error}".strip().rstrip(".")
            advice = "does it run? `docker ps -a` on the server shows it"
            raise Unreachable(self.service, f"{method} {path}", f"{said}; {advice}") from None

    def _row(self, shape: type[AnyRow], data: Json) -> AnyRow:
        """What a service answered, as a row; Unexpected says which fields, never their content."""
        try:
            return shape.model_validate(data)
        except ValidationError as error:
            wrong = [f"{e['loc']}: {e['msg']}" for e in error.errors(include_input=False)]
            said = f"no {shape.__name__.lower()} as we know it: {'; '.join(wrong)}"
            raise Unexpected(self.service, "answer", said) from None

    def _rows(self, shape: type[AnyRow], data: Iterable[Json] | None) -> list[AnyRow]:
        """A list of rows; a null is an empty one."""
        return [self._row(shape, each) for each in data or ()]

    def _hide(self, *secrets: str) -> None:
        """Keep these out of every later error text; services do echo what they are sent."""
        self._secrets.update(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)

    def _error(self, kind: ErrorKind, response: httpx.Response, said: str = "") -> ServiceError:
        """An error about an answer: what the service said of it, or the answer itself."""
        # Without the query: it may hold a name.
        call = f"{response.request.method} {response.request.url.path}"
        said = said or f"HTTP {response.status_code} {response.text or '(empty body)'}"
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return kind(self.service, call, said)

    def _json(self, response: httpx.Response) -> Json:
        """The body as JSON; Unexpected where it is none."""
        try:
            return response.json()
        except ValueError:
            raise self._error(Unexpected, response) from None

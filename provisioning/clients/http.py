"""What the clients share: one exception tree, one HTTP client, one way of waiting.

Exceptions:

* ServiceError: base; says which service, which call, what it answered
  * Unreachable: no usable answer at all (no connection, it broke, or it took too long)
  * Unexpected: an answer, but not one that the contract knows (a proxy's page, a wrong port)
  * Refused: the service understood and said no
    * Unauthorized: the credential is missing, wrong or has expired
    * NotFound: the service itself says that the thing is not there
    * Conflict: it is there already, or more than once
    * Busy: not now (a model that is still loading)
    * RateLimited: too many calls
  * DeadlineExceeded: waited, and it did not come: what for, what was seen last, what to do

"Gone" is only ever concluded from NotFound. Unreachable never means gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypedDict, TypeVar

import httpx
import tenacity
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from typing_extensions import Unpack

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
Json: TypeAlias = Any
"""Whatever a service answers, decoded."""

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
RETRY_SECONDS = 30.0
ANSWER_LENGTH = 600
SHORTEST_SECRET = 6


class ServiceError(Exception):
    """Base of everything that can go wrong between the lab and one of its services.

    Attributes:
        service: e.g. `OneAPI`.
        call: e.g. `POST /api/channel/`; never with a secret in it.
        answer: what came back, shortened.
    """

    def __init__(self, service: str, call: str, answer: str) -> None:
        self.service = service
        self.call = call
        self.answer = shorten(answer)
        super().__init__(f"{service}: {call}: {self.answer}")


class Unreachable(ServiceError):
    """No usable answer: not connected, cut off, or too slow."""


class Unexpected(ServiceError):
    """An answer that the contract does not know."""


class Refused(ServiceError):
    """The service understood, and said no."""


class Unauthorized(Refused):
    """The credential is missing, wrong or expired."""


class NotFound(Refused):
    """The service itself says that it has no such thing."""


class Conflict(Refused):
    """It exists already, or there is more than one of it."""


class Busy(Refused):
    """It is there, but cannot answer yet."""


class RateLimited(Refused):
    """Too many calls in the service's time window."""


class DeadlineExceeded(ServiceError):
    """Something did not happen in time.

    Attributes:
        waited_for: what should have happened.
        last_seen: the last state observed.
        advice: what the operator can do.
    """

    def __init__(self, service: str, waited_for: str, last_seen: str, advice: str) -> None:
        self.waited_for = waited_for
        self.last_seen = shorten(last_seen)
        self.advice = advice
        said = f"waited in vain for {waited_for}; last seen: {self.last_seen}"
        super().__init__(service, said, advice or "no advice")


def shorten(text: str) -> str:
    """`text` on one line, at most some hundred characters."""
    line = " ".join(text.split())
    return line if len(line) <= ANSWER_LENGTH else line[: ANSWER_LENGTH - 3] + "..."


class Clock(Protocol):
    """Time, so that no test has to wait for it."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The time of day in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True)
class Waiting:
    """What `wait_until`'s look returns while the thing has not happened: the state it saw."""

    seen: str


def wait_until(
    what: str,
    look: Callable[[], T | Waiting],
    *,
    service: str,
    deadline: float,
    advice: str = "",
    every: float = 2.0,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[str], None] | None = None,
    tolerate: tuple[type[ServiceError], ...] = (Unreachable,),
) -> T:
    """Look again and again until `look` returns something other than `Waiting`.

    Args:
        deadline: seconds from now.
        every: seconds between two looks.
        progress: told each state once, when it changes.
        tolerate: errors that count as "not yet".

    Raises:
        DeadlineExceeded: with what was waited for, what was seen last, and `advice`.
    """
    give_up_at = clock.monotonic() + deadline
    told: str | None = None
    while True:
        try:
            found = look()
        except tolerate as error:
            found = Waiting(str(error))
        if not isinstance(found, Waiting):
            return found
        if progress and found.seen != told:
            progress(found.seen)
            told = found.seen
        left = give_up_at - clock.monotonic()
        if left <= 0:
            raise DeadlineExceeded(service, what, found.seen, advice)
        clock.sleep(min(every, left))


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


class Options(TypedDict, total=False):
    """What every client takes beside its address.

    Attributes:
        transport: replaces the network in tests.
        answer_seconds: how long an answer may take.
        retry_seconds: for how long a call is repeated when the connection fails. A POST is repeated
            only where nothing was sent, or where the caller says that twice does no harm.
        clock: time.
    """

    transport: httpx.BaseTransport | None
    answer_seconds: float
    retry_seconds: float
    clock: Clock


class ServiceClient:
    """Base of the clients: one service at one address.

    Args:
        base_url: e.g. `http://127.0.0.1:41234`, without a path.

    Environment proxies are ignored (`trust_env=False`): the address is this machine's own tunnel.
    """

    service: ClassVar[str] = "service"

    def __init__(self, base_url: str, **options: Unpack[Options]) -> None:
        self.base_url = base_url.rstrip("/")
        self.clock = options.get("clock", SYSTEM_CLOCK)
        self._retry_seconds = options.get("retry_seconds", RETRY_SECONDS)
        self._secrets: set[str] = set()
        self._http = httpx.Client(
            base_url=self.base_url,
            transport=options.get("transport"),
            timeout=httpx.Timeout(
                options.get("answer_seconds", ANSWER_SECONDS), connect=CONNECT_SECONDS
            ),
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        twice_is_harmless: bool | None = None,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        json: Json = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
    ) -> httpx.Response:
        """One call, repeated over connection failures until `retry_seconds` are over.

        Raises:
            Unreachable: the connection kept failing.
        """
        harmless = method in ("GET", "PUT", "DELETE")
        if twice_is_harmless is not None:
            harmless = twice_is_harmless
        timeout = (
            self._http.timeout
            if seconds is None
            else httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        )
        give_up_at = self.clock.monotonic() + self._retry_seconds
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: _worth_repeating(error, harmless)),
            stop=lambda _: self.clock.monotonic() >= give_up_at,
            wait=tenacity.wait_exponential(multiplier=0.25, max=3),
            sleep=self.clock.sleep,
            reraise=True,
        )
        try:
            return retrying(
                self._http.request,
                method,
                path,
                headers=headers,
                params=params,
                json=json,
                data=data,
                files=files,
                timeout=timeout,
            )
        except httpx.TransportError as error:
            said = f"{type(error).__name__} {error}".strip().rstrip(".")
            advice = "does it run? `docker ps -a` on the server shows it"
            raise Unreachable(self.service, f"{method} {path}", f"{said}; {advice}") from None

    def _row(self, shape: type[AnyRow], data: Json) -> AnyRow:
        """What a service answered, as a row.

        Raises:
            Unexpected: it is none; says which fields, never what they hold.
        """
        try:
            return shape.model_validate(data)
        except ValidationError as error:
            wrong = [f"{e['loc']}: {e['msg']}" for e in error.errors(include_input=False)]
            said = f"no {shape.__name__.lower()} as we know it: {'; '.join(wrong)}"
            raise Unexpected(self.service, "answer", said) from None

    def _hide(self, *secrets: str) -> None:
        """Keep these out of every later error text; services do echo what they are sent."""
        self._secrets.update(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _json(self, response: httpx.Response) -> Json:
        """The body as JSON.

        Raises:
            Unexpected: it is none.
        """
        try:
            return response.json()
        except ValueError:
            said = self._masked(said_by(response))
            raise Unexpected(self.service, call_of(response), said) from None


def _worth_repeating(error: BaseException, harmless: bool) -> bool:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return True
    return harmless and isinstance(error, httpx.TransportError)


def call_of(response: httpx.Response) -> str:
    """`GET /path` of the call that led to `response`; the query is left out, it may hold a name."""
    request = response.request
    return f"{request.method} {request.url.path}"


def said_by(response: httpx.Response) -> str:
    """Status and text of an answer, for an error message."""
    return f"HTTP {response.status_code} {response.text or '(empty body)'}"

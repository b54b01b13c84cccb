"""What the clients share: one exception tree, one HTTP client, one way of waiting.

ServiceError
  Unreachable         no usable answer at all
  Unexpected          an answer that the contract does not know (a proxy's page, a wrong port)
  Refused             the service understood and said no
    Unauthorized, NotFound, Conflict, Busy, RateLimited
  DeadlineExceeded    waited, and it did not come

"Gone" is only ever concluded from NotFound. Unreachable never means gone.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
FIRST_PAUSE = 0.1
MOST_PAGES = 1000
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
    """It is there, but cannot answer yet (a model that is still loading)."""


class RateLimited(Refused):
    """Too many calls in the service's time window."""


class DeadlineExceeded(ServiceError):
    """Something did not happen in time.

    Attributes:
        waited_for, last_seen: what should have happened, and the last state observed.
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

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""


class SystemClock:
    """The machine's own time."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    def now(self) -> datetime:
        """The time of day in UTC."""
        return datetime.now(timezone.utc)


SYSTEM_CLOCK = SystemClock()


def repeating(
    when: tenacity.retry_base, pause: tenacity.wait.wait_base, *, seconds: float, clock: Clock
) -> tenacity.Retrying:
    """Calls what it is given while `when` holds of the outcome; after `seconds` the last stands."""
    give_up_at = clock.monotonic() + seconds
    return tenacity.Retrying(
        retry=when,
        stop=lambda _: clock.monotonic() >= give_up_at,
        wait=lambda state: max(0.0, min(pause(state), give_up_at - clock.monotonic())),
        sleep=clock.sleep,
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )


@dataclass(frozen=True)
class Waiting:
    """What `wait_until`'s look returns while the thing has not happened: the state it saw."""

    seen: str


_NOT_YET = tenacity.retry_if_result(lambda found: isinstance(found, Waiting))


def wait_until(
    what: str,
    look: Callable[[], T | Waiting],
    *,
    service: str,
    deadline: float,
    advice: str = "",
    every: float = 2.0,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[str], None] = lambda _: None,
    tolerate: tuple[type[ServiceError], ...] = (Unreachable,),
) -> T:
    """Look again, after short pauses first, until `look` returns something other than `Waiting`.

    Args:
        deadline: seconds from now.
        every: seconds between two looks, at the most.
        progress: told each state once, when it changes.
        tolerate: errors that count as "not yet".

    Raises:
        DeadlineExceeded: with what was waited for, what was seen last, and `advice`.
    """
    tell = functools.lru_cache(maxsize=1)(progress)

    def seen() -> T | Waiting:
        try:
            found = look()
        except tolerate as error:
            found = Waiting(str(error))
        if isinstance(found, Waiting):
            tell(found.seen)
        return found

    ramp = tenacity.wait_exponential(multiplier=FIRST_PAUSE, max=every)
    found = repeating(_NOT_YET, ramp, seconds=deadline, clock=clock)(seen)
    if isinstance(found, Waiting):
        raise DeadlineExceeded(service, what, found.seen, advice)
    return found


def pages(read: Callable[[int], list[T]], size: int) -> Iterator[T]:
    """The rows of page after page, counted from 0, up to the first that is not full.

    What is made meanwhile moves others on: a row may come twice.
    """
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
AnyError = TypeVar("AnyError", bound=ServiceError)


class Options(TypedDict, total=False):
    """What every client takes beside its address.

    Attributes:
        transport: replaces the network in tests.
        answer_seconds: how long an answer may take.
        retry_seconds: for how long a call is repeated when the connection fails.
        clock: time.
    """

    transport: httpx.BaseTransport | None
    answer_seconds: float
    retry_seconds: float
    clock: Clock


class Content(TypedDict, total=False):
    """What a call carries, as httpx takes it."""

    params: Mapping[str, str | int]
    json: Json
    data: Mapping[str, str]
    files: Mapping[str, tuple[str, bytes, str]]


class Request(Content, total=False):
    """What every client's calls take beside method and path.

    Attributes:
        seconds: how long this answer may take.
        twice_is_harmless: whether it may be repeated though it may have arrived; unsaid, only what
            is no POST.
    """

    seconds: float
    twice_is_harmless: bool


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
        self._answer_seconds = options.get("answer_seconds", ANSWER_SECONDS)
        self._secrets: set[str] = set()
        self._http = httpx.Client(
            base_url=self.base_url, transport=options.get("transport"), trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        twice_is_harmless: bool | None = None,
        **content: Unpack[Content],
    ) -> httpx.Response:
        """One call, repeated over a failing connection for `retry_seconds`, then Unreachable."""
        if twice_is_harmless is None:
            twice_is_harmless = method != "POST"
        timeout = httpx.Timeout(seconds or self._answer_seconds, connect=CONNECT_SECONDS)
        repeated = httpx.TransportError if twice_is_harmless else _UNSENT
        again = repeating(
            tenacity.retry_if_exception_type(repeated),
            tenacity.wait_exponential(multiplier=0.25, max=3),
            seconds=self._retry_seconds,
            clock=self.clock,
        )
        try:
            return again(
                self._http.request, method, path, headers=headers, timeout=timeout, **content
            )
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

    def _error(
        self, kind: Callable[[str, str, str], AnyError], response: httpx.Response, said: str = ""
    ) -> AnyError:
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


_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)

"""What can go wrong between the lab and one of its services.

That something is gone is only ever concluded from NotFound; Unreachable never means gone.
"""

ANSWER_LENGTH = 600


class ServiceError(Exception):
    """Base of them all; `call`, e.g. `POST /api/channel/`, never holds a secret."""

    def __init__(self, service: str, call: str, answer: str) -> None:
        self.service = service
        self.call = call
        self.answer = shorten(answer)
        super().__init__(f"{service}: {call}: {self.answer}")


class Unreachable(ServiceError):
    """No usable answer: not connected, cut off, or too slow."""


class Unexpected(ServiceError):
    """An answer that the contract does not know: a proxy's page, a wrong port."""


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
    """Something did not happen in time; `advice` is for the operator."""

    def __init__(self, service: str, waited_for: str, last_seen: str, advice: str) -> None:
        self.waited_for = waited_for
        self.last_seen = shorten(last_seen)
        self.advice = advice
        said = f"waited in vain for {waited_for}; last seen: {self.last_seen}"
        super().__init__(service, said, advice)


def shorten(text: str) -> str:
    """`text` on one line, at most some hundred characters."""
    line = " ".join(text.split())
    return line if len(line) <= ANSWER_LENGTH else line[: ANSWER_LENGTH - 3] + "..."

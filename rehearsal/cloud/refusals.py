"""How the emulated cloud says no (codes from docs/facts/alicloud.md 8)."""

import json
from pathlib import Path

_SAYS: dict[str, tuple[int, str]] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Code to HTTP status and message."""


class Refusal(Exception):
    """An error answer of the cloud's API.

    Attributes:
        status: HTTP status.
        code: the API's code, such as `OperationDenied.NoStock`.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def refusal(code: str) -> Refusal:
    """The refusal with `code`, in the cloud's words for it."""
    status, message = _SAYS[code]
    return Refusal(status, code, message)


def not_found(what: str, code: str) -> Refusal:
    """The refusal for something that is named but not there."""
    return Refusal(404, code, f"The specified {what} does not exist.")


def dependency(what: str) -> Refusal:
    """Something is still in it."""
    return Refusal(403, f"DependencyViolation.{what}", "Specified object has dependent resources.")

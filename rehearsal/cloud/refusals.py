"""How the emulated cloud says no (codes from docs/facts/alicloud.md 8)."""

import json
from pathlib import Path

_SAYS: dict[str, tuple[int, str]] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Code to HTTP status and message."""


class Refusal(Exception):
    """An error answer of the API: HTTP status, code (`OperationDenied.NoStock`), message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


def refusal(code: str) -> Refusal:
    """The refusal with `code`, in the cloud's words for it."""
    status, message = _SAYS.get(code, (403, f"The request is refused: {code}."))
    return Refusal(status, code, message)


def not_found(parameter: str) -> Refusal:
    """The refusal for what `parameter` (`VpcId`) names and is not there."""
    code, message = f"Invalid{parameter}.NotFound", f"The specified {parameter} does not exist."
    return Refusal(404, code, message)


def dependency(what: str) -> Refusal:
    """Something is still in it."""
    return Refusal(403, f"DependencyViolation.{what}", "Specified object has dependent resources.")

"""How the emulated cloud says no (codes from docs/facts/alicloud.md 8)."""

from __future__ import annotations


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


def not_found(what: str, code: str) -> Refusal:
    """The refusal for something that is named but not there."""
    return Refusal(404, code, f"The specified {what} does not exist.")


def no_stock() -> Refusal:
    """Sold out: the provider does not retry it."""
    return Refusal(
        403,
        "OperationDenied.NoStock",
        "The requested resource is sold out in the specified zone; try other types of resources "
        "or other regions and zones.",
    )


def dependency(what: str) -> Refusal:
    """Something is still in it."""
    return Refusal(403, f"DependencyViolation.{what}", "Specified object has dependent resources.")

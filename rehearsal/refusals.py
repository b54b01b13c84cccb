"""How the emulated cloud says no (codes from docs/facts/alicloud.md 8)."""

from __future__ import annotations

import json
import uuid


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

    def as_printed(self, resource: str, action: str) -> str:
        """As the provider prints it for `resource` (`alicloud_instance`) and the API's `action`."""
        request = str(uuid.uuid4()).upper()
        data = json.dumps({"Code": self.code, "Message": self.message, "RequestId": request})
        return (
            f"[ERROR] terraform-provider-alicloud/alicloud/resource_{resource}.go: Resource "
            f"{resource} {action} Failed!!! [SDK alibaba-cloud-sdk-go ERROR]:\nSDKError:\n"
            f"   StatusCode: {self.status}\n   Code: {self.code}\n"
            f"   Message: code: {self.status}, {self.message} request id: {request}\n"
            f"   Data: {data}\n"
        )


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

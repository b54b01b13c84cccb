"""Calls of Alibaba's RPC, as the provider makes them."""

import json
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

import httpx

from rehearsal.providers.base import ProviderError

Answer = dict[str, Any]
_VERSIONS = {"ecs": "2014-05-26", "vpc": "2016-04-28"}
_SECONDS = 60.0


class ApiError(ProviderError):
    """The cloud said no. The text is what the provider prints; `code` is the cloud's."""

    def __init__(self, resource: str, action: str, status: int, said: Mapping[str, Any]) -> None:
        self.code = str(said.get("Code"))
        super().__init__(
            f"1 error occurred:\n\t* [ERROR] terraform-provider-alicloud/alicloud/"
            f"resource_{resource}.go: Resource {resource} {action} Failed!!! "
            f"[SDK alibaba-cloud-sdk-go ERROR]:\nSDKError:\n   StatusCode: {status}\n"
            f"   Code: {self.code}\n   Message: code: {status}, {said.get('Message')} "
            f"request id: {said.get('RequestId')}\n   Data: {json.dumps(dict(said))}\n\n"
        )

    @property
    def gone(self) -> bool:
        """Whether what was asked for is not there."""
        return self.code.endswith((".NotFound", ".RuleNotExist"))


class Client:
    """One account in one region, behind `endpoint` (`HOST:PORT`)."""

    def __init__(self, endpoint: str, access_key: str, region: str) -> None:
        self.region = region
        self._access_key = access_key
        self._http = httpx.Client(
            base_url=f"http://{endpoint}", timeout=_SECONDS, trust_env=False, verify=False
        )

    def call(self, resource: str, product: str, action: str, **parameters: Any) -> Answer:  # noqa: ANN401
        """The answer to `action`; parameters that are None are not sent.

        Lists are sent as `Name.1`, `Name.2`; a `tags` dict as `Tag.1.Key`, `Tag.1.Value`.

        Raises:
            ApiError: the cloud refused; it names `resource` (`alicloud_instance`).
            ProviderError: nothing answers.
        """
        common = {
            "Action": action,
            "Version": _VERSIONS[product],
            "Format": "JSON",
            "AccessKeyId": self._access_key,
            "RegionId": self.region,
        }
        try:
            answer = self._http.post("/", data={**common, **flat(parameters)})
        except httpx.TransportError as error:
            wrong = f"{resource} {action}: the cloud does not answer: {error}"
            raise ProviderError(wrong) from error
        said: Answer = answer.json()
        if answer.is_error:
            raise ApiError(resource, action, answer.status_code, said)
        return said


def flat(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as they are sent: numbered lists and tags, booleans in lower case."""
    sent: dict[str, str] = {}
    for name, value in parameters.items():
        if name == "tags":
            for number, (key, text) in enumerate(sorted((value or {}).items()), 1):
                sent |= {f"Tag.{number}.Key": key, f"Tag.{number}.Value": str(text)}
        elif isinstance(value, (list, tuple)):
            sent |= {f"{name}.{number}": str(item) for number, item in enumerate(value, 1)}
        elif isinstance(value, bool):
            sent[name] = str(value).lower()
        elif value is not None:
            sent[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return sent


def at(answer: Answer, path: str) -> Any:  # noqa: ANN401
    """What is at a dotted path of an answer."""
    return reduce(getitem, path.split("."), answer)


def tags_in(answer: Answer) -> dict[str, str]:
    """The tags of an answer; some of the API writes `TagKey`, some `Key`."""
    rows = answer.get("Tags", {}).get("Tag", [])
    return {
        row.get("TagKey", row.get("Key")): row.get("TagValue", row.get("Value")) for row in rows
    }

"""The `alicloud` package, for where the real plugin cannot be had: a client of the region.

The resource types and invokes that the lab needs. It asks what the real one asks, in the same
actions and parameters (docs/facts/alicloud-http.md); semantics are those of provider 4.0
(docs/facts/alicloud.md §1), answers look like those in docs/facts/provider-states.json.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rehearsal.providers.alicloud.client import Answer, ApiError, Client, at
from rehearsal.providers.alicloud.kinds import TABLES, ApiKind
from rehearsal.providers.alicloud.special import SPECIAL
from rehearsal.providers.base import ProviderError, unknown_token
from rehearsal.providers.values import Properties

__all__ = ["AlicloudPackage", "AlicloudProvider", "ApiError", "Client"]

_DEFAULT_REGION = "cn-beijing"
_LISTINGS = json.loads(Path(__file__).with_name("listings.json").read_text())


class AlicloudProvider:
    """One configured provider."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._functions: dict[str, Callable[[Properties], Properties]] = {
            "alicloud:ecs/getInstanceTypes:getInstanceTypes": self._instance_types,
            "alicloud:ecs/getImages:getImages": self._images,
            **{token: partial(self._listed, token) for token in _LISTINGS},
        }

    def kind(self, token: str) -> ApiKind:
        """The resource type named by `token`."""
        if token not in TABLES:
            raise unknown_token(token)
        return SPECIAL.get(token.rpartition(":")[2], ApiKind)(self._client, TABLES[token])

    def invoke(self, token: str, args: Properties) -> Properties:
        """The data source named by `token`; its arguments come back with the answer."""
        if token not in self._functions:
            raise unknown_token(token)
        return {**args, **self._functions[token](args)}

    def cancel(self) -> None:
        """Nothing waits here: a call of the emulated cloud returns when its effect is there."""

    def _instance_types(self, args: Properties) -> Properties:
        """Only what can be bought now."""
        zones = self._on_sale(args)
        answer = self._client.call("alicloud_instance_types", "ecs", "DescribeInstanceTypes")
        types = [
            _type(row, zones[row["InstanceTypeId"]])
            for row in at(answer, "InstanceTypes.InstanceType")
            if row["InstanceTypeId"] in {args.get("instanceType")} & zones.keys()
        ]
        return {"id": "types", "ids": [item["id"] for item in types], "instanceTypes": types}

    def _on_sale(self, args: Properties) -> dict[str, list[str]]:
        """Types in stock, to the zones that have them."""
        sent = {"SpotStrategy": args.get("spotStrategy"), "IoOptimized": "optimized"}
        sent |= {"SystemDiskCategory": args.get("systemDiskCategory")}
        sent |= {"DestinationResource": "InstanceType", "InstanceChargeType": "PostPaid"}
        action = "DescribeAvailableResource"
        answer = self._client.call("alicloud_instance_types", "ecs", action, **sent)
        found: dict[str, list[str]] = {}
        for zone in at(answer, "AvailableZones.AvailableZone"):
            for resource in at(zone, "AvailableResources.AvailableResource"):
                for one in at(resource, "SupportedResources.SupportedResource"):
                    if one["Status"] == "Available":
                        found.setdefault(one["Value"], []).append(zone["ZoneId"])
        return found

    def _images(self, args: Properties) -> Properties:
        """Filtered by the given expression on this side, as the provider does."""
        sent = {"ImageOwnerAlias": args.get("owners"), "InstanceType": args.get("instanceType")}
        page = {"PageNumber": 1, "PageSize": 50}  # more than there are
        answer = self._client.call("alicloud_images", "ecs", "DescribeImages", **sent, **page)
        pattern = re.compile(args.get("nameRegex") or "")
        rows = [row for row in at(answer, "Images.Image") if pattern.search(row["ImageName"])]
        return {"id": "images", "ids": [r["ImageId"] for r in rows], "images": [*map(_image, rows)]}

    def _listed(self, token: str, args: Properties) -> Properties:
        """What `listings.json` says of it; by tags on the cloud's side, by ids and name here."""
        told = _LISTINGS[token]
        product, action, path = told["asks"]
        sent = {"tags": args.get("tags"), "PageNumber": 1, "PageSize": 50}
        pattern, ids = re.compile(args.get("nameRegex") or ""), args.get("ids")
        rows = [
            {name: at(row, where) for name, where in told["shows"].items()}
            for row in at(self._client.call(action, product, action, **sent), path)
            if pattern.search(row[told["name"]])
        ]
        found = [row for row in rows if ids is None or row["id"] in ids]
        return {"id": action, "ids": [row["id"] for row in found], told["answer"]: found}


class AlicloudPackage:
    """The package as `serve` wants it, for the region behind `endpoint` (`HOST:PORT`)."""

    name = "alicloud"
    version = "4.0.0"

    def __init__(self, endpoint: str, access_key: str) -> None:
        self._endpoint = endpoint
        self._access_key = access_key

    def configure(self, config: Properties) -> AlicloudProvider:
        """A provider for the region of `config`; without one it is Beijing, as in the real one.
        Raises ProviderError: there is no such region."""
        region = config.get("region") or _DEFAULT_REGION
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+(-\d)?", region):
            raise ProviderError(f"invalid Alibaba Cloud region: {region}")
        return AlicloudProvider(Client(self._endpoint, self._access_key, region))


def _type(found: Answer, zones: list[str]) -> Properties:
    return {
        "id": found["InstanceTypeId"],
        "availabilityZones": zones,
        "cpuCoreCount": found["CpuCoreCount"],
        "family": found["InstanceTypeFamily"],
        "gpus": [{"amount": str(found["GPUAmount"]), "category": found["GPUSpec"]}],
        "memorySize": found["MemorySize"],
    }


def _image(row: Answer) -> Properties:
    names = {"OSName": "osName", "OSNameEn": "osNameEn", "OSType": "osType", "ImageName": "name"}
    told = {names.get(key, key[:1].lower() + key[1:]): value for key, value in row.items()}
    return {**told, "id": row["ImageId"], "state": row["Status"], "tags": {}}

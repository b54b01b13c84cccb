"""The `alicloud` package, for where the real plugin cannot be had: a client of the region.

The resource types and invokes that the lab needs. It asks what the real one asks, in the same
actions and parameters (docs/facts/alicloud-http.md); semantics are those of provider 4.0
(docs/facts/alicloud.md §1), answers look like those in docs/facts/provider-states.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rehearsal.providers.alicloud.client import ApiError, Client, at
from rehearsal.providers.alicloud.instance import EcsInstance
from rehearsal.providers.alicloud.kinds import ApiKind
from rehearsal.providers.alicloud.network import (
    EcsKeyPair,
    EipAddress,
    EipAssociation,
    Network,
    SecurityGroup,
    VSwitch,
)
from rehearsal.providers.alicloud.rule import SecurityGroupRule
from rehearsal.providers.base import ProviderError, unknown_token
from rehearsal.providers.values import Properties

__all__ = ["AlicloudPackage", "AlicloudProvider", "ApiError", "Client"]

_DEFAULT_REGION = "cn-beijing"
_KINDS: dict[str, type[ApiKind]] = {
    "alicloud:vpc/network:Network": Network,
    "alicloud:vpc/switch:Switch": VSwitch,
    "alicloud:ecs/securityGroup:SecurityGroup": SecurityGroup,
    "alicloud:ecs/securityGroupRule:SecurityGroupRule": SecurityGroupRule,
    "alicloud:ecs/ecsKeyPair:EcsKeyPair": EcsKeyPair,
    "alicloud:ecs/instance:Instance": EcsInstance,
    "alicloud:ecs/eipAddress:EipAddress": EipAddress,
    "alicloud:ecs/eipAssociation:EipAssociation": EipAssociation,
}


class AlicloudPackage:
    """The package as `serve` wants it, for the region behind `endpoint` (`HOST:PORT`)."""

    name = "alicloud"
    version = "4.0.0"

    def __init__(self, endpoint: str, access_key: str) -> None:
        self._endpoint = endpoint
        self._access_key = access_key

    def configure(self, config: Properties) -> AlicloudProvider:
        """A provider for the region of `config`; without one it is Beijing, as in the real one.

        Raises:
            ProviderError: there is no such region.
        """
        region = config.get("region") or _DEFAULT_REGION
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+(-\d)?", region):
            raise ProviderError(f"invalid Alibaba Cloud region: {region}")
        return AlicloudProvider(Client(self._endpoint, self._access_key, region))


class AlicloudProvider:
    """One configured provider."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._functions: dict[str, Callable[[Properties], Properties]] = {
            "alicloud:index/getZones:getZones": self._zones,
            "alicloud:index/getCallerIdentity:getCallerIdentity": self._caller,
            "alicloud:ecs/getInstanceTypes:getInstanceTypes": self._instance_types,
            "alicloud:ecs/getImages:getImages": self._images,
        }

    def kind(self, token: str) -> ApiKind:
        """The resource type named by `token`."""
        if token not in _KINDS:
            raise unknown_token(token)
        return _KINDS[token](self._client)

    def invoke(self, token: str, args: Properties) -> Properties:
        """The data source named by `token`; its arguments come back with the answer."""
        if token not in self._functions:
            raise unknown_token(token)
        return {**args, **self._functions[token](args)}

    def cancel(self) -> None:
        """Nothing waits here: a call of the emulated cloud returns when its effect is there."""

    def _zones(self, args: Properties) -> Properties:
        """Where anything is sold: being in it proves no stock of one type."""
        found = sorted(self._on_sale("alicloud_zones", "Zone", {}))
        return {"id": "zones", "ids": found, "zones": [{"id": zone} for zone in found]}

    def _caller(self, args: Properties) -> Properties:
        found = self._client.call("alicloud_caller_identity", "sts", "GetCallerIdentity")
        return {
            "id": found["AccountId"],
            "accountId": found["AccountId"],
            "arn": found["Arn"],
            "identityType": found["IdentityType"],
        }

    def _instance_types(self, args: Properties) -> Properties:
        """Only what can be bought now; a sold-out zone as a filter is an error, with advice."""
        source = "alicloud_instance_types"
        zones = self._on_sale(source, "InstanceType", args)
        answer = self._client.call(source, "ecs", "DescribeInstanceTypes")
        fitting = [
            found
            for found in at(answer, "InstanceTypes.InstanceType")
            if found["InstanceTypeId"] in zones and _fits(found, args)
        ]
        wanted = args.get("availabilityZone")
        if wanted:
            elsewhere = {zone for one in fitting for zone in zones[one["InstanceTypeId"]]}
            fitting = [one for one in fitting if wanted in zones[one["InstanceTypeId"]]]
            if not fitting:
                raise ProviderError(
                    f"[ERROR] the availability zone {wanted} does not sell such an instance type "
                    f"now. Expected availability zones: [{', '.join(sorted(elsewhere))}]"
                )
        types = [_type(found, zones[found["InstanceTypeId"]]) for found in fitting]
        return {"id": "types", "ids": [item["id"] for item in types], "instanceTypes": types}

    def _on_sale(self, source: str, destination: str, args: Properties) -> dict[str, list[str]]:
        """What is in stock, to the zones that have it."""
        answer = self._client.call(
            source,
            "ecs",
            "DescribeAvailableResource",
            DestinationResource=destination,
            InstanceChargeType="PostPaid",
            IoOptimized="optimized",
            SpotStrategy=args.get("spotStrategy"),
            SystemDiskCategory=args.get("systemDiskCategory"),
        )
        found: dict[str, list[str]] = {}
        for zone in at(answer, "AvailableZones.AvailableZone"):
            for resource in at(zone, "AvailableResources.AvailableResource"):
                for one in at(resource, "SupportedResources.SupportedResource"):
                    if one["Status"] == "Available":
                        found.setdefault(one["Value"], []).append(zone["ZoneId"])
        return found

    def _images(self, args: Properties) -> Properties:
        """Filtered by the given expression on this side, as the provider does."""
        if not any(args.get(name) for name in ("nameRegex", "owners", "imageOwnerId")):
            raise ProviderError('"name_regex", "owners", or "image_owner_id" must be set')
        rows = self._client.rows(
            "alicloud_images",
            "ecs",
            "DescribeImages",
            "Images.Image",
            ImageOwnerAlias=args.get("owners"),
            InstanceType=args.get("instanceType"),
            ImageId=args.get("imageId"),
        )
        pattern = re.compile(args.get("nameRegex") or "")
        found = [_image(row) for row in rows if pattern.search(row["ImageName"])]
        if args.get("mostRecent"):
            found = sorted(found, key=lambda image: image["creationTime"])[-1:]
        return {"id": "images", "ids": [image["id"] for image in found], "images": found}


def _fits(found: Any, args: Properties) -> bool:  # noqa: ANN401
    asked = {
        "instanceType": "InstanceTypeId",
        "instanceTypeFamily": "InstanceTypeFamily",
        "cpuCoreCount": "CpuCoreCount",
        "memorySize": "MemorySize",
        "gpuAmount": "GPUAmount",
        "gpuSpec": "GPUSpec",
    }
    return all(not args.get(here) or args[here] == found[there] for here, there in asked.items())


def _type(found: Any, zones: list[str]) -> Properties:  # noqa: ANN401
    return {
        "id": found["InstanceTypeId"],
        "availabilityZones": zones,
        "burstableInstances": [{"baselineCredit": "0", "initialCredit": "0"}],
        "cpuCoreCount": found["CpuCoreCount"],
        "eniAmount": found["EniQuantity"],
        "family": found["InstanceTypeFamily"],
        "gpus": [{"amount": str(found["GPUAmount"]), "category": found["GPUSpec"]}],
        "localStorages": [{"amount": "0", "capacity": "0", "category": ""}],
        "memorySize": found["MemorySize"],
        "nvmeSupport": "unsupported",
        "price": "",
    }


def _image(row: Any) -> Properties:  # noqa: ANN401
    return {
        "id": row["ImageId"],
        "imageId": row["ImageId"],
        "name": row["ImageName"],
        "architecture": row["Architecture"],
        "creationTime": row["CreationTime"],
        "description": row["Description"],
        "diskDeviceMappings": [],
        "imageOwnerAlias": row["ImageOwnerAlias"],
        "isSupportIoOptimized": row["IsSupportIoOptimized"],
        "osName": row["OSName"],
        "osNameEn": row["OSNameEn"],
        "osType": row["OSType"],
        "platform": row["Platform"],
        "progress": row["Progress"],
        "size": row["Size"],
        "state": row["Status"],
        "status": row["Status"],
        "tags": {},
        "usage": row["Usage"],
    }

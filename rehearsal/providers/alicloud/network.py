"""What a server stands in: network, subnet, security group, key pair, elastic address."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from rehearsal.providers.alicloud.client import at
from rehearsal.providers.alicloud.kinds import ApiKind, names
from rehearsal.providers.values import Properties


class Network(ApiKind):
    """alicloud_vpc."""

    resource, product, tag_type = "alicloud_vpc", "vpc", "VPC"
    actions = ("CreateVpc", "DescribeVpcAttribute", "ModifyVpcAttribute", "DeleteVpc")
    id_parameter = "VpcId"
    sends: ClassVar = {
        "vpcName": "VpcName",
        "cidrBlock": "CidrBlock",
        "description": "Description",
    }
    modifies = frozenset({"vpcName", "description"})
    shows: ClassVar = {
        "cidrBlock": "CidrBlock",
        "createTime": "CreationTime",
        "description": "Description",
        "name": "VpcName",
        "regionId": "RegionId",
        "resourceGroupId": "ResourceGroupId",
        "routeTableId": "RouteTableId",
        "routerId": "VRouterId",
        "routerTableId": "RouteTableId",
        "secondaryCidrBlocks": "SecondaryCidrBlocks.SecondaryCidrBlock",
        "status": "Status",
        "userCidrs": "UserCidrs.UserCidr",
        "vpcName": "VpcName",
    }
    constant: ClassVar = {
        "classicLinkEnabled": False,
        "dnsHostnameStatus": "",
        "enableIpv6": False,
        "ipv6CidrBlock": "",
        "ipv6CidrBlocks": [],
        "isDefault": False,
        "systemRouteTableDescription": "",
        "systemRouteTableName": "",
        "systemRouteTableRoutePropagationEnable": True,
    }
    computed = names("id status createTime routerId routeTableId regionId")
    force_new = frozenset({"cidrBlock"})
    optional_computed = frozenset({"resourceGroupId", "userCidrs", "description"})

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """Its route table is asked for apart."""
        found = super().describe(id)
        if found is not None:
            tables = at(
                self.call("DescribeRouteTableList", VpcId=id),
                "RouterTableList.RouterTableListType",
            )
            found["RouteTableId"] = tables[0]["RouteTableId"]
        return found


class VSwitch(ApiKind):
    """alicloud_vswitch."""

    resource, product, tag_type = "alicloud_vswitch", "vpc", "VSWITCH"
    tagged_at_birth = False
    actions = (
        "CreateVSwitch",
        "DescribeVSwitchAttributes",
        "ModifyVSwitchAttribute",
        "DeleteVSwitch",
    )
    id_parameter = "VSwitchId"
    sends: ClassVar = {
        "vswitchName": "VSwitchName",
        "vpcId": "VpcId",
        "cidrBlock": "CidrBlock",
        "zoneId": "ZoneId",
        "description": "Description",
    }
    modifies = frozenset({"vswitchName", "description"})
    shows: ClassVar = {
        "availabilityZone": "ZoneId",
        "cidrBlock": "CidrBlock",
        "createTime": "CreationTime",
        "description": "Description",
        "name": "VSwitchName",
        "status": "Status",
        "vpcId": "VpcId",
        "vswitchName": "VSwitchName",
        "zoneId": "ZoneId",
    }
    constant: ClassVar = {"enableIpv6": False, "ipv6CidrBlock": "", "isDefault": False}
    computed = frozenset({"id", "status", "createTime", "availabilityZone"})
    force_new = frozenset({"vpcId", "cidrBlock", "zoneId", "availabilityZone"})
    optional_computed = frozenset({"description"})


class EcsKeyPair(ApiKind):
    """alicloud_ecs_key_pair: the id is the name, and a changed key is silently not applied."""

    resource, product, tag_type = "alicloud_ecs_key_pair", "ecs", "keypair"
    actions = ("ImportKeyPair", "DescribeKeyPairs", "", "DeleteKeyPairs")
    id_parameter, rows = "KeyPairName", "KeyPairs.KeyPair"
    sends: ClassVar = {"keyPairName": "KeyPairName", "publicKey": "PublicKeyBody"}
    shows: ClassVar = {
        "createTime": "CreationTime",
        "fingerPrint": "KeyPairFingerPrint",
        "keyName": "KeyPairName",
        "keyPairName": "KeyPairName",
        "resourceGroupId": "ResourceGroupId",
    }
    computed = frozenset({"id", "fingerPrint", "createTime", "keyName"})
    force_new = frozenset({"keyPairName", "keyNamePrefix", "keyName"})
    keeps = frozenset({"publicKey", "keyFile", "keyNamePrefix"})
    optional_computed = frozenset({"resourceGroupId"})

    def target(self, id: str) -> dict[str, Any]:
        """By a list of names, in JSON."""
        return {"KeyPairNames": json.dumps([id])}


class SecurityGroup(ApiKind):
    """alicloud_security_group: who may talk within it is said by calls of their own."""

    resource, product, tag_type = "alicloud_security_group", "ecs", "securitygroup"
    actions = (
        "CreateSecurityGroup",
        "DescribeSecurityGroups",
        "ModifySecurityGroupAttribute",
        "DeleteSecurityGroup",
    )
    id_parameter, rows = "SecurityGroupId", "SecurityGroups.SecurityGroup"
    sends: ClassVar = {
        "securityGroupName": "SecurityGroupName",
        "vpcId": "VpcId",
        "description": "Description",
    }
    modifies = frozenset({"securityGroupName", "description"})
    shows: ClassVar = {
        "createTime": "CreationTime",
        "description": "Description",
        "innerAccessPolicy": "InnerAccessPolicy",
        "name": "SecurityGroupName",
        "resourceGroupId": "ResourceGroupId",
        "securityGroupName": "SecurityGroupName",
        "securityGroupType": "SecurityGroupType",
        "vpcId": "VpcId",
    }
    computed = frozenset({"id", "createTime", "innerAccess"})
    force_new = frozenset({"vpcId", "securityGroupType"})
    optional_computed = frozenset({"innerAccessPolicy", "innerAccess", "resourceGroupId"})

    def settle(self, id: str, inputs: Properties) -> None:
        """Set who may talk within it."""
        if inputs.get("innerAccessPolicy"):
            self.modify(id, {"innerAccessPolicy"}, inputs)

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        """The policy by a call of its own."""
        super().modify(id, changed, inputs)
        if "innerAccessPolicy" in changed:
            policy = inputs.get("innerAccessPolicy", "Accept")
            self.call("ModifySecurityGroupPolicy", SecurityGroupId=id, InnerAccessPolicy=policy)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """The policy is told apart."""
        found = super().describe(id)
        if found is not None:
            attributes = self.call("DescribeSecurityGroupAttribute", SecurityGroupId=id)
            found["InnerAccessPolicy"] = attributes["InnerAccessPolicy"]
        return found

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        """The policy in two forms."""
        open_inside = found["InnerAccessPolicy"] == "Accept"
        return {**super().outputs(id, found, known), "innerAccess": open_inside}


class EipAddress(ApiKind):
    """alicloud_eip_address."""

    resource, product, tag_type = "alicloud_eip_address", "vpc", "EIP"
    tagged_at_birth = False
    actions = (
        "AllocateEipAddress",
        "DescribeEipAddresses",
        "ModifyEipAddressAttribute",
        "ReleaseEipAddress",
    )
    id_parameter, rows = "AllocationId", "EipAddresses.EipAddress"
    sends: ClassVar = {
        "addressName": "Name",
        "bandwidth": "Bandwidth",
        "internetChargeType": "InternetChargeType",
        "description": "Description",
    }
    modifies = frozenset({"addressName", "bandwidth", "description"})
    shows: ClassVar = {
        "addressName": "Name",
        "allocationId": "AllocationId",
        "bandwidth": "Bandwidth",
        "createTime": "AllocationTime",
        "description": "Descritpion",
        "instanceChargeType": "ChargeType",
        "internetChargeType": "InternetChargeType",
        "ipAddress": "IpAddress",
        "isp": "ISP",
        "name": "Name",
        "netmode": "Netmode",
        "resourceGroupId": "ResourceGroupId",
        "status": "Status",
    }
    constant: ClassVar = {
        "deletionProtection": False,
        "paymentType": "PayAsYouGo",
        "securityProtectionTypes": [],
    }
    computed = frozenset({"id", "ipAddress", "status", "createTime", "allocationId"})
    force_new = frozenset({"internetChargeType", "paymentType", "isp"})
    optional_computed = frozenset({"bandwidth", "resourceGroupId", "description", "isp"})


class EipAssociation(ApiKind):
    """alicloud_eip_association: its id names the address and the server."""

    resource, product = "alicloud_eip_association", "vpc"
    actions = ("AssociateEipAddress", "DescribeEipAddresses", "", "UnassociateEipAddress")
    id_parameter, rows = "AllocationId", "EipAddresses.EipAddress"
    sends: ClassVar = {"allocationId": "AllocationId", "instanceId": "InstanceId"}
    shows: ClassVar = {"allocationId": "AllocationId", "instanceId": "InstanceId"}
    constant: ClassVar = {"instanceType": "EcsInstance"}
    computed = frozenset({"id", "instanceType"})
    force_new = frozenset({"allocationId", "instanceId", "instanceType", "privateIpAddress"})
    optional_computed = frozenset({"instanceType", "privateIpAddress"})

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """The answer names nothing new."""
        self.call(self.actions[0], **self.order(inputs))
        id = f"{inputs['allocationId']}:{inputs['instanceId']}"
        return id, self._present(id, inputs)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """Gone when the address is free, or another server's."""
        address, _, instance = id.partition(":")
        found = super().describe(address)
        return found if found and found["InstanceId"] == instance else None

    def target(self, id: str) -> dict[str, Any]:
        """Both ends of it."""
        address, _, instance = id.partition(":")
        return {"AllocationId": address, "InstanceId": instance}

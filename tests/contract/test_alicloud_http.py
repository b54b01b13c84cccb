"""The emulated region held by what is real: recorded calls of the plugin, and the official SDK.

docs/facts/alicloud-http.md lists each action that the real plugin called, with its parameters. The
SDK (aliyun-python-sdk) writes and signs its requests itself and finds errors in answers itself.
"""

import importlib
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient

from rehearsal.cloud import ACCESS_KEY, SECRET_KEY, market, rpc, serve_region
from rehearsal.cloud.certificate import write_certificate
from rehearsal.providers.alicloud.client import Client, flat
from tests.region import PLAIN_IMAGE, REGION, Life

PAGE = Path(__file__).parents[2] / "docs/facts/alicloud-http.md"
_ROW = re.compile(r"^\| (\w+) \| ([\d-]{10}) \|[^|]*\| (.+) \|$", re.MULTILINE)
RECORDED = {(row[1], row[2]): set(row[3].split(", ")) for row in _ROW.finditer(PAGE.read_text())}
_UNRECORDED = """
AssociateEipAddress AttachKeyPair DetachKeyPair ModifyEipAddressAttribute ModifyInstanceAttribute
ModifyInstanceSpec ModifySecurityGroupAttribute ModifyVSwitchAttribute ModifyVpcAttribute
ResizeDisk StartInstance StopInstance UnTagResources UnassociateEipAddress UntagResources
"""
"""Changes that the recording did not make; docs/facts/alicloud.md §7 names them."""


@pytest.fixture
def life() -> Iterator[Life]:
    made = Life()
    yield made
    made.close()


@pytest.mark.parametrize(("action", "version"), RECORDED)
def test_the_region_knows_what_the_plugin_asked(life: Life, action: str, version: str) -> None:
    asked = {"Action": action, "Version": version, "AccessKeyId": ACCESS_KEY, "RegionId": REGION}
    _, body = rpc.answer(life.cloud, frozenset({ACCESS_KEY}), asked)
    assert body.get("Code") != "InvalidAction.NotFound"


def test_the_attached_provider_asks_as_the_plugin_did(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, set[str]] = {}
    real = Client.call

    def call(self: Client, resource: str, product: str, action: str, **parameters: Any) -> Any:
        names = {re.sub(r"^Tag\.\d+", "Tag.1", name) for name in flat(parameters)}
        sent.setdefault(action, set()).update(names)
        return real(self, resource, product, action, **parameters)

    monkeypatch.setattr(Client, "call", call)
    life.live()
    known: dict[str, set[str]] = {}
    for (action, _), names in RECORDED.items():
        known.setdefault(action, set()).update(names)
    assert sent.keys() - known.keys() == set(_UNRECORDED.split())
    strange = {action: sent[action] - names for action, names in known.items() if action in sent}
    assert {action: names for action, names in strange.items() if names} == {}


class Sdk:
    """The official SDK, as any of its users has it."""

    def __init__(self, endpoint: str, access_key: str = ACCESS_KEY) -> None:
        self._client = AcsClient(access_key, SECRET_KEY, REGION, auto_retry=False)
        self._endpoint = endpoint

    def ask(self, product: str, action: str, **parameters: Any) -> dict[str, Any]:
        version = {"ecs": "v20140526", "vpc": "v20160428"}[product]
        place = f"aliyunsdk{product}.request.{version}.{action}Request"
        request = getattr(importlib.import_module(place), f"{action}Request")()
        for name, value in parameters.items():
            getattr(request, f"set_{name}")(value)
        request.set_endpoint(self._endpoint)
        answer: dict[str, Any] = json.loads(self._client.do_action_with_exception(request))
        return answer


def _lab(sdk: Sdk, tags: list[dict[str, str]]) -> str:
    """A rented server, by the SDK; its id."""
    vpc = sdk.ask("vpc", "CreateVpc", CidrBlock="172.16.0.0/16")["VpcId"]
    sdk.ask("vpc", "TagResources", ResourceType="VPC", ResourceIds=[vpc], Tags=tags)
    subnet = {"ZoneId": market.gpu_zone(REGION), "CidrBlock": "172.16.0.0/24"}
    switch = sdk.ask("vpc", "CreateVSwitch", VpcId=vpc, **subnet)["VSwitchId"]
    group = sdk.ask("ecs", "CreateSecurityGroup", VpcId=vpc)["SecurityGroupId"]
    rule = {"IpProtocol": "tcp", "PortRange": "22/22", "SourceCidrIp": "198.18.0.5/32"}
    sdk.ask("ecs", "AuthorizeSecurityGroup", SecurityGroupId=group, **rule)
    sdk.ask("ecs", "ImportKeyPair", KeyPairName="lab", PublicKeyBody="ssh-rsa AAAA")
    order = {"ImageId": PLAIN_IMAGE, "InstanceType": market.REFERENCE_TYPE, "KeyPairName": "lab"}
    place = {"VSwitchId": switch, "SecurityGroupId": group, "InternetMaxBandwidthOut": 100}
    rented = sdk.ask("ecs", "RunInstances", **order, **place, Tags=tags)
    return str(rented["InstanceIdSets"]["InstanceIdSet"][0])


def test_the_official_sdk_rents_finds_by_tag_and_gives_back(life: Life) -> None:
    sdk = Sdk(life.endpoint.address)
    tags = [{"Key": "lab", "Value": "x"}]
    server = _lab(sdk, tags)
    assert life.cloud.admits(server, 22)
    found = sdk.ask("ecs", "DescribeInstances", Tags=tags)["Instances"]["Instance"]
    assert [(one["InstanceId"], one["Status"]) for one in found] == [(server, "Running")]
    other = [{"Key": "lab", "Value": "y"}]
    assert sdk.ask("ecs", "DescribeInstances", Tags=other)["TotalCount"] == 0
    by_id = sdk.ask("ecs", "DescribeInstances", InstanceIds=json.dumps([server]))
    assert by_id["Instances"]["Instance"] == found
    disks = sdk.ask("ecs", "DescribeDisks", InstanceId=server)
    assert [disk["Size"] for disk in disks["Disks"]["Disk"]] == [40]
    assert sdk.ask("vpc", "DescribeVpcs", Tags=tags)["Vpcs"]["Vpc"][0]["Tags"]["Tag"] == tags
    made = sdk.ask("vpc", "AllocateEipAddress", Bandwidth="100")
    eips = sdk.ask("vpc", "DescribeEipAddresses")
    assert eips["EipAddresses"]["EipAddress"][0]["IpAddress"] == made["EipAddress"]
    sdk.ask("ecs", "DeleteInstance", InstanceId=server, Force=True)
    assert life.cloud.instances == {}


def test_the_official_sdk_understands_a_refusal(life: Life) -> None:
    life.cloud.quota_cores = 8
    with pytest.raises(ServerException) as refused:
        _lab(Sdk(life.endpoint.address), [])
    assert refused.value.get_error_code() == "QuotaExceed.ElasticQuota"
    assert refused.value.get_http_status() == 403
    assert refused.value.get_request_id()
    with pytest.raises(ServerException) as refused:
        _lab(Sdk(life.endpoint.address, "LTAI-of-another"), [])
    assert refused.value.get_error_code() == "InvalidAccessKeyId.NotFound"


def test_one_port_answers_http_and_https(life: Life, tmp_path: Path) -> None:
    """The plugin revokes rules over TLS whatever its settings say."""
    certificate = write_certificate(tmp_path / "region.pem")
    endpoint = serve_region(life.cloud, certificate)
    trust = ssl.create_default_context(cafile=str(certificate))
    asked = {"Action": "DescribeVpcs", "Version": "2016-04-28", "RegionId": REGION}
    with httpx.Client(verify=trust, trust_env=False) as client:
        for scheme in ("http", "https"):
            url = f"{scheme}://{endpoint.address}/"
            answer = client.post(url, params=asked, data={"AccessKeyId": ACCESS_KEY})
            assert answer.json()["TotalCount"] == 0
    endpoint.stop()

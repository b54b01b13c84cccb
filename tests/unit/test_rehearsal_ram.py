"""README's RAM policy, held call by call by the emulated region."""

import json
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud import ACCESS_KEY, Cloud, rpc
from rehearsal.cloud.ram import Ram, policy_in
from rehearsal.providers.alicloud import ApiError
from rehearsal.providers.alicloud.client import flat
from tests.region import Life, Recorder
from tests.tables import table

README = Path(__file__).parents[2] / "README.md"
POLICY = policy_in(README.read_text())
NOT_NEEDED = {
    "ecs:ListTagResources": "the real plugin's other way to read tags",
    "vpc:ListTagResources": "the real plugin's other way to read tags",
    "ecs:RebootInstance": "the operator's, in the console",
    "ecs:ModifyDiskSpec": "another performance level of the disk, in place",
    "ecs:ModifyDiskAttribute": "another name of the disk",
}
"""Actions that no rehearsed life of a server needs, and what they are granted for."""
VERSIONS = {"ecs": "2014-05-26", "vpc": "2016-04-28"}


def _granted() -> list[tuple[int, str]]:
    allowed = [rule["Action"] for rule in json.loads(POLICY)["Statement"][:-1]]
    return [(number, action) for number, actions in enumerate(allowed) for action in actions]


def _without(statement: int, action: str) -> str:
    document = json.loads(POLICY)
    document["Statement"][statement]["Action"].remove(action)
    return json.dumps(document)


def _lived(policy: str) -> str:
    """The action that was missed, "" if none was."""
    life = Life(policy)
    try:
        life.live()
    except ApiError as error:
        return str(error)
    finally:
        life.close()
    return ""


def test_the_policy_of_the_readme_is_enough() -> None:
    assert _lived(POLICY) == ""


@pytest.mark.parametrize(("statement", "action"), _granted())
def test_each_action_taken_away_is_missed_or_said_not_to_be_needed(
    statement: int, action: str
) -> None:
    missed = _lived(_without(statement, action))
    if action in NOT_NEEDED:
        assert missed == "", f"{action} is needed: {missed}"
    else:
        assert "Forbidden.RAM" in missed, f"{action} is granted and never needed"


@table("rehearsal_ram")
def test_what_a_call_may_do(
    action: str, asked: dict[str, Any], region: str, code: str, missing: str
) -> None:
    """Something of a lab's is called `i-lab`, something that is no lab's `i-mine`."""
    cloud = Cloud(Recorder(), ram=Ram(policy_in(README.read_text(), region)))
    cloud.tags = {"i-lab": {"ai-lab": "dev"}, "d-lab": {"ai-lab": "dev"}, "i-mine": {"lab": "x"}}
    product, name = action.split(":")
    sent = {"Action": name, "Version": VERSIONS[product], "AccessKeyId": ACCESS_KEY}
    sent |= {"RegionId": "cn-hangzhou", **flat(asked)}
    _, body = rpc.answer(cloud, frozenset({ACCESS_KEY}), sent)
    cloud.close()
    assert body.get("Code", "done") == code
    assert missing in body.get("Message", "")


@table("rehearsal_ram")
def test_what_is_denied_is_denied_whatever_else_is_allowed(action: str) -> None:
    document = json.loads(POLICY)
    document["Statement"].insert(0, {"Effect": "Allow", "Resource": "*", "Action": ["*"]})
    ram, call = Ram(json.dumps(document)), rpc.Request({"RegionId": "cn-hangzhou"})
    ram.check("ecs:CreateDisk", call, {})
    with pytest.raises(rpc.Refusal, match="Forbidden"):
        ram.check(action, call, {})


def test_a_condition_that_is_not_rehearsed_is_no_condition_that_holds() -> None:
    unknown = {"Effect": "Allow", "Action": ["*"], "Resource": "*", "Condition": {"Bool": {}}}
    with pytest.raises(ValueError, match="no such condition"):
        Ram(json.dumps({"Statement": [unknown]}))

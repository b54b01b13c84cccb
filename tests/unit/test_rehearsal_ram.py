"""README's RAM policy, held action by action by the emulated region."""

import json
from pathlib import Path

import pytest

from rehearsal.cloud import ACCESS_KEY, Cloud, rpc
from rehearsal.cloud.ram import Ram, policy_in
from rehearsal.cloud.refusals import Refusal
from rehearsal.providers.alicloud import ApiError
from tests.region import Life, Recorder

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


def _allowed() -> list[str]:
    return [action for rule in json.loads(POLICY)["Statement"][:1] for action in rule["Action"]]


def _without(action: str) -> str:
    document = json.loads(POLICY)
    document["Statement"][0]["Action"].remove(action)
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


@pytest.mark.parametrize("action", _allowed())
def test_each_action_taken_away_is_missed_or_said_not_to_be_needed(action: str) -> None:
    missed = _lived(_without(action))
    if action in NOT_NEEDED:
        assert missed == "", f"{action} is needed: {missed}"
    else:
        assert "Forbidden.RAM" in missed, f"{action} is granted and never needed"


def test_what_is_denied_is_denied_whatever_is_allowed() -> None:
    with pytest.raises(Refusal, match="Forbidden"):
        Ram(POLICY).check("ecs:ModifyInstanceChargeType")
    with pytest.raises(ValueError, match="no resources in a policy"):
        Ram(json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "acs:ecs"}]}))


def test_a_refused_call_names_what_is_missing() -> None:
    cloud = Cloud(Recorder(), ram=Ram(_without("ecs:RunInstances")))
    asked = {"Action": "RunInstances", "Version": "2014-05-26", "AccessKeyId": ACCESS_KEY}
    status, body = rpc.answer(cloud, frozenset({ACCESS_KEY}), asked)
    cloud.close()
    assert (status, body["Code"]) == (403, "Forbidden.RAM")
    assert "ecs:RunInstances" in body["Message"]

"""What the region has of a lab beside what the state knows (`stack.adoption`)."""

import re
from contextlib import nullcontext
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from provisioning.settings import Settings
from provisioning.validation import read_settings
from stack import adoption
from stack.adoption import Standing, settle, what_stands
from stack.region import TOKENS, Belonging, State
from tests.tables import table
from tests.unit.program import PROJECT, given, make_key

ZONE = "cn-hangzhou-i"
SERVER = {"availability_zone": ZONE, "image_id": "im", "vswitch_id": "vsw", "instance_type": "T"}
KINDS = {"network": "VPC", "switch": "vSwitch", "key": "key pair"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    lab = given("dev", make_key(tmp_path_factory.mktemp("ssh")))
    made, _ = read_settings(lab, (), PROJECT)
    assert made
    return made.model_copy(update={"instance_type": "T", "instance_types": ("T2",)})


def state_of(told: dict[str, Any]) -> State:
    found = [(TOKENS[kind], {"id": told[key]}) for key, kind in KINDS.items() if key in told]
    if "server" in told:
        id, name, *more = told["server"]
        outputs = {
            "instanceType": (more or ["T"])[0],
            "availabilityZone": told.get("zone", ZONE),
            "imageId": "im",
        }
        found.append((TOKENS["server"], {"id": id, "instanceName": name, **outputs}))
    if "choice" in told:
        found.append(("dynamic/ailab/server:Choice", {"zone": "z", "lost": told["choice"]}))
    if "host_key" in told:
        found.append(("dynamic/ailab/server:HostKey", {"instance_id": told["host_key"]}))
    return State(found)


def region_of(told: dict[str, Any]) -> list[Belonging]:
    found = []
    for id, (kind, name, *more) in told.items():
        usual = {"key_name": "ai-lab-dev-k", "instance_id": "", **SERVER}
        found.append(Belonging(kind, id, name, SimpleNamespace(**{**usual, **dict(*more)})))
    return found


@table("adoption")
def test_what_stands_is_settled(case: dict[str, Any], settings: Settings) -> None:
    names = {"elasticIp": "elastic_ip", "vswitchId": "vswitch_id"}
    changed = {names[name]: value for name, value in case.get("settings", {}).items()}
    asked = settings.model_copy(update=changed)

    found, stray = settle(
        state_of(case["state"]), region_of(case["region"]), asked, "ai-lab-dev", "ai-lab-dev-k"
    )

    taken = {kind: each.id for kind, each in found.adopted.items()}
    shown = {**asdict(Standing("")), **case["expected"]}
    assert {**asdict(found), "stays": list(found.stays), "adopted": taken} == {
        **shown,
        "stays": list(shown["stays"]),
    }
    assert [each.id for each in stray] == case.get("stray", [])


ADDRESS = {"eip": ["elastic address", "ai-lab-dev"]}
STANDS = {"server": ["i1", "ai-lab-dev-1"]}


@pytest.mark.parametrize(
    ("region", "untagged", "state", "going", "ends", "said"),
    [
        (ADDRESS, {}, {}, "", True, r"elastic address eip \(ai-lab-dev\): in cn-.*`make sweep"),
        (ADDRESS, {}, {}, "eip", False, ""),
        (ADDRESS | {"i1": ["server", "x"]}, {}, STANDS, "", False, "it may cost money"),
        ({}, {"i1": ["server", "x"]}, STANDS, "", False, ""),
        ({}, {}, STANDS, "", False, "The server i1 is not in cn-hangzhou any more"),
        ({}, {}, STANDS | {"zone": "cn-beijing-a"}, "", True, "i1 stands in cn-beijing-a.*set the"),
    ],
    ids=[
        "nothing is rented beside it",
        "it is to be deleted anyway",
        "the lab stands",
        "its tag was taken off",
        "lost",
        "the region was changed",
    ],
)
def test_what_a_look_at_the_region_ends_in(
    region: dict[str, Any],
    untagged: dict[str, Any],
    state: dict[str, Any],
    going: str,
    ends: bool,
    said: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(adoption, "read_state", lambda: state_of(state))
    monkeypatch.setattr(adoption, "belongings", lambda name, tags: region_of(region))
    monkeypatch.setattr(adoption, "server_of", lambda id: region_of(untagged))
    monkeypatch.setattr(adoption, "about_to_go", lambda: frozenset({going}))
    monkeypatch.setattr(pulumi.log, "error", told.append)
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")

    with pytest.raises(SystemExit) if ends else nullcontext():
        what_stands(settings, "ai-lab-dev", {"ai-lab": "dev"}, "ai-lab-dev-k")
    assert len(told) == bool(said)
    assert re.search(said, "".join(told))

"""What the region has of a lab beside what the state knows (`stack.adoption`)."""

import re
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

SERVER = {"availability_zone": "z", "image_id": "im", "vswitch_id": "vsw", "instance_type": "T"}
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
        outputs = {"instanceType": (more or ["T"])[0], "availabilityZone": "z", "imageId": "im"}
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


@pytest.mark.parametrize(
    ("held", "state", "about_to_go", "ends", "said"),
    [
        ([], {}, set(), True, r"elastic address eip \(ai-lab-dev\): in cn-hangzhou .*`make sweep"),
        ([], {}, {"eip"}, False, ""),
        (["i1"], {"server": ["i1", "ai-lab-dev-1"]}, set(), False, "it may cost money"),
    ],
    ids=["nothing is rented beside it", "it is to be deleted anyway", "the lab stands"],
)
def test_what_lies_about_ends_a_run_that_would_rent(
    held: list[str],
    state: dict[str, Any],
    about_to_go: set[str],
    ends: bool,
    said: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"eip": ["elastic address", "ai-lab-dev"], **{id: ["server", "x"] for id in held}}
    told: list[str] = []
    monkeypatch.setattr(adoption, "read_state", lambda: state_of(state))
    monkeypatch.setattr(adoption, "belongings", lambda name, tags: region_of(there))
    monkeypatch.setattr(adoption, "about_to_go", lambda: about_to_go)
    monkeypatch.setattr(pulumi.log, "error", told.append)
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")

    def look() -> None:
        what_stands(settings, "ai-lab-dev", {"ai-lab": "dev"}, "ai-lab-dev-k")

    if ends:
        with pytest.raises(SystemExit):
            look()
    else:
        look()
    assert len(told) == bool(said)
    assert re.search(said, "".join(told))

"""Another server: on purpose, beside the old one; and because the cloud took the old one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.addresses import OPERATOR
from rehearsal.lab import Lab
from rehearsal.probes import Probe, ProbeFailed
from tests.rehearsal.labs import ask, bill, change, concerned, lab_of, refused, resources_of, up

# Several runs of the engine each, on a machine that may be busy.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

ONE_SERVER = ["server ecs.gn7i-c16g1.4xlarge", "disk cloud_essd 1000 GiB"]
OTHER_ZONE = "cn-hangzhou-k"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of(tmp_path_factory.mktemp("server"), "dev") as made:
        up(made)
        yield made


@pytest.fixture
def generation(lab: Lab) -> int:
    """Of the server that stands; the next one is one higher."""
    return int(lab.world.call("servers")[0]["name"].rsplit("-", 1)[-1])


def test_without_a_second_server_in_stock_the_old_one_stays(lab: Lab, generation: int) -> None:
    before = lab.world.call("servers")
    inventory = lab.world.call("inventory")
    sell_out(lab)
    change(lab, serverGeneration=generation + 1)
    for attempt in (lab.engine.preview, lab.engine.up):
        said = refused(lab, attempt)
        assert "no zone has it in stock" in said
        assert "`pulumi destroy` first" in said
    assert lab.world.call("servers") == before
    assert lab.world.call("inventory") == inventory
    assert bill(lab) == ONE_SERVER
    assert ask(lab)["citations"]
    change(lab, serverGeneration=generation)
    assert works(lab)


@pytest.mark.fault("the first zone sold out")
def test_a_second_server_takes_over_from_a_living_one(lab: Lab, generation: int) -> None:
    old = lab.world.call("servers")[0]
    lab.world.call("set_stock", zone=OTHER_ZONE, count=1)
    change(lab, serverGeneration=generation + 1)
    announced = concerned(lab.engine.preview())
    seen = len(calls(lab))
    done = up(lab)
    assert concerned(done) == announced
    new = lab.world.call("servers")
    assert [server["id"] for server in new] != [old["id"]]
    assert [server["zone"] for server in new] == [OTHER_ZONE]
    assert bill(lab) == ONE_SERVER
    assert works(lab)
    dialled = [c for c in calls(lab)[seen:] if c["method"] == "Delete"]
    assert {c["package"] for c in dialled} == {"alicloud"}, "the old server is left in peace"
    assert len(dialled) == 2, "the server and its switch"


@pytest.mark.fault("the server taken back by the cloud, then destroy")
def test_after_the_lease_destroy_clears_the_books_and_up_builds_anew(lab: Lab) -> None:
    lab.world.call("release")
    assert bill(lab) == []
    done = lab.engine.destroy()
    assert done.operations["delete"] > 50
    assert lab.world.call("inventory") == []
    lab.world.call("set_stock", zone=OTHER_ZONE, count=1)
    up(lab)
    assert bill(lab) == ONE_SERVER
    assert works(lab)


@pytest.mark.fault("lease over, by the cloud")
def test_after_the_lease_and_a_refresh_a_plain_up_builds_a_new_lab(lab: Lab) -> None:
    lab.world.call("release")
    lab.world.call("set_stock", zone=lab_zone(lab), count=1)
    refused(lab, lab.engine.refresh)
    up(lab)
    assert bill(lab) == ONE_SERVER
    assert works(lab)


@pytest.mark.fault("the operator's own address changed")
def test_an_operator_who_locked_himself_out_comes_in_again(lab: Lab) -> None:
    own = f"{OPERATOR}/32"
    change(lab, allowedCidrs=["198.18.9.9/32"])
    up(lab)
    with pytest.raises(ProbeFailed), Probe(lab.outputs) as probe:
        probe.running()
    change(lab, allowedCidrs=[own])
    assert {name.split()[0] for name in concerned(up(lab))} == {"SecurityGroupRule"}
    assert works(lab)


@pytest.mark.fault("every zone sold out")
def test_sold_out_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with lab_of(tmp_path, "dev") as fresh:
        sell_out(fresh)
        for attempt in (fresh.engine.preview, fresh.engine.up):
            said = refused(fresh, attempt)
            assert "ecs.gn7i-c16g1.4xlarge in cn-hangzhou: no zone has it in stock" in said
            assert "destroy" not in said, "there is nothing to destroy"
        assert fresh.world.call("servers") == []
        assert bill(fresh) == []


def test_an_address_of_its_own_moves_to_the_new_server(tmp_path: Path) -> None:
    with lab_of(tmp_path, "dev", elasticIp=True) as fixed:
        up(fixed)
        address, link = fixed.outputs["serverAddress"], fixed.outputs["fastgptUrl"]
        fixed.world.call("set_stock", zone=OTHER_ZONE, count=1)
        change(fixed, serverGeneration=2)
        up(fixed)
        assert (fixed.outputs["serverAddress"], fixed.outputs["fastgptUrl"]) == (address, link)
        assert len(fixed.world.call("servers")) == 1
        assert works(fixed)
        fixed.engine.destroy()
        assert bill(fixed) == []


def works(lab: Lab) -> bool:
    """Whether the lab answers with citations, and a further `up` finds nothing to do."""
    said = ask(lab)
    assert said["citations"]
    assert "pulumi destroy" in said["answer"]
    assert concerned(up(lab)) == {}
    return True


def sell_out(lab: Lab) -> None:
    for zone in lab.world.call("stock"):
        lab.world.call("set_stock", zone=zone, count=0)


def lab_zone(lab: Lab) -> str:
    """Where the state believes the server to be."""
    (switch,) = (r for r in resources_of(lab) if r["type"].endswith(":Switch"))
    return str(switch["outputs"]["zoneId"])


def calls(lab: Lab) -> list[dict[str, Any]]:
    """What the engine asked of the attached providers so far."""
    noted = (lab.world.folder / "calls.jsonl").read_text()
    return [json.loads(line) for line in noted.splitlines()]

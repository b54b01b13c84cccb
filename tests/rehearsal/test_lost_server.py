"""A server that the state does not know, or the region has no more: nothing is rented twice."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from rehearsal.lab import Lab
from rehearsal.processes import command_of, descendants
from tests.rehearsal.labs import (
    bill,
    change,
    concerned,
    everything_told,
    lab_of,
    pulumi,
    refused,
    told,
    up,
)
from tests.waiting import until
from tools.standing import Stack
from tools.sweep import sweep

# Several runs of the engine each, on a machine that may be busy; `tests/unit/test_adoption.py` has
# what is decided before one of them begins.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

LONG_AGO = "2026-01-01T12:01:00Z"
ONE_SERVER = 2
"""Lines of the bill: the server and its disk."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of(tmp_path_factory.mktemp("lost"), "cpu") as made:
        yield made
        made.engine.destroy()
        assert (bill(made), made.world.call("inventory")) == ([], [])


@pytest.mark.fault("kill -9 of the engine while the server is rented")
def test_an_engine_killed_while_it_rents_loses_no_server(lab: Lab) -> None:
    lab.world.call("switch_on", fault="cloud.silence", key="RunInstances")
    killed_when(lab, lambda: bool(lab.world.call("servers")))
    lab.world.call("switch_on", fault="cloud.silence", key="RunInstances", times=0)
    (server,) = lab.world.call("servers")
    lab.engine.preview()
    assert f"server {server['id']}" in "".join(told(lab, "warning"))
    up(lab)
    assert [one["id"] for one in lab.world.call("servers")] == [server["id"]]
    assert stands(lab)


@pytest.mark.fault("the server taken back after the up")
def test_a_server_that_was_taken_back_is_told_at_once_and_built_anew(lab: Lab) -> None:
    (server,) = lab.world.call("servers")
    lab.world.call("release")
    lab.engine.preview()
    (said,) = told(lab, "warning")
    assert f"The server {server['id']} is not in cn-hangzhou any more" in said
    assert lab.world.call("servers") == []
    up(lab)
    assert stands(lab)


@pytest.mark.fault("lease over, by the clock alone")
def test_a_lease_that_is_over_by_the_clock_alone_is_renewed(lab: Lab) -> None:
    def over(resource: Any) -> None:
        if resource["type"].endswith("server:Lease"):
            resource["outputs"]["ends"] = LONG_AGO
        # Or else the new lease may be the old one, which was made in the same minute.
        if resource["type"].endswith("/instance:Instance"):
            resource["inputs"]["autoReleaseTime"] = LONG_AGO
            resource["outputs"]["autoReleaseTime"] = LONG_AGO

    rewrite_state(lab, over)
    done = concerned(up(lab))
    assert set(done) == {"Lease lease", "Instance instance"}
    assert set().union(*done.values()) == {"update"}
    assert stands(lab)


@pytest.mark.fault("the state restored from yesterday")
def test_a_state_of_yesterday_is_told_and_mended_by_the_sweep(lab: Lab) -> None:
    yesterday = lab.engine.export()
    change(lab, serverGeneration=2)
    up(lab)
    (today,) = lab.world.call("servers")
    change(lab, serverGeneration=1)
    restore(lab, yesterday)
    for attempt in (lab.engine.preview, lab.engine.up):
        said = refused(lab, attempt)
        assert f"server {today['id']} ({today['name']})" in said
        assert "`make sweep STACK=cpu`" in said
    assert len(bill(lab)) == ONE_SERVER
    stack = Stack(lab.stack, True, lab.engine.environment, config_file=lab.engine.stack_file)
    assert sweep(Console(quiet=True), stack, sure=True, ask=None) == 0
    up(lab)
    assert stands(lab)


def test_a_state_of_yesterday_with_the_settings_of_today_is_told(lab: Lab) -> None:
    """Today's server is taken in; what stands on it is of another state."""
    yesterday = lab.engine.export()
    change(lab, serverGeneration=2)
    up(lab)
    restore(lab, yesterday)
    said = refused(lab, lab.engine.up)
    # The first that is refused ends the run; several are made at once.
    assert re.search(r'container name "/[\w-]+" is already in use', said)
    assert "raise serverGeneration" in said
    change(lab, serverGeneration=3)
    up(lab)
    assert stands(lab)


@pytest.fixture(scope="module")
def scarce(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    types = {"instanceType": "ecs.c7.xlarge", "instanceTypes": ["ecs.c7.2xlarge"]}
    with lab_of(tmp_path_factory.mktemp("scarce"), "cpu", **types) as made:
        for zone in list(made.world.call("stock", type="ecs.c7.xlarge"))[1:]:
            made.world.call("set_stock", type="ecs.c7.xlarge", zone=zone, count=0)
        yield made
        made.engine.destroy()
        assert (bill(made), made.world.call("inventory")) == ([], [])


@pytest.mark.fault("sold out between choice and purchase")
def test_sold_out_between_choice_and_purchase_the_next_is_taken(scarce: Lab) -> None:
    sold_out = {"fault": "cloud.OperationDenied.NoStock", "key": "RunInstances", "times": 1}
    scarce.world.call("switch_on", **sold_out)
    assert "OperationDenied.NoStock" in refused(scarce, scarce.engine.up)
    assert bill(scarce) == []
    up(scarce)
    told_of = "the last `up` got no server for ecs.c7.xlarge in cn-hangzhou-"
    assert told_of in everything_told(scarce)
    (server,) = scarce.world.call("servers")
    assert server["type"] == "ecs.c7.2xlarge"
    assert scarce.outputs["hourlyPrice"]["parts"].keys() >= {"ecs.c7.2xlarge"}
    assert stands(scarce)


@pytest.mark.fault("the server taken back in mid-up")
def test_a_server_that_is_taken_back_in_mid_up_is_made_anew_by_the_next(scarce: Lab) -> None:
    change(scarce, serverGeneration=2)

    def on_line(line: str) -> None:
        new = [one["id"] for one in scarce.world.call("servers") if one["name"].endswith("-2")]
        if re.search("RemoteImage .* created", line) and new:
            scarce.world.call("release", server=new[0])

    scarce.engine.on_line = on_line
    refused(scarce, scarce.engine.up)
    scarce.engine.on_line = lambda line: None
    up(scarce)
    assert stands(scarce)


def stands(lab: Lab) -> bool:
    assert len(bill(lab)) == ONE_SERVER
    assert concerned(up(lab)) == {}
    return True


def killed_when(lab: Lab, moment: Callable[[], bool]) -> None:
    """An `up` whose engine is killed at that moment, and its lock taken away."""
    running = threading.Thread(target=partial(refused, lab, lab.engine.up))
    running.start()
    until(moment, "the moment to kill it")
    for pid in descendants(os.getpid()):
        if command_of(pid).startswith("pulumi up"):
            os.kill(pid, signal.SIGKILL)
    running.join(60)
    assert not running.is_alive()
    pulumi(lab, "cancel", "--yes")


def rewrite_state(lab: Lab, edit: Any) -> None:
    state = lab.engine.export()
    for resource in state["deployment"]["resources"]:
        edit(resource)
    restore(lab, state)


def restore(lab: Lab, state: Any) -> None:
    place = lab.folder / "restored.json"
    place.write_text(json.dumps(state))
    pulumi(lab, "stack", "import", "--file", str(place))

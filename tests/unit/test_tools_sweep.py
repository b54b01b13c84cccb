"""`make sweep` on the emulated region: what the state knows stays, all else of the lab's goes."""

import io
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from provisioning.server_problems import OWN_TAG
from rehearsal import real_plugin
from rehearsal.cloud import market
from rehearsal.cloud.ram import Ram
from tests.region import REGION, Region
from tests.tables import table
from tools import account, status, sweep
from tools.account import InCloud, Known, known_in, look_into
from tools.look import Look
from tools.standing import NoLab, Stack

STACK = Stack("x", False, {})
TAGS = {OWN_TAG: "x"}
NONE = "error: no stack named 'x' found"
Said = Callable[..., None]


@pytest.fixture
def region() -> Iterator[Region]:
    made = Region()
    yield made
    made.close()


@pytest.fixture
def pulumi(region: Region, monkeypatch: pytest.MonkeyPatch) -> Said:
    """What `pulumi config` and `pulumi stack export` say: by default, that there is no such stack's
    state, and the emulated region."""
    settings = {**real_plugin.config(region.endpoint.server_port), "alicloud:region": REGION}
    told: dict[str, str] = {}

    def say(known: list[dict[str, Any]] | None = None, errors: str = "", **more: Any) -> None:
        # As the CLI prints a structure: the text, and what it reads there.
        rows = {
            name: {"value": json.dumps(value), "objectValue": value}
            if isinstance(value, list)
            else {"value": value}
            for name, value in settings.items()
        }
        told["config"] = json.dumps(rows)
        deployment = {"resources": known or [], **more}
        told["stack"] = errors or json.dumps({"version": 3, "deployment": deployment})

    def ask(stack: Stack, root: Path, *command: str) -> subprocess.CompletedProcess[str]:
        text = told[command[0]]
        if text.startswith("error"):
            return subprocess.CompletedProcess(command, 255, "", text)
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(account, "ask_pulumi", ask)
    monkeypatch.setattr(sweep, "which_stack", lambda *_: STACK)
    monkeypatch.setattr(status, "which_stack", lambda *_: STACK)
    say()
    return say


def make(region: Region) -> None:
    """Two servers in one network, with all that belongs to a lab."""
    group = region.network(market.gpu_zone(REGION), tags=TAGS)
    key = "alicloud:ecs/ecsKeyPair:EcsKeyPair"
    region.make(key, keyPairName="lab", publicKey="ssh-rsa AAAA", tags=TAGS)
    for _ in range(2):
        order = {"instanceType": "ecs.g7.large", "tags": TAGS, "volumeTags": TAGS}
        region.server(group, keyName="lab", **order, internetMaxBandwidthOut=0)
    region.make("alicloud:ecs/eipAddress:EipAddress", bandwidth="5", addressName="ai-lab-x")


def rows(region: Region, *left_out: str) -> list[dict[str, Any]]:
    """The region's things as a state has them."""
    made = [{"type": token, "id": state.id} for token, state in region.made]
    return [row for row in made if row["id"] not in left_out]


def swept(sure: bool = True, answer: str | None = None) -> tuple[int, str]:
    out = io.StringIO()
    ask = None if answer is None else lambda question: answer
    code = sweep.sweep(Console(file=out, width=200), STACK, sure, ask)
    return code, out.getvalue()


def test_what_a_state_knows_stays_and_all_else_goes(region: Region, pulumi: Said) -> None:
    make(region)
    first, second, eip = (state.id for _, state in region.made[4:])
    before = set(region.cloud.inventory())
    pulumi(rows(region, second, eip))

    assert {each.id for each in look_into(STACK).leftovers} >= {second, eip}
    code, said = swept(sure=False)
    assert (code, set(region.cloud.inventory())) == (1, before)
    assert "YES=1 removes it" in said
    assert "kept in another backend" in said
    assert swept(sure=False, answer="n")[0] == 1
    assert set(region.cloud.inventory()) == before

    code, said = swept(sure=False, answer="y")
    assert code == 0
    assert before - set(region.cloud.inventory()) == {second, eip}
    assert first in region.cloud.instances
    assert "Looked again: nothing is left." in said
    assert swept() == (0, f"In {REGION} nothing of x is left that no state knows.\n")


def test_a_stack_that_does_not_exist_knows_nothing(region: Region, pulumi: Said) -> None:
    make(region)
    pulumi(errors=NONE)
    code, said = swept()
    assert (code, region.cloud.inventory()) == (0, [])
    assert said.index("removed: server") < said.index("removed: security group")
    assert said.index("removed: vSwitch") < said.index("removed: VPC")


def test_what_became_known_while_the_question_stood_is_not_touched(
    region: Region, pulumi: Said
) -> None:
    make(region)
    everything = region.cloud.inventory()

    def answer(question: str) -> str:
        pulumi(rows(region))
        return "y"

    assert sweep.sweep(Console(file=io.StringIO()), STACK, False, answer) == 0
    assert region.cloud.inventory() == everything


def test_what_cannot_be_removed_is_told(region: Region, pulumi: Said) -> None:
    make(region)
    switch = region.made[1][1].id
    only_look = {"Effect": "Allow", "Resource": "*", "Action": ["*:Describe*"]}
    region.cloud.ram = Ram(json.dumps({"Statement": [only_look]}))
    pulumi(rows(region, switch))
    code, said = swept()
    assert code == 1
    assert f"vSwitch {switch}" in said
    assert "Forbidden.RAM" in said
    assert "Looked again, still there:" in said


@pytest.mark.parametrize(
    ("errors", "said"),
    [("error: PULUMI_ACCESS_TOKEN must be set", "pulumi login --local"), ("error: no", "no")],
)
def test_without_a_state_to_compare_with_nothing_is_touched(
    errors: str, said: str, region: Region, pulumi: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    make(region)
    everything = region.cloud.inventory()
    pulumi(errors=errors)
    assert sweep.main({"YES": "1"}) == 2
    assert said in capsys.readouterr().err
    assert region.cloud.inventory() == everything
    assert status.without_lab(STACK, Look(lambda: look_into(STACK), 8.0).result()) == [
        f"? account : not known: The state of the stack x cannot be read: {errors}"
    ]


@table("tools_sweep")
def test_known(exported: Mapping[str, Any], ids: list[str], servers: dict[str, str]) -> None:
    assert known_in(exported) == Known(frozenset(ids), servers)


def test_a_server_that_the_region_has_no_more(region: Region, pulumi: Said) -> None:
    make(region)
    gone, standing, _ = (state.id for _, state in region.made[4:])
    region.cloud.release(gone)
    pulumi(rows(region))
    assert look_into(STACK) == InCloud(REGION, (), (gone,))
    # The settings name another region by now: nothing is known of where it was.
    pulumi([{**row, "outputs": {"availabilityZone": "cn-beijing-f"}} for row in rows(region)])
    assert look_into(STACK).gone == ()
    assert standing in region.cloud.instances


def test_status_without_a_lab_tells_what_costs(
    region: Region,
    pulumi: Said,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def nothing(environ: Any) -> Any:
        raise NoLab("No lab stands.")

    monkeypatch.setattr(status, "find_lab", nothing)
    pulumi(errors=NONE)
    assert status.main({}) == 2
    assert "nothing bears the lab's tag" in capsys.readouterr().out
    make(region)
    server = region.made[4][1].id
    assert status.main({}) == 2
    told = capsys.readouterr()
    assert f"!! leftover server {server}: in no state: since" in told.out
    assert "`make sweep STACK=x`" in told.out
    assert "No lab stands." in told.err

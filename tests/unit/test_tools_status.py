"""`make status`: what is wrong first, and what is shown of it."""

import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from rich.console import Console

from provisioning.account_kinds import Belonging
from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.oneapi import Channel
from provisioning.clients.xinference import ModelState
from provisioning.containers import CONTAINERS as ALL
from provisioning.remote import Container
from tests.unit.standing import OUTPUTS, REAL
from tools import status
from tools.account import InCloud
from tools.findings import Finding, examine
from tools.look import Facts, Failed, GpuMemory, Xinference
from tools.standing import Lab, NoLab, Stack, read_lab
from tools.status import main, show

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=timezone.utc)
LAB = read_lab(REAL, OUTPUTS)
CONTAINERS = tuple(Container(name, "running", "Up 2 hours (healthy)") for name in ALL)
CHANNELS = (
    Channel(name="dashscope-chat", type=17, models=("qwen-max",)),
    Channel(name="xinference-chat", type=1, models=("qwen",)),
    Channel(name="xinference-embedding", type=1, models=("m3e",)),
)
KNOWN = InitData(version="4.8.8", llm=("qwen", "qwen-max"), vector=("m3e",), rerank=("bge",))
SERVING = {name: ModelState("serving", ("READY",)) for name in ("qwen", "m3e", "bge")}
GOOD = Facts(
    LAB,
    NOW,
    containers=CONTAINERS,
    gpus=(GpuMemory("NVIDIA A10", 14000, 23028),),
    xinference=Xinference("2.12.0", SERVING),
    channels=CHANNELS,
    fastgpt=KNOWN,
)


def wrong(facts: Facts) -> list[Finding]:
    return [finding for finding in examine(facts) if finding.wrong]


def named(facts: Facts, what: str, name: str = "") -> Finding:
    return next(f for f in examine(facts) if f.what == what and f.name.startswith(name))


def container(status: str, state: str = "running") -> tuple[Container, ...]:
    return tuple(Container("mongo", state, status) if c.name == "mongo" else c for c in CONTAINERS)


def models(**states: ModelState) -> Xinference:
    return Xinference("2.12.0", SERVING | states)


def disabled(number: int) -> tuple[Channel, ...]:
    return (CHANNELS[0], CHANNELS[1].model_copy(update={"status": number}), CHANNELS[2])


MEND = '`make up STACK=dev ARGS="--refresh"` puts it right.'
NO_HUB = "ERROR Failed to download model 'qwen' after multiple retries"
STARTING = container("Up 3 seconds (health: starting)")
FAILED = models(qwen=ModelState("failed", error=NO_HUB))
ABSENT = models(bge=ModelState("absent"))
FORGOTTEN = KNOWN.model_copy(update={"llm": ("qwen",)})


def test_nothing_is_wrong_with_a_good_lab() -> None:
    assert wrong(GOOD) == []
    assert named(GOOD, "model", "qwen (chat)").state == "served by Xinference"
    assert named(GOOD, "model", "qwen-max").state == "routed to dashscope"
    # What is known of a release today, whatever was known when it was put there.
    holes = "CVE-2025-14847, CVE-2026-8053, CVE-2026-11933"
    assert named(GOOD, "release", "mongo 5.0.18").state == f"warned, has {holes}"
    assert named(GOOD, "release", "pg 0.8.2-pg15").state == "good"
    assert named(GOOD, "GPU").state == "14000 of 23028 MiB used (60 %)"


@pytest.mark.parametrize(
    ("change", "first", "said", "advice"),
    [
        ({"containers": container("", "")}, "container mongo", "is not there", MEND),
        ({"containers": container("Exited (137)", "exited")}, "container mongo", "137", MEND),
        ({"containers": container("Up 2 hours (unhealthy)")}, "container mongo", "unhealthy", MEND),
        ({"containers": container("Up 2 hours")}, "container mongo", "Up 2 hours", "its work"),
        ({"containers": STARTING}, "container mongo", "health: starting", "look again"),
        ({"xinference": FAILED}, "model qwen (chat)", NO_HUB, "The model hub was not reached"),
        ({"xinference": ABSENT}, "model bge (rerank)", "never started", MEND),
        ({"channels": disabled(2)}, "channel xinference-chat", "by hand: qwen", MEND),
        ({"channels": disabled(3)}, "channel xinference-chat", "by OneAPI", MEND),
        ({"channels": CHANNELS[:2]}, "model m3e (embedding)", "no enabled channel", MEND),
        ({"fastgpt": FORGOTTEN}, "model qwen-max (chat)", "models that lack it", MEND),
        ({"containers": Failed("Cannot connect")}, "container Docker", "Cannot", "sshCommand"),
        ({"gpus": Failed("Driver/library mismatch")}, "GPU ", "mismatch", "Reboot"),
        ({"channels": Failed("no answer")}, "channel OneAPI", "no answer", MEND),
        ({"xinference": Failed("no answer")}, "service Xinference", "no answer", "docker logs"),
        ({"fastgpt": Failed("no answer")}, "service FastGPT", "no answer", "docker logs"),
    ],
)
def test_what_is_wrong_is_told_once_with_advice(
    change: dict[str, Any], first: str, said: str, advice: str
) -> None:
    found, *effects = wrong(replace(GOOD, **change))

    assert f"{found.what} {found.name}" == first
    assert said in found.state
    assert advice in found.advice
    # A channel that is off stops its model; nothing else is an effect of another.
    assert [f.name for f in effects] == (["qwen (chat)"] if "-chat" in first else [])


LOST = Belonging(
    kind="server",
    id="i-2",
    name="ai-lab-dev-1",
    created="2026-11-22T10:00Z",
    status="Running",
    costs=True,
    zone="cn-hangzhou-i",
    attached_to="",
    tag=("ai-lab", "dev"),
    tagged=True,
)
SILENT = Failed("no answer within 8 s", silent=True)


@pytest.mark.parametrize(
    ("account", "server", "shown", "advice"),
    [
        (None, None, "", ""),
        (Failed("nobody said who asks"), None, "? account : not known: nobody said who asks", ""),
        (InCloud("cn-hangzhou"), None, "ok account cn-hangzhou: nothing bears the lab's tag", ""),
        (
            InCloud("cn-hangzhou", (LOST,)),
            None,
            "!! leftover server i-2: in no state: ai-lab-dev-1, since 2026-11-22T10:00Z, costs",
            "`make sweep STACK=dev`",
        ),
        (
            InCloud("cn-hangzhou", (), ("i-1",)),
            SILENT,
            "!! server 127.0.0.9: the cloud has it no more: i-1",
            "`make up STACK=dev` builds a new one.",
        ),
    ],
)
def test_what_the_account_adds(account: Any, server: Any, shown: str, advice: str) -> None:
    found = examine(replace(GOOD, account=account, server=server))
    lines = [f"{f.sign} {f.what} {f.name}: {f.state}" for f in found]
    assert any(line.startswith(shown) for line in lines)
    assert [advice in f.advice for f in found if f.wrong] == [True] * bool(advice)
    assert not any("allowedCidrs" in f.advice for f in found)


def test_a_server_that_shows_neither_containers_nor_cards_is_told_once() -> None:
    silent = Failed("no answer within 8 s", silent=True)
    found = wrong(replace(GOOD, containers=silent, gpus=silent))
    assert [f.what for f in found] == ["container"]


def test_what_is_not_ours_or_not_known_is_shown_and_not_wrong() -> None:
    mine = Channel(name="mine", type=1, models=("gpt-4o",), status=2)
    facts = replace(GOOD, channels=(*CHANNELS, mine))
    assert wrong(facts) == []
    assert named(facts, "channel", "mine").state == "disabled by hand: gpt-4o"
    found = named(replace(GOOD, xinference=Failed("no answer")), "model", "qwen (chat)")
    assert (found.state, found.sign) == ("not known", "?")


def test_an_unreachable_server_is_the_one_thing_wrong_and_names_the_causes() -> None:
    silent = Facts(LAB, NOW, server=Failed("no answer within 8 s", silent=True))
    (found,) = wrong(silent)
    assert found.what == "server"
    assert "allowedCidrs in Pulumi.dev.yaml" in found.advice
    assert "lease" in found.advice
    # A lease that ended comes before the silence it causes.
    ended = replace(LAB, lease_ends=NOW - timedelta(minutes=1))
    first, second = wrong(replace(silent, lab=ended))
    assert (first.what, second.what) == ("lease", "server")
    assert "`make destroy STACK=dev`" in first.advice
    # A key that is refused is not taken for a changed address.
    (found,) = wrong(Facts(LAB, NOW, server=Failed("Permission denied. The key must be ...")))
    assert "The key must be" in found.state
    assert "allowedCidrs" not in found.advice


def test_lease_and_cost() -> None:
    def told(what: str, **change: Any) -> str:
        found = named(replace(GOOD, lab=replace(LAB, **change)), what)
        assert not found.wrong
        return found.state

    soon = NOW + timedelta(minutes=39)
    assert "7 h 31 min left" in told("lease", lease_ends=soon + timedelta(hours=6, minutes=52))
    assert "0 h 39 min left; `make up STACK=dev` renews it" in told("lease", lease_ends=soon)
    assert "`make destroy STACK=dev` only" in told("lease", lease_ends=None)
    assert "about CNY 30.00: 2 h 30 min at 12.00 an hour" in told("cost")
    unknown = "2 h 30 min so far, at a price that is not in the table: see the bill"
    assert unknown in told("cost", hourly_price=None)
    rehearsed = "nothing, it is rehearsed; in the cloud about CNY"
    assert rehearsed in told("cost", stack=Stack("dev", True, {}))
    late = named(replace(GOOD, now=datetime(2026, 12, 1, tzinfo=timezone.utc)), "cost").state
    assert "about CNY 120.20: 10 h 01 min at 12.00 an hour" in late
    assert "estimate" in late


def test_a_rehearsed_lab_is_never_mended_by_make_up() -> None:
    lab = replace(LAB, stack=Stack("dev", True, {}))
    found = wrong(replace(GOOD, lab=lab, containers=container("", ""), channels=CHANNELS[:1]))
    assert found
    assert all("KEEP=1 make rehearse" in f.advice for f in found)
    assert not any("make up" in f.advice for f in found)


def shown(facts: Facts) -> str:
    out = io.StringIO()
    show(Console(file=out, width=120, highlight=False), facts.lab, examine(facts))
    return out.getvalue()


def test_a_pipe_reads_what_is_wrong_first_without_colours() -> None:
    text = shown(replace(GOOD, channels=(), containers=container("", "")))
    assert "Wrong first: container mongo: is not there" in text
    assert "What to do:" in text
    assert "3 more lines are marked !!" in text
    assert "\x1b" not in text
    assert len([line for line in text.splitlines() if line.strip().startswith("!!")]) == 4
    assert "Nothing is wrong." in shown(GOOD)
    assert "!!" not in shown(GOOD)


@pytest.mark.parametrize(
    ("facts", "code"), [(GOOD, 0), (replace(GOOD, containers=container("", "")), 1), (None, 2)]
)
def test_exit_code(
    facts: Facts | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def found(environ: Any) -> Lab:
        if facts is None:
            raise NoLab("No lab stands.")
        return facts.lab

    monkeypatch.setattr(status, "find_lab", found)
    monkeypatch.setattr(status, "which_stack", lambda *_: REAL)
    monkeypatch.setattr(status, "look_into", lambda *_: InCloud("cn-hangzhou"))
    later = replace(LAB, lease_ends=datetime(2999, 1, 1, tzinfo=timezone.utc))
    monkeypatch.setattr(status, "gather", lambda *_: facts and replace(facts, lab=later))
    assert main({}) == code
    assert ("No lab stands." in capsys.readouterr().err) is (facts is None)

"""`make status`: what is gathered, what is wrong first, what is shown."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from rich.console import Console

from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.oneapi import Channel
from provisioning.tunnel import KeyRefused, ServerUnreachable
from tests.unit.fake_services import FakeFastGpt, FakeOneApi, FakeXinference
from tests.unit.test_tools_standing import OUTPUTS, REAL, SECRETS
from tools import status
from tools.standing import Lab, NoLab, Ran, Stack, read_lab
from tools.status import (
    Container,
    Facts,
    Failed,
    Finding,
    GpuMemory,
    Way,
    Xinference,
    containers_of,
    examine,
    gather,
    gpus_of,
    main,
    show,
)

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=timezone.utc)
LAB = read_lab(REAL, OUTPUTS)
NAMES = ("pg", "mongo", "mysql", "sandbox", "oneapi", "xinference", "fastgpt")
CONTAINERS = tuple(Container(name, "running", "Up 2 hours (healthy)") for name in NAMES)
CHANNELS = (
    Channel(name="dashscope-chat", type=17, models=("qwen-max",)),
    Channel(name="xinference-chat", type=1, models=("qwen",)),
    Channel(name="xinference-embedding", type=1, models=("m3e",)),
)
KNOWN = InitData(version="4.8.8", llm=("qwen", "qwen-max"), vector=("m3e",), rerank=("bge",))
GOOD = Facts(
    LAB,
    NOW,
    containers=CONTAINERS,
    gpus=(GpuMemory("NVIDIA A10", 14000, 23028),),
    xinference=Xinference("2.12.0", frozenset({"qwen", "m3e", "bge"})),
    channels=CHANNELS,
    fastgpt=KNOWN,
)


def wrong(facts: Facts) -> list[Finding]:
    return [finding for finding in examine(facts) if finding.wrong]


def named(facts: Facts, what: str, name: str = "") -> Finding:
    return next(f for f in examine(facts) if f.what == what and f.name.startswith(name))


def without(name: str) -> tuple[Container, ...]:
    return tuple(container for container in CONTAINERS if container.name != name)


def test_nothing_is_wrong_with_a_good_lab() -> None:
    assert wrong(GOOD) == []
    assert named(GOOD, "model", "qwen (chat)").state == "served by Xinference"
    assert named(GOOD, "model", "qwen-max").state == "routed to dashscope"
    assert named(GOOD, "GPU").state == "14000 of 23028 MiB used (60 %)"


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (None, "is not there"),
        (Container("mongo", "exited", "Exited (137) 3 minutes ago"), "Exited (137)"),
        (Container("mongo", "running", "Up 2 hours (unhealthy)"), "(unhealthy)"),
        (Container("mongo", "running", "Up 2 hours"), "Up 2 hours"),
        (Container("mongo", "running", "Up 3 seconds (health: starting)"), "health: starting"),
    ],
)
def test_a_container_that_does_not_do_its_work_is_wrong(
    container: Container | None, said: str
) -> None:
    others = without("mongo")
    facts = replace(GOOD, containers=(*others, container) if container else others)

    (found,) = wrong(facts)

    assert (found.what, found.name) == ("container", "mongo")
    assert said in found.state
    assert "make up STACK=dev" in found.advice


def test_others_containers_are_nobodys_business() -> None:
    other = Container("somebody-elses", "exited", "Exited (1)")
    assert wrong(replace(GOOD, containers=(*CONTAINERS, other))) == []


def test_xinference_is_missed_only_where_the_lab_has_it() -> None:
    lean = {k: v for k, v in OUTPUTS.items() if k != "xinferenceUrl"}
    lean["models"] = [{"name": "qwen-max", "kind": "chat", "servedBy": "dashscope"}]
    facts = replace(
        GOOD, lab=read_lab(REAL, lean), containers=without("xinference"), gpus=(), xinference=None
    )

    assert wrong(facts) == []
    assert [f.name for f in wrong(replace(facts, lab=LAB))][:1] == ["xinference"]


def test_a_model_that_is_not_served_tells_why_and_what_to_do() -> None:
    said = "ERROR Failed to download model 'qwen' after multiple retries"
    xinference = Xinference("2.12.0", frozenset({"m3e", "bge"}), {"qwen": said})

    (found,) = wrong(replace(GOOD, xinference=xinference))

    assert found.name == "qwen (chat)"
    assert said in found.state
    assert "The model hub was not reached" in found.advice


def test_a_model_that_was_never_started_is_told_as_such() -> None:
    xinference = Xinference("2.12.0", frozenset({"qwen", "m3e"}))
    (found,) = wrong(replace(GOOD, xinference=xinference))
    assert (found.name, "never started" in found.state) == ("bge (rerank)", True)


@pytest.mark.parametrize(("number", "said"), [(2, "by hand"), (3, "by OneAPI")])
def test_a_disabled_channel_comes_before_the_model_that_it_stops(number: int, said: str) -> None:
    off = CHANNELS[1].model_copy(update={"status": number})

    first, second = wrong(replace(GOOD, channels=(CHANNELS[0], off, CHANNELS[2])))

    assert (first.what, first.name) == ("channel", "xinference-chat")
    assert said in first.state
    assert first.advice == '`make up STACK=dev ARGS="--refresh"` puts it right.'
    assert second.name == "qwen (chat)"


def test_a_disabled_channel_for_others_models_is_shown_and_not_wrong() -> None:
    mine = Channel(name="mine", type=1, models=("gpt-4o",), status=2)
    facts = replace(GOOD, channels=(*CHANNELS, mine))

    assert wrong(facts) == []
    assert named(facts, "channel", "mine").state == "disabled by hand: gpt-4o"


def test_a_model_without_channel_is_wrong_but_a_reranker_needs_none() -> None:
    (found,) = wrong(replace(GOOD, channels=CHANNELS[:2]))
    assert found.name == "m3e (embedding)"


def test_a_model_that_fastgpt_does_not_know_is_wrong() -> None:
    (found,) = wrong(replace(GOOD, fastgpt=KNOWN.model_copy(update={"llm": ("qwen",)})))
    assert found.name == "qwen-max (chat)"
    assert "config.json" in found.state


@pytest.mark.parametrize(
    ("change", "what", "name"),
    [
        ({"containers": Failed("Cannot connect")}, "container", "Docker"),
        ({"gpus": Failed("Driver/library version mismatch")}, "GPU", ""),
        ({"channels": Failed("no answer within 8 s")}, "channel", "OneAPI"),
        ({"xinference": Failed("no answer within 8 s")}, "service", "Xinference"),
        ({"fastgpt": Failed("no answer within 8 s")}, "service", "FastGPT"),
    ],
)
def test_what_does_not_answer_is_wrong_once(change: dict[str, Any], what: str, name: str) -> None:
    facts = replace(GOOD, **change)

    assert [(f.what, f.name) for f in wrong(facts)] == [(what, name)]


def test_a_model_nobody_could_ask_about_is_neither_right_nor_wrong() -> None:
    facts = replace(GOOD, xinference=Failed("no answer"))
    found = named(facts, "model", "qwen (chat)")
    assert (found.state, found.sign) == ("not known", "?")
    assert named(GOOD, "model", "qwen (chat)").sign == "ok"


def test_an_unreachable_server_is_the_one_thing_wrong_and_names_the_causes() -> None:
    (found,) = wrong(Facts(LAB, NOW, server=Failed("no answer within 8 s", silent=True)))

    assert found.what == "server"
    assert "allowedCidrs in Pulumi.dev.yaml" in found.advice
    assert "lease" in found.advice


def test_a_key_that_is_refused_is_not_taken_for_a_changed_address() -> None:
    (found,) = wrong(Facts(LAB, NOW, server=Failed("Permission denied. The key must be ...")))

    assert "The key must be" in found.state
    assert "allowedCidrs" not in found.advice


def test_a_lease_that_ended_comes_before_the_silence_it_causes() -> None:
    lab = replace(LAB, lease_ends=NOW - timedelta(minutes=1))

    first, second = wrong(Facts(lab, NOW, server=Failed("no answer", silent=True)))

    assert first.what == "lease"
    assert "`make destroy STACK=dev`" in first.advice
    assert second.what == "server"


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(hours=7, minutes=31), "7 h 31 min left"),
        (timedelta(minutes=39), "0 h 39 min left; `make up STACK=dev` renews it"),
    ],
)
def test_lease_and_its_hours(left: timedelta, said: str) -> None:
    found = named(replace(GOOD, lab=replace(LAB, lease_ends=NOW + left)), "lease")
    assert found.state.endswith(said)
    assert not found.wrong


def test_no_lease_says_what_ends_it() -> None:
    found = named(replace(GOOD, lab=replace(LAB, lease_ends=None)), "lease")
    assert "`make destroy STACK=dev` only" in found.state


@pytest.mark.parametrize(
    ("now", "span", "cost"),
    [
        (NOW, "2 h 30 min", "30.00"),
        (datetime(2026, 12, 1, tzinfo=timezone.utc), "10 h 01 min", "120.20"),
    ],
)
def test_cost_grows_by_the_hour_until_the_lease_ends(now: datetime, span: str, cost: str) -> None:
    state = named(replace(GOOD, now=now), "cost").state
    assert f"about CNY {cost}: {span} at 12.00 an hour" in state
    assert "estimate" in state


def test_an_unknown_price_gives_no_number() -> None:
    state = named(replace(GOOD, lab=replace(LAB, hourly_price=None)), "cost").state
    assert state == "2 h 30 min so far, at a price that is not in the table: see the bill"


def test_a_rehearsed_lab_is_never_mended_by_make_up() -> None:
    lab = replace(LAB, stack=Stack("dev", True, {}))
    facts = replace(GOOD, lab=lab, containers=(), channels=CHANNELS[:1])

    found = wrong(facts)

    assert found
    assert all("KEEP=1 make rehearse" in f.advice for f in found)
    assert not any("make up" in f.advice for f in found)


def test_a_rehearsed_lab_costs_nothing() -> None:
    facts = replace(GOOD, lab=replace(LAB, stack=Stack("dev", True, {})))
    assert named(facts, "cost").state.startswith("nothing, it is rehearsed; in the cloud about CNY")


def test_docker_ps_is_read() -> None:
    text = "fastgpt|running|Up 2 hours (healthy)\nmysql|exited|Exited (1) 2 minutes ago\n"

    found = containers_of(Ran(0, text, ""))

    assert isinstance(found, tuple)
    assert [c.healthy for c in found] == [True, False]
    assert found[1].status == "Exited (1) 2 minutes ago"
    assert containers_of(Ran(1, "", "Cannot connect to the Docker daemon\n")) == Failed(
        "Cannot connect to the Docker daemon"
    )


def test_nvidia_smi_is_read() -> None:
    text = "NVIDIA A10, 14000, 23028\nTesla T4, 1, 15360\n"
    assert gpus_of(Ran(0, text, "")) == (
        GpuMemory("NVIDIA A10", 14000, 23028),
        GpuMemory("Tesla T4", 1, 15360),
    )
    assert gpus_of(Ran(127, "", "sh: nvidia-smi: not found")) == ()
    assert gpus_of(Ran(18, "Failed to initialize NVML", "")) == Failed("Failed to initialize NVML")
    assert isinstance(gpus_of(Ran(0, "NVIDIA A10, [N/A], 23028\n", "")), Failed)


# -- gather -------------------------------------------------------------------------------------


class FakeLab:
    """A server with the three services, each behind its port."""

    def __init__(self) -> None:
        self.oneapi, self.fastgpt, self.xinference = FakeOneApi(), FakeFastGpt(), Listing()
        self.oneapi.access_token = LAB.access_token
        self.oneapi.add_channel(name="xinference-chat", type=1, models="qwen")
        for name in ("qwen", "m3e"):
            self.xinference.put({"model_uid": name})
        self.xinference.put({"model_uid": "bge"}, "ERROR", "CUDA out of memory")
        self.ran: list[Sequence[str]] = []
        self.answers = [Ran(0, "pg|running|Up (healthy)\n", ""), Ran(0, "A10, 1, 2\n", "")]

    @property
    def way(self) -> Way:
        by_port = {3000: self.fastgpt, 3001: self.oneapi, 9997: self.xinference}

        def take(request: httpx.Request) -> httpx.Response:
            return by_port[request.url.port or 80]._take(request)

        return Way(lambda port: f"http://lab:{port}", self.run, httpx.MockTransport(take))

    def run(self, commands: Sequence[str]) -> list[Ran]:
        self.ran.append(commands)
        return self.answers


class Listing(FakeXinference):
    """Xinference with the read that only status makes (docs/facts/xinference.md §2)."""

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/cluster/version":
            return httpx.Response(200, json={"version": "2.12.0"})
        return super().answer(request)


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


def test_everything_is_gathered(lab: FakeLab) -> None:
    facts = gather(LAB, lab.way, NOW)

    assert facts.server is None
    assert facts.containers == (Container("pg", "running", "Up (healthy)"),)
    assert facts.gpus == (GpuMemory("A10", 1, 2),)
    assert facts.xinference == Xinference(
        "2.12.0", frozenset({"qwen", "m3e"}), {"bge": "failed: CUDA out of memory"}
    )
    assert isinstance(facts.channels, tuple)
    assert facts.channels[0].models == ("qwen",)
    assert isinstance(facts.fastgpt, InitData)
    assert facts.fastgpt.version == "4.8.8-fix2"


def test_a_model_whose_process_ended_is_not_called_served(lab: FakeLab) -> None:
    lab.xinference.models["qwen"]["crashed"] = True
    found = gather(LAB, lab.way, NOW).xinference
    assert isinstance(found, Xinference)
    assert found.serving == {"m3e"}
    assert found.others["qwen"] == "down (TERMINATING)"


def test_without_xinference_nobody_asks_it(lab: FakeLab) -> None:
    lab.xinference.down = True
    assert gather(replace(LAB, xinference_url=""), lab.way, NOW).xinference is None


@pytest.mark.parametrize("name", ["oneapi", "fastgpt", "xinference"])
def test_a_service_that_is_down_does_not_hide_the_others(lab: FakeLab, name: str) -> None:
    getattr(lab, name).down = True
    facts = gather(LAB, lab.way, NOW)

    found = {"oneapi": facts.channels, "fastgpt": facts.fastgpt, "xinference": facts.xinference}
    assert [n for n, value in found.items() if isinstance(value, Failed)] == [name]


def test_a_rate_limit_is_not_waited_out(lab: FakeLab) -> None:
    lab.oneapi.too_many = 1000
    channels = gather(LAB, lab.way, NOW).channels
    assert isinstance(channels, Failed)
    assert not channels.silent
    assert lab.oneapi.too_many == 999


@pytest.mark.parametrize(
    ("error", "silent"),
    [
        (ServerUnreachable("SSH", "connect root@h:22", "timed out"), True),
        (KeyRefused("SSH", "connect root@h:22", "Permission denied"), False),
    ],
)
def test_no_way_in_is_told_apart_and_nothing_else_is_asked(
    lab: FakeLab, error: Exception, silent: bool
) -> None:
    def closed(port: int) -> str:
        raise error

    facts = gather(LAB, replace(lab.way, url=closed), NOW)

    assert facts.server is not None
    assert facts.server.silent is silent
    assert (facts.containers, facts.channels, facts.fastgpt) == (None, None, None)
    assert lab.ran == []


@pytest.fixture
def never() -> Iterator[Callable[..., Any]]:
    """Something that does not answer while the test runs."""
    released = threading.Event()
    yield lambda *_: released.wait() and None
    released.set()


def test_a_look_that_hangs_is_given_up(lab: FakeLab, never: Callable[..., Any]) -> None:
    facts = gather(LAB, replace(lab.way, run=never), NOW, seconds=0.2)

    assert facts.containers == Failed("no answer within 0 s", silent=True)
    assert isinstance(facts.fastgpt, InitData)


def test_a_server_that_hangs_is_given_up(lab: FakeLab, never: Callable[..., Any]) -> None:
    facts = gather(LAB, replace(lab.way, url=never), NOW, seconds=0.2)

    assert facts.server == Failed("no answer within 0 s", silent=True)


# -- show ---------------------------------------------------------------------------------------


def shown(facts: Facts) -> str:
    out = io.StringIO()
    show(Console(file=out, width=120, highlight=False), facts.lab, examine(facts))
    return out.getvalue()


def test_a_pipe_reads_what_is_wrong_first_without_colours() -> None:
    text = shown(replace(GOOD, channels=(), containers=without("pg")))

    assert "Wrong first: container pg: is not there" in text
    assert "What to do:" in text
    assert "3 more lines are marked !!" in text
    assert "\x1b" not in text
    marked = [line for line in text.splitlines() if line.strip().startswith("!!")]
    assert len(marked) == 4


def test_a_good_lab_says_so() -> None:
    text = shown(GOOD)
    assert "Nothing is wrong." in text
    assert "!!" not in text


def test_no_secret_is_shown_though_a_service_echoes_it(lab: FakeLab) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        said = f"bad token {request.headers.get('authorization')}"
        return httpx.Response(200, json={"success": False, "message": said})

    way = replace(lab.way, transport=httpx.MockTransport(echo))
    text = shown(gather(LAB, way, NOW))

    assert "bad token ***" in text
    assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize(
    ("facts", "code"), [(GOOD, 0), (replace(GOOD, containers=()), 1), (None, 2)]
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
    monkeypatch.setattr(status, "gather", lambda *_: facts and replace(facts, lab=future(LAB)))

    assert main({}) == code
    assert ("No lab stands." in capsys.readouterr().err) is (facts is None)


def future(lab: Lab) -> Lab:
    return replace(lab, lease_ends=datetime(2999, 1, 1, tzinfo=timezone.utc))

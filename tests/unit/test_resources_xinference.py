"""Models, groups of them, and room for them: what the contract suite does not show of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import DeadlineExceeded, Refused, Unreachable
from stack.resources.xinference.eviction import Eviction
from stack.resources.xinference.launch import POLL_SECONDS, STOP_SECONDS, differences
from stack.resources.xinference.model import Model
from stack.resources.xinference.models_ready import ModelsReady
from stack.resources.xinference.progress import UNWIND_SECONDS
from tests.in_process import InProcess
from tests.tables import table
from tests.unit.subject import ENDPOINT, PAYLOAD, Subject
from tests.unit.xinference import BGE, M3E, Answers, ask, double

GIB = 2**30


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InProcess]:
    with double(monkeypatch, tmp_path) as made:
        yield made


def on(service: InProcess | Answers, thing: Any, **wanted: Any) -> Subject:
    """A resource of a server."""
    subject = Subject(thing, {"endpoint": ENDPOINT, **wanted})
    subject.service = service
    subject.provider.transport = service if isinstance(service, InProcess) else service.transport
    return subject


def launched(server: InProcess, payload: dict[str, Any]) -> None:
    """By another hand, and it serves."""
    ask(server, "POST", "/v1/models", payload)


def entries(server: InProcess) -> dict[str, Any]:
    found = ask(server, "GET", "/v1/autostart/models")["models"]
    return {entry["launch"]["model_uid"]: entry["launch"] for entry in found}


# -- one model ----------------------------------------------------------------------------------


def test_a_model_is_started_and_not_awaited_with_a_size_that_is_a_whole_number(
    server: InProcess,
) -> None:
    # As it comes over the engine's wire.
    model = on(server, Model, payload={**PAYLOAD, "model_size_in_billions": 14.0})
    model.create()
    assert (model.id, model.clock.passed) == ("qwen", 0)
    assert server.calls == [
        # Else another model's entry could bring it back at any time.
        ("DELETE", "/v1/autostart/models/qwen"),
        ("POST", "/v1/models"),
        # Last, because writing it starts what is down.
        ("POST", "/v1/autostart/models"),
    ]
    assert repr(entries(server)["qwen"]["model_size_in_billions"]) == "14"
    server.down = True
    assert model.seen() == model.state, "unreachable is not gone"


def test_one_that_started_by_itself_meanwhile_is_adopted(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(server, {**BGE, "model_uid": "m3e"})
    take = server.handle_request

    def autostart_is_faster(request: httpx.Request) -> httpx.Response:
        if ("DELETE", "/v1/models/m3e") in server.calls and request.method == "POST":
            monkeypatch.setattr(server, "handle_request", take)
            launched(server, M3E)
        return take(request)

    monkeypatch.setattr(server, "handle_request", autostart_is_faster)
    model = on(server, Model, payload=M3E)
    model.create()
    assert server.calls.count(("POST", "/v1/models")) == 2, "both refused"
    assert not model.drifts()


@table("resources_xinference")
def test_a_model_is_gone_that_neither_serves_nor_is_to_come(
    standing: str, entry: dict[str, Any], gone: bool
) -> None:
    answers = Answers()
    model = on(answers, Model, payload=PAYLOAD)
    model.create()
    answers.standings["qwen"], answers.entries["qwen"] = standing, entry
    assert model.gone() is gone


@table("resources_xinference")
def test_only_what_both_sides_tell_is_compared_and_the_cpu_is_no_gpu(
    payload: dict[str, Any], found: dict[str, Any], differing: dict[str, Any]
) -> None:
    assert differences(payload, found) == differing


def test_a_launch_that_cannot_be_ended_is_not_called_gone() -> None:
    answers = Answers(qwen="launching")
    # No worker would hear a cancel yet.
    answers.without_replicas = True
    model = on(answers, Model, payload=PAYLOAD)
    model.create()
    with pytest.raises(DeadlineExceeded, match="launching") as error:
        model.delete()
    assert "docker restart xinference" in error.value.advice
    assert ("POST", "/v1/models/qwen/cancel") not in answers.calls


def test_unreachable_is_no_reason_to_go_on_deleting() -> None:
    answers = Answers(qwen="launching")
    model = on(answers, Model, payload=PAYLOAD)
    model.create()
    model.clock.on_sleep = lambda: setattr(answers, "down", True)
    with pytest.raises(Unreachable):
        model.delete()
    assert model.clock.passed < STOP_SECONDS
    assert ("POST", "/v1/models/qwen/cancel") in answers.calls


# -- a group ------------------------------------------------------------------------------------


def group_of(answers: Answers) -> Subject:
    return on(answers, ModelsReady, payloads={"qwen": PAYLOAD}, deadline_minutes=60)


def downloading(done: int, **more: int) -> dict[str, Any]:
    return {"stage": "downloading", "download_files": [{"downloaded_bytes": done, **more}]}


@table("resources_xinference")
def test_progress_is_told(
    progress: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(qwen="launching")
    answers.progress = progress
    told: list[str] = []
    monkeypatch.setattr("pulumi.log.info", told.append)
    group = group_of(answers)
    group.clock.on_sleep = lambda: answers.standings.update(qwen="serving")
    assert group.create()["ready"] == ["qwen"]
    assert told == [f"model qwen: {said}", "model qwen: serves"]


@pytest.mark.parametrize(
    ("minutes", "progress_at", "seen"),
    [
        (30, lambda seconds: downloading(int(seconds)), "downloading"),
        # It is told in steps of 0.05, and one may take a quarter of an hour.
        (40, lambda seconds: {"progress": 0.05 * int(seconds / 900)}, "creating, 10%"),
        (25, lambda _: {"progress": 0.8}, "creating, 80%"),
        (25, lambda _: {"progress": 0.9, "stage": "installing"}, "installing"),
    ],
    ids=["bytes", "fraction", "loads", "installs"],
)
def test_what_moves_or_loads_does_not_hang(
    minutes: int, progress_at: Callable[[float], dict[str, Any]], seen: str
) -> None:
    answers = Answers(qwen="launching")
    group = group_of(answers)
    group.clock.on_sleep = lambda: setattr(answers, "progress", progress_at(group.clock.passed))
    with pytest.raises(DeadlineExceeded, match=seen):
        group.create(deadline_minutes=minutes)
    assert answers.launches() == 0


@table("resources_xinference")
def test_a_download_found_standing_still_is_not_given_the_whole_limit_anew(
    launched: float, fraction: float, patience: float
) -> None:
    """A wait that failed leaves nothing in the state: the server knows when it was launched."""
    answers = Answers(qwen="launching")
    answers.progress = {"progress": fraction}
    group = group_of(answers)
    answers.launched_at = group.clock.now().timestamp() - 60 * launched
    restarted: list[float] = []

    def go_on() -> None:
        if answers.launches():
            answers.standings["qwen"] = "serving"
        elif ("POST", "/v1/models/qwen/cancel") in answers.calls:
            restarted.append(group.clock.passed / 60)
            answers.standings["qwen"] = "failed"

    group.clock.on_sleep = go_on
    assert group.create()["ready"] == ["qwen"]
    assert restarted[0] == pytest.approx(patience, abs=0.2)


def test_a_launch_that_unwinds_is_waited_for() -> None:
    """After a cancel 2.12 refuses the uid for up to a minute: few launches are wasted on that."""
    answers = Answers(qwen="failed")
    answers.errors["qwen"] = "qwen-0 is running"
    group = group_of(answers)

    def unwinds() -> None:
        if group.clock.passed >= 50:
            answers.standings["qwen"] = "serving"

    group.clock.on_sleep = unwinds
    assert group.create()["ready"] == ["qwen"]
    assert answers.launches() == 50 // UNWIND_SECONDS


@table("resources_xinference")
def test_what_another_launch_cannot_help_is_told_at_once(errors: list[str], said: str) -> None:
    answers = Answers(qwen="launching")
    group = group_of(answers)
    texts = iter(errors)

    def fails() -> None:
        answers.standings["qwen"] = "failed"
        answers.errors["qwen"] = next(texts, errors[-1])

    group.clock.on_sleep = fails
    with pytest.raises(Refused, match=said):
        group.create()
    # The second look sees it, the third confirms it.
    assert group.clock.passed <= 2 * POLL_SECONDS
    assert answers.launches() == 0


def test_a_model_that_no_longer_serves_is_drift_of_its_group() -> None:
    answers = Answers(qwen="serving")
    group = group_of(answers)
    group.create()
    assert not group.changes(deadline_minutes=5)
    assert group.changes(generation="2")
    answers.standings["qwen"] = "failed"
    assert group.seen()["ready"] == []
    group.clock.on_sleep = lambda: answers.standings.update(qwen="serving")
    assert group.heal()["ready"] == ["qwen"]


# -- room on the card ---------------------------------------------------------------------------


@pytest.fixture
def eviction(server: InProcess) -> Subject:
    launched(server, M3E)
    ask(server, "POST", "/v1/autostart/models", {"launch": M3E})
    made = on(server, Eviction, payloads={"m3e": M3E})
    made.create()
    return made


def changed(eviction: Subject, *payloads: dict[str, Any]) -> dict[str, Any]:
    wanted = {payload["model_uid"]: payload for payload in payloads}
    assert eviction.changes(payloads=wanted)
    return dict(eviction.update(payloads=wanted))


def test_what_stays_or_is_reached_another_way_is_not_touched(eviction: Subject) -> None:
    changed(eviction, M3E, BGE)
    there = {**ENDPOINT, "host": "1.2.3.5"}
    assert eviction.changes(endpoint=there)
    assert eviction.update(endpoint=there)["generation"] == 1
    assert eviction.service.calls == []


@pytest.mark.parametrize("wanted", [BGE, {**M3E, "gpu_memory_utilization": 0.5}])
def test_what_is_no_longer_wanted_leaves_and_its_entry_first(
    eviction: Subject, wanted: dict[str, Any]
) -> None:
    assert changed(eviction, wanted)["generation"] == 1
    # The new one is for XinferenceModel to start.
    assert [call for call in eviction.service.calls if call[0] != "GET"] == [
        ("DELETE", "/v1/autostart/models/m3e"),
        ("DELETE", "/v1/models/m3e"),
    ]


@pytest.mark.parametrize(
    ("other", "evicted"), [(BGE, {"bge"}), ({**M3E, "model_name": "x"}, {"m3e"})]
)
def test_a_change_taken_back_starts_the_old_model_again_and_at_each_boot(
    eviction: Subject, server: InProcess, other: dict[str, Any], evicted: set[str]
) -> None:
    """Where it kept its name the engine never came to the model, and takes it for started."""
    changed(eviction, other)
    if other is BGE:
        launched(server, BGE)
    back = changed(eviction, M3E)
    assert (back["generation"], set(back["evicted"])) == (2, evicted)
    on(server, ModelsReady, payloads={"m3e": M3E}).create()
    assert [row["model_uid"] for row in ask(server, "GET", "/v1/models/instances")] == ["m3e"]
    assert list(entries(server)) == ["m3e"]

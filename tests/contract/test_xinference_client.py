"""Our Xinference client and resources against the double, at both releases.

Facts: docs/facts/xinference.md §2, §6, and what the source of 2.12.0 adds (see the double's
docstring).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import Refused
from provisioning.clients.xinference import XinferenceClient
from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from rehearsal.faults import switch_on
from stack.resources.base import LabProvider, Props
from stack.resources.xinference import progress
from stack.resources.xinference.launch import STOP_SECONDS
from stack.resources.xinference.model import Model
from stack.resources.xinference.models_ready import ModelsReady
from stack.resources.xinference.progress import MOST_LAUNCHES
from tests.contract.xinference_subject import MAINLAND, Double

VERSIONS = (DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE)
PINNED = pytest.mark.parametrize("version", [DEFAULT_XINFERENCE])
TIMES_FASTER = 60.0
SLOW = "4e9"
"""Bytes per second that let QWEN's download take over two seconds: minutes on the fast clock."""
QWEN = {
    "model_uid": "qwen",
    "model_name": "qwen2.5-instruct",
    "model_type": "LLM",
    "model_engine": "vllm",
    "model_format": "awq",
    "model_size_in_billions": 14,
    "quantization": "Int4",
    "n_gpu": 1,
    "download_hub": "modelscope",
    "gpu_memory_utilization": 0.70,
    "max_model_len": 16384,
}
# Where the image has engines, naming one changes nothing here.
ENGINE = {"model_engine": "sentence_transformers"}
M3E = {"model_uid": "embedder", "model_name": "m3e-base", "model_type": "embedding", **ENGINE}
RERANKER = {
    "model_uid": "sorter",
    "model_name": "bge-reranker-v2-m3",
    "model_type": "rerank",
    **ENGINE,
}
# Another model under M3E's uid.
OTHER = {**M3E, "model_name": "bge-m3"}


class FastClock:
    """Real time, only faster: the waits of minutes take seconds, and every one is really waited."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic() * TIMES_FASTER

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / TIMES_FASTER)


class Recording(httpx.HTTPTransport):
    """The network, and what went over it as (method, path)."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.calls: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.path))
        return super().handle_request(request)

    def changes(self) -> list[tuple[str, str]]:
        """What was not only looked at."""
        return [call for call in self.calls if call[0] != "GET"]


class Lab:
    """One server, and the lab's own way to use it."""

    def __init__(self, double: Double, version: str) -> None:
        self.double, self.version = double, version
        self.network = Recording()
        self.models = self._provider(LabProvider(Model))
        self.group = self._provider(LabProvider(ModelsReady))
        self.client = XinferenceClient(
            f"http://{double.address}:9997", transport=self.network, clock=FastClock()
        )

    def _provider(self, made: Any) -> Any:
        provider: LabProvider = made
        provider.transport = self.network
        provider.clock = FastClock()
        return provider

    def model(self, payload: dict[str, Any]) -> Props:
        """A model's inputs."""
        endpoint = {"host": self.double.address, "port": 9997}
        return {"endpoint": endpoint, "payload": payload}

    def create(self, payload: dict[str, Any]) -> Props:
        """Start a model; its outputs."""
        outs: Props = self.models.create(self.model(payload)).outs
        return outs

    def wait(self, *payloads: dict[str, Any], minutes: float = 30) -> list[str]:
        """Wait until a group serves; the uids that do."""
        outs: Props = self.group.create(
            {
                "endpoint": {"host": self.double.address, "port": 9997},
                "payloads": {payload["model_uid"]: payload for payload in payloads},
                "deadline_minutes": minutes,
            }
        ).outs
        ready: list[str] = outs["ready"]
        return ready

    def up(self, payload: dict[str, Any]) -> Props:
        """Start a model and wait for it."""
        outs = self.create(payload)
        assert self.wait(payload) == [payload["model_uid"]]
        return outs

    def read(self, outs: Props) -> Props | None:
        """What a refresh sees; None where the model is gone."""
        result = self.models.read(str(outs["uid"]), outs)
        return result.outs if result.id else None

    def delete(self, outs: Props) -> None:
        """Take a model away."""
        self.models.delete(str(outs["uid"]), outs)

    def entries(self) -> dict[str, Any]:
        """The autostart entries by uid."""
        entries = self.double.get("/v1/autostart/models")["models"]
        return {entry["launch"]["model_uid"]: entry["launch"] for entry in entries}

    def serves(self, uid: str) -> bool:
        """Whether it answers, as those see it who ask it."""
        body = {"model": uid, "input": "hello"}
        if uid == "qwen":
            body = {"model": uid, "messages": [{"role": "user", "content": "hi"}]}  # type: ignore[dict-item]
        path = "/v1/chat/completions" if uid == "qwen" else "/v1/embeddings"
        return self.double.call("POST", path, json=body).status_code == 200

    def crash(self, name: str, uid: str) -> None:
        """End the process of a model, and wait until Xinference has put another in its place."""
        switch_on(self.double.faults, "xinference.crash", name, 1)
        self.double.wait(lambda: not self.serves(uid), "its end", uid)
        route = f"/v1/models/{uid}"
        self.double.wait(
            lambda: self.double.call("GET", route).status_code == 400, "it to be noticed", uid
        )
        self.double.wait(
            lambda: self.double.call("GET", route).status_code == 200, "another process", uid
        )

    def used_bytes(self) -> int:
        """GPU memory that somebody holds."""
        (worker,) = self.double.get("/status")["workers"].values()
        gpu = worker["status"]["gpu-0"]
        return int(gpu["mem_total"] - gpu["mem_free"])

    def assert_nothing_is_left_of(self, uid: str) -> None:
        """No route, no launch, no memory, no entry."""
        assert self.client.state(uid).standing in ("absent", "failed")
        assert self.used_bytes() == 0
        assert uid not in self.entries()


Start = Callable[..., Lab]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def start(version: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a server of this version."""
    made: list[Double] = []

    def begin(**options: Any) -> Lab:
        tree = tmp_path / str(len(made))
        tree.mkdir()
        made.append(Double(tree, tag=f"v{version}", **options))
        return Lab(made[-1], version)

    yield begin
    for double in made:
        double.close()


@pytest.fixture
def lab(start: Start) -> Lab:
    return start()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log of `pulumi up` says."""
    lines: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lines.append)
    return lines


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hang is told after a minute, which is a second here."""
    monkeypatch.setattr(progress, "STALL_SECONDS", 60.0)


def faults_left(double: Double, fault: str, key: str) -> int:
    left: int = json.loads(double.faults.read_text())[fault][key]
    return left


# Coming and going


def test_a_model_comes_serves_and_goes(lab: Lab) -> None:
    """A model is started, awaited, seen unchanged by a refresh, and taken away."""
    outs = lab.up(QWEN)
    assert lab.serves("qwen")
    assert list(lab.entries()) == ["qwen"]
    seen = lab.read(outs)
    assert seen is not None
    assert not lab.models.diff("qwen", seen, lab.model(QWEN)).changes
    lab.delete(outs)
    lab.assert_nothing_is_left_of("qwen")
    assert lab.read(outs) is None
    lab.delete(outs)


@pytest.mark.parametrize("ready", [True, False])
def test_an_equal_model_is_adopted(lab: Lab, ready: bool) -> None:
    """An equal model is adopted, whether it serves or is still launching."""
    lab.double.launch(QWEN, wait_ready=ready)
    created = lab.double.get("/v1/models/instances")[0]["instance_created_ts"]
    lab.up(QWEN)
    assert lab.network.changes()[:2] == [
        ("DELETE", "/v1/autostart/models/qwen"),
        ("POST", "/v1/models"),
    ]
    assert ("DELETE", "/v1/models/qwen") not in lab.network.calls
    assert ("POST", "/v1/models/qwen/cancel") not in lab.network.calls
    assert lab.double.get("/v1/models/instances")[0]["instance_created_ts"] == created


@pytest.mark.parametrize("ready", [True, False])
def test_another_model_of_the_uid_leaves_first(lab: Lab, ready: bool) -> None:
    """Another model under the uid leaves before ours comes, its autostart entry before that."""
    lab.double.launch(OTHER, wait_ready=ready)
    lab.client.put_autostart(OTHER)
    lab.up(M3E)
    assert lab.client.describe("embedder")["model_name"] == "m3e-base"
    assert {launch["model_name"] for launch in lab.entries().values()} <= {"m3e-base"}


def test_a_changed_payload_replaces_delete_first(lab: Lab) -> None:
    """A changed payload wants a replacement, and the old model's memory is free for the new one."""
    outs = lab.up(QWEN)
    larger = {**QWEN, "gpu_memory_utilization": 0.85}
    result = lab.models.diff("qwen", outs, lab.model(larger))
    assert (result.replaces, result.delete_before_replace) == (["payload"], True)
    lab.delete(outs)
    # Both shares together are more than the card.
    lab.up(larger)
    assert lab.serves("qwen")


def test_a_model_changed_by_hand_is_seen_and_mended(lab: Lab) -> None:
    """Another model put under the uid by hand is drift that a replacement mends."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/models/embedder")
    lab.double.launch(OTHER)
    seen = lab.read(outs)
    assert seen is not None
    assert lab.models.diff("embedder", seen, lab.model(M3E)).replaces == ["payload"]
    lab.delete(seen)
    lab.up(M3E)
    assert lab.client.describe("embedder")["model_name"] == "m3e-base"


# Ending a launch


@pytest.mark.parametrize("when", ["at once", "downloading"])
def test_a_delete_while_launching_leaves_nothing(start: Start, when: str) -> None:
    """A delete ends a launch, also before it has a first status; a bare DELETE would not."""
    lab = start(REHEARSAL_HUB_BYTES_PER_SECOND=SLOW)
    outs = lab.create(QWEN)
    if when == "downloading":
        lab.double.wait(lambda: lab.client.progress("qwen").fraction > 0, "some bytes", "qwen")
    lab.delete(outs)
    lab.assert_nothing_is_left_of("qwen")
    assert ("POST", "/v1/models/qwen/cancel") in lab.network.calls
    # The uid is free for something else at once.
    lab.up({**M3E, "model_uid": "qwen"})


def test_a_launch_that_was_cancelled_does_not_stand_in_the_way(start: Start) -> None:
    """Ctrl-C, a delete, and the next `up` at once: 2.12 says CREATING and unwinds for a while."""
    lab = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    outs = lab.create(QWEN)
    lab.double.wait(lambda: bool(lab.double.statuses("qwen")), "a first status", "qwen")
    began = FastClock().monotonic()
    lab.delete(outs)
    assert FastClock().monotonic() - began < STOP_SECONDS
    assert lab.read(outs) is None
    lab.up(QWEN)
    assert lab.serves("qwen")


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_are_replaced_and_deleted_together(lab: Lab, copies: int) -> None:
    """2.12 goes on telling of the last copy as READY: the book of instances is believed."""
    outs = lab.up({**M3E, "replica": copies})
    assert lab.read(outs)
    lab.delete(outs)
    lab.assert_nothing_is_left_of("embedder")
    assert lab.read(outs) is None
    lab.up({**M3E, "replica": copies, "gpu_idx": [0] * copies})
    assert lab.serves("embedder")


def test_a_model_that_serves_is_not_cancelled(lab: Lab) -> None:
    """The client does not cancel what serves: before 3.0 that would strand it on the GPU."""
    outs = lab.up(M3E)
    lab.client.cancel("embedder")
    assert lab.serves("embedder")
    assert lab.read(outs)


@PINNED
def test_a_stranded_model_is_brought_back(lab: Lab) -> None:
    """A cancel strands what serves: a refresh misses it, and a group starts it anew."""
    outs = lab.up(M3E)
    lab.double.call("POST", "/v1/models/embedder/cancel")
    assert lab.used_bytes() > 0
    assert lab.read(outs) is None
    assert lab.wait(M3E) == ["embedder"]
    assert lab.serves("embedder")


@PINNED
def test_a_stranded_model_is_deleted_all_the_same(lab: Lab) -> None:
    """No call reaches it but a launch of its uid, which fails and frees the card."""
    outs = lab.up(M3E)
    lab.double.call("POST", "/v1/models/embedder/cancel")
    lab.delete(outs)
    lab.assert_nothing_is_left_of("embedder")


# Crashes


def is_down(lab: Lab, copies: int) -> bool:
    return lab.client.state("embedder", copies).standing == "down"


@pytest.mark.parametrize("copies", [1, 2])
def test_a_model_whose_process_ended_is_down(lab: Lab, copies: int) -> None:
    """What Xinference starts in its place never answers, so a refresh misses it, and `up` mends."""
    payload = {**M3E, "replica": copies}
    outs = lab.up(payload)
    switch_on(lab.double.faults, "xinference.crash", "m3e-base", 1)
    lab.double.wait(lambda: is_down(lab, copies), "it to be noticed", "embedder")
    assert lab.read(outs) is None
    lab.up(payload)
    assert all(lab.serves("embedder") for _ in range(copies))
    assert lab.read(outs)


def test_a_group_does_not_wait_for_what_never_answers(lab: Lab, told: list[str]) -> None:
    """A crash that no refresh saw is mended by the wait, long before its deadline."""
    lab.up(M3E)
    lab.crash("m3e-base", "embedder")
    began = FastClock().monotonic()
    assert lab.wait(M3E, minutes=60) == ["embedder"]
    assert FastClock().monotonic() - began < 1800
    assert any("its process ended" in line and "launch 2 of" in line for line in told)
    assert lab.serves("embedder")


def test_a_crashed_model_is_deleted(lab: Lab) -> None:
    outs = lab.up(M3E)
    switch_on(lab.double.faults, "xinference.crash", "m3e-base", 1)
    lab.double.wait(lambda: not lab.serves("embedder"), "its end", "embedder")
    lab.delete(outs)
    lab.assert_nothing_is_left_of("embedder")


@PINNED
def test_a_launch_without_a_reason_is_tried_again_and_explained(lab: Lab, told: list[str]) -> None:
    """A process that does not start in its minute leaves ERROR without a word, for good."""
    switch_on(lab.double.faults, "xinference.spawn", "m3e-base", 2)
    lab.up(M3E)
    assert any("did not start within a minute" in line for line in told)
    lab.delete(lab.create(M3E))
    switch_on(lab.double.faults, "xinference.spawn", "m3e-base")
    lab.create(M3E)
    with pytest.raises(Refused, match=r"did not start within a minute.*after 4 launches"):
        lab.wait(M3E)


# Downloads


def test_a_failed_download_is_retried_with_the_same_uid(start: Start, told: list[str]) -> None:
    """A failed download is started again under its uid, and goes on where it stopped."""
    lab = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    switch_on(lab.double.faults, "xinference.download", "qwen2.5-instruct", 1)
    lab.up(QWEN)
    assert faults_left(lab.double, "xinference.download", "qwen2.5-instruct") == 0
    assert any("Failed to download" in line and "launch 2 of" in line for line in told)
    assert lab.serves("qwen")


def test_a_download_that_keeps_failing_is_given_up(lab: Lab) -> None:
    """A download that never succeeds ends in an error that says what to do."""
    switch_on(lab.double.faults, "xinference.download", "m3e-base")
    lab.create(M3E)
    before = len(lab.network.calls)
    with pytest.raises(Refused, match="model hub was not reached") as error:
        lab.wait(M3E)
    launches = lab.network.calls[before:].count(("POST", "/v1/models"))
    assert f"after {MOST_LAUNCHES} launches" in str(error.value)
    # With autostart the server itself may have been faster with some of them.
    assert 0 < launches < MOST_LAUNCHES


@pytest.mark.usefixtures("impatient")
def test_a_hanging_download_is_started_again(lab: Lab, told: list[str]) -> None:
    """A download that stands still, by bytes or by fraction alone, is cancelled and repeated."""
    switch_on(lab.double.faults, "xinference.hang", "qwen2.5-instruct", 1)
    lab.up(QWEN)
    assert any("no progress for 1 minutes; launch 2 of" in line for line in told)
    assert ("POST", "/v1/models/qwen/cancel") in lab.network.calls


@pytest.mark.usefixtures("impatient")
def test_a_slow_download_is_left_alone(start: Start, told: list[str]) -> None:
    """A download that moves is not a hang, however long it takes."""
    lab = start(REHEARSAL_HUB_BYTES_PER_SECOND=SLOW)
    began = FastClock().monotonic()
    lab.up(QWEN)
    assert FastClock().monotonic() - began > progress.STALL_SECONDS
    assert not any("launch 2" in line for line in told)
    assert any("GiB" in line or "%" in line for line in told)


# Errors by their text


@pytest.mark.parametrize(
    ("payload", "advice"),
    [
        ({**QWEN, "model_name": "qwen9"}, "catalogue has no such name"),
        ({**QWEN, "model_format": "awk"}, "catalogue has no such name"),
        ({**M3E, "model_name": "nobody"}, "catalogue has no such name"),
        ({**QWEN, "gpu_memory_utilization": 0.42}, "lower memoryShare or context"),
        ({**QWEN, "max_model_len": 32768}, "lower memoryShare or context"),
        ({**QWEN, "gpu_memory_utilization": 0.99, "gpu_idx": [1]}, "setting gpus"),
        ({**QWEN, "n_gpu": 2}, "setting gpus"),
        ({**QWEN, "model_engine": "vllmm"}, "choose another engine"),
    ],
)
@PINNED
def test_what_cannot_start_says_why(lab: Lab, payload: dict[str, Any], advice: str) -> None:
    """A launch that fails, at once or in the background, ends in an error with advice."""
    with pytest.raises(Refused, match=advice):
        lab.up(payload)
    assert lab.used_bytes() == 0


@pytest.mark.parametrize("version", [SUCCESSOR_XINFERENCE])
def test_engines_that_cannot_be_installed_say_so(start: Start) -> None:
    """From 3.0 on engines come from the package index; without it the error names it."""
    lab = start(hubs=MAINLAND)
    with pytest.raises(Refused, match="package index"):
        lab.up(M3E)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_uid": "m" * 101},
        {"model_name": ""},
        {"model_type": "LLM", "model_engine": None},
        {"gpu_idx": [0, 1, 2], "replica": 2},
    ],
)
@PINNED
def test_what_is_malformed_is_refused_at_once(lab: Lab, wrong: dict[str, Any]) -> None:
    """Missing fields, bad uids and bad GPU lists are refused, and nothing is left."""
    payload = {**M3E, **wrong}
    with pytest.raises(Refused):
        lab.create(payload)
    assert lab.double.statuses(payload["model_uid"]) == []
    assert lab.entries() == {}


def test_an_earlier_runs_failure_does_not_stand_in_the_way(lab: Lab) -> None:
    """A model that failed for want of memory serves at the next `up`, once there is room."""
    lab.double.launch({**QWEN, "model_uid": "guest"})
    assert lab.double.launch(QWEN).status_code == 400
    lab.double.call("DELETE", "/v1/models/guest")
    assert lab.double.statuses("qwen") == ["ERROR"]
    assert lab.wait(QWEN) == ["qwen"]


def test_a_launch_makes_the_server_forget_that_the_uid_was_absent(lab: Lab) -> None:
    """Once the group serves it answers, though its uid was asked for before it was launched."""
    assert not lab.serves("embedder")
    lab.up(M3E)
    assert lab.serves("embedder")


# Restarts


def test_models_come_back_after_a_restart_and_a_refresh_sees_no_change(lab: Lab) -> None:
    """After a restart the models serve again by themselves, equal to what was asked for."""
    outs = lab.up(M3E)
    lab.double.restart()
    lab.double.until("embedder", "READY")
    seen = lab.read(outs)
    assert seen is not None
    assert not lab.models.diff("embedder", seen, lab.model(M3E)).changes


def test_before_its_turn_after_a_restart_a_model_is_not_gone(start: Start) -> None:
    """They come one by one for minutes: a refresh sees both, and a wait launches neither."""
    lab = start(REHEARSAL_HUB_BYTES_PER_SECOND="2e10")
    first, second = lab.up(M3E), lab.up(QWEN)
    lab.double.restart()
    # The chat model's entry has the lower priority, though its name may come first.
    assert lab.client.state("qwen").standing == "absent"
    assert lab.read(first) is not None
    assert lab.read(second) is not None
    before = len(lab.network.calls)
    assert lab.wait(M3E, QWEN) == ["embedder", "qwen"]
    assert ("POST", "/v1/models") not in lab.network.calls[before:]


def test_a_deleted_model_stays_away(lab: Lab) -> None:
    """Neither another model's new entry nor a restart brings a deleted model back."""
    lab.delete(lab.up(M3E))
    deletes = [path for method, path in lab.network.changes() if method == "DELETE"]
    assert deletes[-2:] == ["/v1/autostart/models/embedder", "/v1/models/embedder"]
    lab.up(RERANKER)
    assert lab.client.state("embedder").standing == "absent"
    lab.double.restart()
    lab.double.until("sorter", "READY")
    assert lab.double.statuses("embedder") == []


def test_a_model_deleted_by_hand_that_came_back_is_adopted(lab: Lab) -> None:
    """Writing one entry starts every model that is down; ours is taken as it comes."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/models/embedder")
    assert lab.read(outs) is None
    lab.client.put_autostart(RERANKER)
    lab.up(M3E)
    assert lab.wait(RERANKER) == ["sorter"]


def test_an_entry_deleted_by_hand_is_seen_and_mended(lab: Lab) -> None:
    """Without its entry a model would not come back: that is drift, mended while it serves."""
    outs = lab.up(M3E)
    lab.double.call("DELETE", "/v1/autostart/models/embedder")
    seen = lab.read(outs)
    assert seen is not None
    assert not lab.models.diff("embedder", seen, lab.model(M3E)).replaces
    lab.models.update("embedder", seen, lab.model(M3E))
    assert list(lab.entries()) == ["embedder"]
    assert ("DELETE", "/v1/models/embedder") not in lab.network.calls


def test_a_model_for_the_cpu_is_kept_off_the_gpu(lab: Lab) -> None:
    """An entry keeps no null, so it says `device: cpu`; one that lost it is seen as drift."""
    on_cpu = {**M3E, "n_gpu": None}
    outs = lab.up(on_cpu)
    assert lab.used_bytes() == 0
    assert lab.entries()["embedder"] == {**M3E, "device": "cpu"}
    lab.double.call("POST", "/v1/autostart/models", json={"launch": on_cpu})
    assert "device" not in lab.entries()["embedder"]
    lab.double.restart()
    lab.double.until("embedder", "READY")
    assert lab.used_bytes() > 0
    seen = lab.read(outs)
    assert seen is not None
    assert lab.models.diff("embedder", seen, lab.model(on_cpu)).replaces == ["payload"]
    lab.delete(seen)
    lab.up(on_cpu)
    assert lab.used_bytes() == 0

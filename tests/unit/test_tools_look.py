"""`make status`: what is gathered, whatever does not answer."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.clients.errors import Refused
from provisioning.clients.fastgpt.rows import InitData
from provisioning.remote import Container
from provisioning.tunnel import KeyRefused, ServerUnreachable
from tests.unit.standing import OUTPUTS, REAL, SECRETS
from tools.findings import examine
from tools.look import GPUS, Facts, Failed, GpuMemory, Way, Xinference, gather, gpus_of
from tools.standing import read_lab

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=timezone.utc)
LAB = read_lab(REAL, OUTPUTS)


class Canned:
    """A service that answers by path, and may be down."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers, self.status = answers, 200
        self.down, self.calls = False, 0

    def take(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        self.calls += 1
        path = f"{request.url.path}?{request.url.query.decode()}".rstrip("?")
        known = path in self.answers
        said = self.answers[path] if known else {"detail": "Model not found in the model list"}
        return httpx.Response(self.status if known else 400, json=said)


def instance(status: str, error: str = "") -> list[dict[str, Any]]:
    replica = {"status": status, "error_message": error or None}
    whole = status if status == "ERROR" else "READY"
    return [{"status": whole, "replica_statuses": [replica]}]


INSTANCES = "/v1/models/instances?model_uid="
CHANNEL = {"id": 1, "name": "xinference-chat", "type": 1, "models": "qwen"}
INIT_DATA = {"systemVersion": "4.8.8-fix2", "llmModels": [{"model": "qwen"}]}


class FakeLab:
    """A server with the three services, each behind its port."""

    def __init__(self) -> None:
        self.oneapi = Canned({"/api/channel/?p=0": {"success": True, "data": [CHANNEL]}})
        self.fastgpt = Canned({"/api/common/system/getInitData": {"code": 200, "data": INIT_DATA}})
        self.xinference = Canned(
            {
                "/v1/cluster/version": {"version": "2.12.0"},
                **{f"/v1/models/{uid}": {"model_name": uid} for uid in ("qwen", "m3e")},
                **{f"{INSTANCES}{uid}": instance("READY") for uid in ("qwen", "m3e")},
                f"{INSTANCES}bge": instance("ERROR", "CUDA out of memory"),
            }
        )
        self.asked: list[Sequence[str]] = []

    @property
    def way(self) -> Way:
        by_port = {3000: self.fastgpt, 3001: self.oneapi, 9997: self.xinference}

        def take(request: httpx.Request) -> httpx.Response:
            return by_port[request.url.port or 80].take(request)

        return Way(
            url=lambda port: f"http://lab:{port}",
            containers=self.containers,
            run=lambda command: "A10, 1, 2\n" if "nvidia-smi" in command else "",
            transport=httpx.MockTransport(take),
        )

    def containers(self, names: Sequence[str]) -> list[Container]:
        self.asked.append(names)
        return [Container(name, "running", "Up (healthy)") for name in names]


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


def test_everything_is_gathered(lab: FakeLab) -> None:
    facts = gather(LAB, lab.way, NOW)
    assert facts.server is None
    assert lab.asked == [list(LAB.releases)]
    assert facts.gpus == (GpuMemory("A10", 1, 2),)
    assert standings(facts) == {
        "qwen": "serving (READY)",
        "m3e": "serving (READY)",
        "bge": "failed: CUDA out of memory",
    }
    assert isinstance(facts.xinference, Xinference)
    assert facts.xinference.version == "2.12.0"
    assert isinstance(facts.channels, list)
    assert facts.channels[0].models == ("qwen",)
    assert isinstance(facts.fastgpt, InitData)
    assert facts.fastgpt.version == "4.8.8-fix2"
    # A model whose process ended is not called served.
    lab.xinference.answers = {**lab.xinference.answers, f"{INSTANCES}qwen": instance("TERMINATING")}
    assert standings(gather(LAB, lab.way, NOW))["qwen"] == "down (TERMINATING)"
    # Where there is none, nobody asks it.
    lab.xinference.down = True
    assert gather(replace(LAB, xinference_url=""), lab.way, NOW).xinference is None
    assert "xinference" not in lab.asked[-1]


def test_the_current_edition_tells_its_models_to_root_only(lab: FakeLab) -> None:
    path, account = "/api/common/system/getInitData", "/api/support/user/account"
    active = [{"type": "llm", "model": "qwen"}, {"type": "embedding", "model": "m3e"}]
    lab.fastgpt.answers = {
        path: {"code": 200, "data": {"systemVersion": "4.16.0", "activeModelList": active}},
        f"{account}/preLogin?username=root": {"code": 200, "data": {"code": "c"}},
        f"{account}/loginByPassword": {"code": 200, "data": {"token": "t"}},
    }
    current = replace(LAB, edition="current", fastgpt_password="root-password")
    found = gather(current, lab.way, NOW).fastgpt
    types = {"qwen": "llm", "m3e": "embedding"}
    assert found == InitData(version="4.16.0", llm=("qwen",), vector=("m3e",), active=types)


def standings(facts: Facts) -> dict[str, str]:
    assert isinstance(facts.xinference, Xinference)
    return {uid: str(state) for uid, state in facts.xinference.states.items()}


@pytest.mark.parametrize("name", ["oneapi", "fastgpt", "xinference"])
def test_a_service_that_is_down_does_not_hide_the_others(lab: FakeLab, name: str) -> None:
    getattr(lab, name).down = True
    facts = gather(LAB, lab.way, NOW)

    found = {"oneapi": facts.channels, "fastgpt": facts.fastgpt, "xinference": facts.xinference}
    assert [n for n, value in found.items() if isinstance(value, Failed)] == [name]
    # A rate limit is not waited out.
    lab.oneapi.down, lab.oneapi.calls, lab.oneapi.status = False, 0, 429
    assert isinstance(gather(LAB, lab.way, NOW).channels, Failed)
    assert lab.oneapi.calls == 1


def test_no_way_in_is_told_apart_and_nothing_else_is_asked(lab: FakeLab) -> None:
    for kind in (ServerUnreachable, KeyRefused):
        error = kind("SSH", "connect root@h:22", "no")
        facts = gather(LAB, replace(lab.way, url=raising(error)), NOW)
        assert facts.server is not None
        assert facts.server.silent is (kind is ServerUnreachable)
        assert (facts.containers, facts.channels, facts.fastgpt) == (None, None, None)
    assert lab.asked == []


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.fixture
def never() -> Iterator[Callable[..., Any]]:
    """Something that does not answer while the test runs."""
    released = threading.Event()
    yield lambda *_: released.wait() and None
    released.set()


def test_a_look_that_hangs_is_given_up(lab: FakeLab, never: Callable[..., Any]) -> None:
    facts = gather(LAB, replace(lab.way, containers=never), NOW, seconds=0.2)

    assert facts.containers == Failed("no answer within 0 s", silent=True)
    assert isinstance(facts.fastgpt, InitData)
    facts = gather(LAB, replace(lab.way, url=never), NOW, seconds=0.2)
    assert facts.server == Failed("no answer within 0 s", silent=True)


def test_nvidia_smi_is_read(lab: FakeLab) -> None:
    assert gpus_of("NVIDIA A10, 14000, 23028\nTesla T4, 1, 15360\n") == (
        GpuMemory("NVIDIA A10", 14000, 23028),
        GpuMemory("Tesla T4", 1, 15360),
    )
    assert gpus_of("") == ()
    assert isinstance(gpus_of("NVIDIA A10, [N/A], 23028\n"), Failed)
    broken = Refused("SSH", "run on root@h:22", "Failed to initialize NVML")
    facts = gather(LAB, replace(lab.way, run=raising(broken)), NOW)
    assert facts.gpus == Failed("Failed to initialize NVML")


def test_a_server_without_cards_shows_none(tmp_path: Path) -> None:
    """The very command, in the login's shell."""
    shell = shutil.which("sh") or "sh"

    def run() -> tuple[int, str]:
        told = subprocess.run(
            [shell, "-c", GPUS], env={"PATH": str(tmp_path)}, capture_output=True, text=True
        )
        return told.returncode, told.stdout

    assert run() == (0, "")
    (tmp_path / "nvidia-smi").write_text(f"#!{shell}\necho NVIDIA A10, 1, 2; exit 18\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert run() == (18, "NVIDIA A10, 1, 2\n")


def test_no_secret_is_told_though_a_service_echoes_it(lab: FakeLab) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        said = f"bad token {request.headers.get('authorization')}"
        return httpx.Response(200, json={"success": False, "message": said})

    way = replace(lab.way, transport=httpx.MockTransport(echo))
    text = str(examine(gather(LAB, way, NOW)))

    assert "bad token ***" in text
    assert not any(secret in text for secret in SECRETS)

"""What the contract suite's cases share: an upstream, FastGPT, Xinference."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.clients.fastgpt import FastGptClient
from provisioning.versions import DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE
from tests.contract.fastgpt_subject import EMBEDDING, LLM, FastGpt, Stage
from tests.contract.upstream import Upstream
from tests.contract.xinference_subject import Double, Lab, StartDouble, StartLab


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream that refuses one model."""
    server = Upstream()
    error = {"message": "No such key.", "type": "invalid_request_error", "code": "bad_key"}
    server.refuse("refused", 401, **error, param=None)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """OneAPI and a reranker, for FastGPTs with their own memory."""
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def running(stage: Stage) -> FastGpt:
    """One FastGPT for all tests of a module, logged in."""
    return stage.fastgpt("fastgpt").up().ready()


@pytest.fixture
def fastgpt(stage: Stage, running: FastGpt) -> FastGpt:
    """The module's FastGPT, with an upstream that remembers and refuses nothing yet."""
    stage.upstream.forget()
    return running


@pytest.fixture
def base(client: FastGptClient) -> Iterator[str]:
    """A base of the module's `client`."""
    made = client.create_dataset("base", vector_model=EMBEDDING, agent_model=LLM)
    yield made
    client.delete_dataset(made)


@pytest.fixture
def start_double(tmp_path: Path, request: pytest.FixtureRequest) -> StartDouble:
    """Starts Xinference's double, with the options of `Double`."""

    def begin(**options: Any) -> Double:
        made = Double(tmp_path / uuid.uuid4().hex, **options)
        request.addfinalizer(made.stop)
        return made

    return begin


@pytest.fixture(params=[DEFAULT_XINFERENCE, SUCCESSOR_XINFERENCE])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start_lab(version: str, start_double: StartDouble) -> StartLab:
    return lambda **options: Lab(start_double(tag=f"v{version}", **options))


@pytest.fixture
def lab(start_lab: StartLab) -> Lab:
    return start_lab()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log of `pulumi up` says."""
    lines: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lines.append)
    return lines

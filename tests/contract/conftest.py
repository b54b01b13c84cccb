"""What the contract suite's cases share: recording, comparing, and the table's material.

A case is a test with a parameter `subject` that is `double` or `real`. When it has passed for both,
its two recordings must be equal, unless the case is marked `known_difference(fact)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.processes import Program
from tests.contract.recording import Answer, Masks, Recorder, difference
from tests.contract.upstream import Upstream

_recordings: dict[str, dict[str, list[Answer]]] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "known_difference(fact): double and real answer differently here, and the fact says why",
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Compare with the other subject's recording once both are there."""
    result = yield
    subject = _subject(pyfuncitem)
    recorder = pyfuncitem.funcargs.get("recorder")
    if subject is None or not isinstance(recorder, Recorder):
        return result
    both = _recordings.setdefault(pyfuncitem.nodeid.replace(f"[{subject}", "["), {})
    both[subject] = recorder.answers
    if {"double", "real"} <= both.keys() and not pyfuncitem.get_closest_marker("known_difference"):
        parted = difference(both["double"], both["real"])
        if parted:
            pytest.fail(f"double and real differ in {parted}", pytrace=False)
    return result


def _case_name(node: str) -> str:
    """The test's name and parameters without the subject, fit to be part of names."""
    name, _, parameters = node.removeprefix("test_").partition("[")
    rest = [part for part in re.split(r"\W+", parameters) if part not in ("", "double", "real")]
    return "-".join([name, *rest])


def _subject(item: pytest.Function) -> str | None:
    parameters = getattr(item, "callspec", None)
    subject = parameters.params.get("subject") if parameters else None
    return subject if isinstance(subject, str) else None


@pytest.fixture
def masks() -> Masks:
    """What may differ between two runs; services override it."""
    return Masks()


@pytest.fixture
def recorder(request: pytest.FixtureRequest, masks: Masks) -> Recorder:
    """Records this case's answers."""
    return Recorder(masks, _case_name(request.node.name))


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[Upstream]:
    """One upstream for all cases."""
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def upstream(upstream_server: Upstream) -> Upstream:
    """The upstream, having forgotten what earlier cases asked."""
    upstream_server.forget()
    return upstream_server


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Programs put in here end with the case."""
    started: list[Program] = []
    yield started
    for program in started:
        program.stop()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the session's programs."""
    return tmp_path_factory.mktemp("contract")

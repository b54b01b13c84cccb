"""The two OneAPIs: v0.6.6's double, and the real v0.6.10 (docs/facts/oneapi.md §9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from rehearsal.real_oneapi.build import UnavailableError, binary
from tests.contract.databases import Databases, Gate, Login, MariaDb, RehearsedMySql
from tests.contract.oneapi.subject import OneApi, Subject, double_command
from tests.contract.processes import Program
from tests.contract.recording import Masks, Recorder

_ANY = """
id user_id created_time accessed_time test_time response_time time start_time version access_token
aff_code used_quota request_count quota base_url
"""
MASKS = Masks(
    fields=frozenset(_ANY.split()),
    texts=(
        (re.compile(r"request id: \d+"), "request id: <any>"),
        (re.compile(r"/\d+$"), "/<id>"),
        (re.compile(r"\b[A-Za-z0-9]{48}\b"), "<48 characters>"),
        (re.compile(r"\b[0-9a-f]{32}\b"), "<32 hex digits>"),
        # Go's drivers name the table where MySQL's double names the key.
        (re.compile(r"for key '[^']*'"), "for key <any>"),
        (re.compile(r"-\d+' for key"), "-<id>' for key"),
        (re.compile(r"#\d+"), "#<id>"),
        (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    ),
    added={
        "system_prompt": "§9: v0.6.10 has this field besides",
        "oidc": "§9: v0.6.10 has this field besides",
        "oidc_id": "§9: v0.6.10 has this field besides",
        "oidc_authorization_endpoint": "§9: v0.6.10 has this field besides",
        "oidc_client_id": "§9: v0.6.10 has this field besides",
        "oidc_token_endpoint": "§9: v0.6.10 has this field besides",
        "oidc_userinfo_endpoint": "§9: v0.6.10 has this field besides",
        "oidc_well_known": "§9: v0.6.10 has this field besides",
    },
    added_at={
        ("/api/channel/test/", "model"): "§4: a channel test knows `model` since after v0.6.6",
    },
    null_for_empty={
        "other": "§9: v0.6.10 has `other: null`",
        "models": "v0.6.10 (measured): a token's models have no default any more, so null",
    },
)


@pytest.fixture
def masks() -> Masks:
    return MASKS


@pytest.fixture(scope="session", params=["double", "real"])
def subject(request: pytest.FixtureRequest, work: Path) -> Iterator[Subject]:
    """Double and real, with MySQL where both can have it."""
    name: str = request.param
    mysql = not MariaDb.missing()
    databases: Databases | None = None

    def new_database() -> Login:
        assert databases, "no MySQL here"
        return databases.new()

    if name == "double":
        databases = RehearsedMySql(work / "double")
        yield Subject(name, double_command(), mysql, new_database)
    else:
        command = (str(_real_or_skip()),)
        databases = MariaDb(work / "mariadb") if mysql else None
        yield Subject(name, command, mysql, new_database)
    if databases:
        databases.stop()


@lru_cache(maxsize=1)
def _built() -> Path | str:
    try:
        return binary()
    except UnavailableError as error:
        return str(error)


def _real_or_skip() -> Path:
    built = _built()
    if isinstance(built, str):
        pytest.skip(f"the real OneAPI is not available: {built}")
    return built


@pytest.fixture(scope="session")
def shared_program(subject: Subject, work: Path) -> Iterator[Program]:
    """One OneAPI for the cases that need nothing special; its database is MySQL where possible."""
    dsn = subject.new_database().dsn if subject.mysql else ""
    program = subject.start(work / f"{subject.name}-shared", {"SQL_DSN": dsn})
    yield program
    program.stop()


@pytest.fixture(scope="session")
def root_access_token(subject: Subject, shared_program: Program) -> str:
    """Of the shared OneAPI; one login for the session."""
    oneapi = OneApi(subject, shared_program, Recorder(MASKS))
    oneapi.wait_until_listening()
    oneapi.become_root()
    return oneapi.access_token


@pytest.fixture
def oneapi(
    subject: Subject, shared_program: Program, root_access_token: str, recorder: Recorder
) -> OneApi:
    """The shared OneAPI, called as root."""
    running = OneApi(subject, shared_program, recorder)
    running.access_token = root_access_token
    return running


@pytest.fixture
def start(
    subject: Subject, recorder: Recorder, programs: list[Program], tmp_path: Path
) -> Callable[..., OneApi]:
    """Starts a OneAPI of the case's own, on SQLite unless it gets a DSN.

    `start(..., folder="a")` twice is a restart: the same files, once the first one was stopped.
    """

    def started(folder: str = "own", listens: bool = True, **environment: str) -> OneApi:
        program = subject.start(tmp_path / folder, environment)
        programs.append(program)
        running = OneApi(subject, program, recorder)
        if listens:
            running.wait_until_listening()
        return running

    return started


@pytest.fixture
def mysql(subject: Subject) -> Callable[[], Login]:
    """Makes empty MySQL databases; the case is skipped where the real one can have none."""
    if not subject.mysql:
        pytest.skip(f"no MySQL for the real OneAPI: {MariaDb.missing()}")
    return subject.new_database


@pytest.fixture
def gate(mysql: Callable[[], Login]) -> Gate:
    """An empty MySQL database behind a gate that can be shut."""
    return Gate(mysql())

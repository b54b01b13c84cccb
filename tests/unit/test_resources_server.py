"""Lease, host key, and the choice of zone and image."""

import socket
from datetime import datetime, timedelta, timezone

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.errors import DeadlineExceeded
from stack.resources.server import host_key
from stack.resources.server.choice import Choice
from stack.resources.server.host_key import HostKey
from stack.resources.server.lease import Term, lease_end, read_time
from tests.clock import START
from tests.unit.subject import Subject


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-11-22T12:00:30", 8, "2026-11-22T20:01:00Z"),
        ("2026-11-22T12:05:00", 2, "2026-11-22T14:05:00Z"),
        # A minute ending in 0 is moved on: the provider would not send some later ones.
        ("2026-11-22T12:30:00", 2, "2026-11-22T14:31:00Z"),
        ("2026-11-22T12:29:20", 2, "2026-11-22T14:31:00Z"),
        ("2026-11-22T23:59:30", 1, "2026-11-23T01:01:00Z"),
        # Never less than the cloud takes.
        ("2026-11-22T12:00:30", 0.1, "2026-11-22T12:36:00Z"),
        ("2026-11-22T12:00:30", 0, ""),
    ],
)
def test_when_a_lease_ends(start: str, hours: float, end: str) -> None:
    assert lease_end(at(start), hours) == end


def test_no_lease_ever_ends_at_a_forbidden_moment() -> None:
    for minute in range(0, 24 * 60, 7):
        now = START + timedelta(minutes=minute, seconds=minute % 60)
        for hours in (0.2, 1, 7.5):
            end = read_time(lease_end(now, hours))
            assert end.minute % 10
            assert end.second == 0
            assert end - now >= timedelta(minutes=31)


@pytest.fixture
def lease() -> Subject:
    return Subject(Term, {"hours": 8})


def test_a_lease_is_computed_once(lease: Subject) -> None:
    lease.create()
    lease.clock.sleep(3 * 3600)
    assert lease.state == {
        "hours": 8,
        "started_at": "2026-11-22T12:00:30Z",
        "ends": "2026-11-22T20:01:00Z",
    }
    assert not lease.changes()


@pytest.mark.parametrize(
    ("after", "hours", "started", "ends"),
    [
        (1, 10, "2026-11-22T12:00:30Z", "2026-11-22T22:01:00Z"),
        # It would end at once, so it counts from now.
        (5, 5.5, "2026-11-22T17:00:30Z", "2026-11-22T22:31:00Z"),
    ],
)
def test_other_hours_count_from_the_start(
    lease: Subject, after: int, hours: float, started: str, ends: str
) -> None:
    lease.create()
    lease.clock.sleep(after * 3600)

    assert lease.changes(hours=hours)
    new = lease.update(hours=hours)
    assert (new["started_at"], new["ends"]) == (started, ends)


@pytest.mark.parametrize(("left", "renewed"), [(39, True), (-60, True), (41, False)])
def test_a_lease_that_runs_out_is_renewed(lease: Subject, left: int, renewed: bool) -> None:
    ends = read_time(lease.create()["ends"])
    lease.clock.passed = (ends - START - timedelta(minutes=left)).total_seconds()

    assert lease.changes() is renewed
    if renewed:
        assert read_time(lease.update()["ends"]) - lease.clock.now() >= timedelta(hours=8)


def test_without_a_lease_nothing_ends_or_renews(lease: Subject) -> None:
    assert lease.create(hours=0)["ends"] == ""
    lease.clock.sleep(10**7)
    assert not lease.changes()


def test_a_lease_can_be_taken_away_and_given_later(lease: Subject) -> None:
    lease.create()
    assert lease.update(hours=0)["ends"] == ""
    lease.clock.sleep(10 * 3600)
    again = lease.update(hours=8)
    assert read_time(again["ends"]) > lease.clock.now() + timedelta(hours=8)


def test_the_host_key_is_taken_once_within_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, float]] = []

    def scan(host: str, port: int, deadline: float, **_: object) -> str:
        asked.append((host, port, deadline))
        return "ssh-ed25519 AAAA"

    monkeypatch.setattr(host_key, "scan_host_key", scan)
    key = Subject(HostKey, {"host": "1.2.3.4", "port": 22.0, "instance_id": "i-1"})

    made = key.create()

    assert made["host_key"] == "ssh-ed25519 AAAA"
    assert key.seen() == made
    assert key.update(host="5.6.7.8") == {**made, "host": "5.6.7.8"}
    assert asked == [("1.2.3.4", 22, 600.0)]
    # Another machine has another one.
    assert key.diff(instance_id=UNKNOWN).replaces == ["instance_id"]
    assert not key.changes()


def test_a_server_that_never_answers_ends_the_waiting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    with pytest.raises(DeadlineExceeded, match="SSH server"):
        Subject(HostKey, {"host": "127.0.0.1", "port": port}).create()


@pytest.fixture
def choice() -> Subject:
    offer = {"generation": 1, "zones": ["b", "a"], "images": ["i2", "i1"], "wanted": "gn7i in hz"}
    return Subject(Choice, offer)


def test_the_first_on_offer_is_chosen_and_a_later_offer_never_moves_the_server(
    choice: Subject,
) -> None:
    made = choice.create()
    sold_out = {"zones": [], "images": ["i3"]}

    assert (made["zone"], made["image"]) == ("b", "i2")
    assert not choice.changes(**sold_out)
    assert choice.complaints(**sold_out) == []


def test_another_generation_chooses_anew(choice: Subject) -> None:
    choice.create()
    new = {"generation": 2, "zones": ["c"]}

    assert choice.changes(**new)
    assert choice.update(**new)["zone"] == "c"


@pytest.mark.parametrize(
    ("standing", "advice"), [(False, "Nothing was rented"), (True, "stands as before")]
)
def test_nothing_on_offer_is_said_before_anything_is_made(
    choice: Subject, standing: bool, advice: str
) -> None:
    olds = choice.create() if standing else {}
    news = {**choice.wanted, "generation": 2, "zones": []}

    (failure,) = choice.provider.check(olds, news).failures

    assert failure.property == "zones"
    assert failure.reason.startswith("gn7i in hz: no zone has it in stock. ")
    assert advice in failure.reason


def test_an_offer_that_is_not_known_yet_is_not_judged(choice: Subject) -> None:
    assert choice.complaints(zones=UNKNOWN) == []

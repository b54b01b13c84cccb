"""Lease, host key, and the choice of zone and image."""

import socket
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.errors import DeadlineExceeded
from stack.resources.declaration import Props
from stack.resources.server import host_key
from stack.resources.server.choice import Choice
from stack.resources.server.host_key import HostKey
from stack.resources.server.lease import Term, lease_end, read_time
from tests.clock import START
from tests.tables import table
from tests.unit.subject import Subject


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@table("resources_server")
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


@table("resources_server")
def test_other_hours_count_from_the_start(
    after: int, hours: float, started: str, ends: str, lease: Subject
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


def test_a_lease_can_be_taken_away_and_given_later(lease: Subject) -> None:
    lease.create()
    assert lease.update(hours=0)["ends"] == ""
    lease.clock.sleep(10**7)
    assert not lease.changes(hours=0), "nothing ends or renews"
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


def offer(kind: str, *zones: str, images: Sequence[str] = ("i2", "i1"), **more: Any) -> Props:
    told = {"type": kind, "zones": list(zones), "elsewhere": [], "images": list(images)}
    return {**told, **more}


@pytest.fixture
def choice() -> Subject:
    offers = [offer("A", "b", "a"), offer("B", "c")]
    return Subject(Choice, {"generation": 1, "offers": offers, "wanted": "gn7i in hz"})


def way(props: Props) -> tuple[str, str, str, int]:
    return props["type"], props["zone"], props["image"], props["subnet"]


def test_the_first_on_offer_is_chosen_and_only_another_generation_chooses_anew(
    choice: Subject,
) -> None:
    assert way(choice.create()) == ("A", "b", "i2", 0)
    sold_out = {"offers": [offer("A", images=["i3"])]}
    assert not choice.changes(**sold_out)
    assert choice.complaints(**sold_out) == []
    assert choice.complaints(offers=UNKNOWN) == [], "what is not known yet is not judged"
    moved = {"switch": "vsw-mine"}
    assert choice.complaints(**moved) == ["switch"]
    new = {"generation": 2, "offers": [offer("A", "c")], **moved}
    assert choice.complaints(**new) == []
    assert choice.complaints(**new, refusal="no such") == ["switch"]
    assert choice.changes(**new)
    assert way(choice.update(**new)) == ("A", "c", "i2", 1)


def test_another_edition_needs_another_server(choice: Subject) -> None:
    olds = choice.create()
    assert choice.complaints(edition="seeds") == []
    (failure,) = choice.provider.check(olds, {**choice.wanted, "edition": "current"}).failures
    assert failure.property == "edition"
    for words in ("is of edition seeds", "say current", "raise serverGeneration", "API keys"):
        assert words in failure.reason
    # Where no server came, or it was lost, there is nothing to lose.
    assert choice.complaints(edition="current", settled=False) == []
    assert choice.complaints(edition="current", lost="i-1") == []
    assert choice.complaints(edition="current", generation=2) == []
    choice.update(edition="current", generation=2)
    assert choice.complaints() == []
    assert choice.complaints(edition="seeds") == ["edition"]


def test_files_are_kept_elsewhere_by_another_server_only(choice: Subject) -> None:
    olds = choice.create()
    (failure,) = choice.provider.check(olds, {**choice.wanted, "storage": "oss"}).failures
    assert failure.property == "storage"
    for words in ("its files in minio", "say oss", "raise serverGeneration"):
        assert words in failure.reason
    assert choice.complaints(storage="oss", lost="i-1") == []
    choice.update(storage="oss", generation=2)
    assert choice.complaints(storage="minio") == ["storage"]


def test_a_state_of_before_the_editions_is_the_seeds(choice: Subject) -> None:
    choice.create(edition="seeds")
    del choice.state["edition"]
    assert not choice.changes(edition="seeds")
    assert choice.complaints(edition="seeds") == []
    assert choice.complaints(edition="current") == ["edition"]


def test_a_choice_that_came_to_no_server_goes_on_zone_by_zone_and_type_by_type(
    choice: Subject,
) -> None:
    choice.create()
    taken = [way(choice.update(settled=False)) for _ in range(3)]
    assert taken == [("A", "a", "i2", 1), ("B", "c", "i2", 2), ("A", "b", "i2", 3)]
    # What sold out meanwhile is left out; where nothing is left, that is said.
    assert way(choice.update(settled=False, offers=[offer("A"), offer("B", "c")]))[0] == "B"
    assert choice.complaints(settled=False, offers=[offer("A"), offer("B")]) == ["offers"]
    assert choice.complaints(settled=True, offers=[offer("A"), offer("B")]) == []


def test_after_a_loss_the_same_zone_is_taken_once_if_it_has_one(choice: Subject) -> None:
    choice.create()
    assert choice.changes(lost="i-1")
    assert way(choice.update(lost="i-1")) == ("A", "b", "i2", 0)
    assert not choice.changes(lost="i-1"), "it was chosen for this loss"
    elsewhere = [offer("A", "a")]
    assert way(choice.update(lost="i-2", offers=elsewhere)) == ("A", "a", "i2", 1)
    held = {"settled": False, "held": ["A", "z", "i9"], "offers": [offer("A")]}
    assert choice.complaints(**held) == [], "it stands: nothing has to be on offer"
    assert way(choice.update(**held)) == ("A", "z", "i9", 2)


@pytest.mark.parametrize(
    ("standing", "advice"), [(False, "Nothing was rented"), (True, "stands as before")]
)
def test_nothing_on_offer_is_said_before_anything_is_made(
    choice: Subject, standing: bool, advice: str
) -> None:
    olds = choice.create() if standing else {}
    none = [offer("A", elsewhere=["d"])]
    news = {**choice.wanted, "generation": 2, "offers": none, "replacing": standing}

    (failure,) = choice.provider.check(olds, news).failures

    assert failure.property == "offers"
    here = "gn7i in hz: no zone has it in stock (d has A: another zone than wanted). "
    assert failure.reason.startswith(here)
    assert advice in failure.reason

"""Lease, host key, and the choice of zone and image."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.http import DeadlineExceeded
from stack.resources.base import LabProvider
from stack.resources.declaration import Props
from stack.resources.server import host_key
from stack.resources.server.choice import Choice
from stack.resources.server.host_key import HostKey
from stack.resources.server.lease import Term, lease_end, read_time
from tests.unit.fake_services import START, FakeClock


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


def lease(clock: FakeClock) -> LabProvider:
    provider = LabProvider(Term)
    provider.clock = clock
    return provider


def made(provider: LabProvider, hours: float) -> Props:
    outs = provider.create({"hours": hours}).outs
    assert outs is not None
    return outs


def test_a_lease_is_computed_once() -> None:
    clock = FakeClock()
    provider = lease(clock)
    outs = made(provider, 8)

    clock.sleep(3 * 3600)

    assert outs == {
        "hours": 8,
        "started_at": "2026-11-22T12:00:30Z",
        "ends": "2026-11-22T20:01:00Z",
    }
    assert not provider.diff("lease", outs, {"hours": 8}).changes


def test_other_hours_count_from_the_start() -> None:
    clock = FakeClock()
    provider = lease(clock)
    outs = made(provider, 8)
    clock.sleep(3600)

    assert provider.diff("lease", outs, {"hours": 10}).changes
    new = provider.update("lease", outs, {"hours": 10}).outs

    assert new is not None
    assert new["ends"] == "2026-11-22T22:01:00Z"
    assert new["started_at"] == outs["started_at"]


def test_fewer_hours_that_would_end_it_now_count_from_now() -> None:
    clock = FakeClock()
    provider = lease(clock)
    outs = made(provider, 8)
    clock.sleep(5 * 3600)

    new = provider.update("lease", outs, {"hours": 5.5}).outs

    assert new is not None
    assert new["started_at"] == "2026-11-22T17:00:30Z"
    assert new["ends"] == "2026-11-22T22:31:00Z"


@pytest.mark.parametrize(("left", "renewed"), [(39, True), (-60, True), (41, False)])
def test_a_lease_that_runs_out_is_renewed(left: int, renewed: bool) -> None:
    clock = FakeClock()
    provider = lease(clock)
    outs = made(provider, 8)
    clock.passed = (read_time(outs["ends"]) - START - timedelta(minutes=left)).total_seconds()

    assert provider.diff("lease", outs, {"hours": 8}).changes is renewed
    if renewed:
        new = provider.update("lease", outs, {"hours": 8}).outs
        assert new is not None
        assert read_time(new["ends"]) - clock.now() >= timedelta(hours=8)


def test_without_a_lease_nothing_ends_or_renews() -> None:
    clock = FakeClock()
    provider = lease(clock)
    outs = made(provider, 0)
    clock.sleep(10**7)

    assert outs["ends"] == ""
    assert not provider.diff("lease", outs, {"hours": 0}).changes


def test_a_lease_can_be_taken_away_and_given_later() -> None:
    clock = FakeClock()
    provider = lease(clock)
    outs = made(provider, 8)

    without = provider.update("lease", outs, {"hours": 0}).outs
    assert without is not None
    assert without["ends"] == ""
    clock.sleep(10 * 3600)
    again = provider.update("lease", without, {"hours": 8}).outs
    assert again is not None
    assert read_time(again["ends"]) > clock.now() + timedelta(hours=8)


def test_the_host_key_is_taken_once_within_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, float]] = []

    def scan(host: str, port: int, deadline: float, **_: object) -> str:
        asked.append((host, port, deadline))
        return "ssh-ed25519 AAAA"

    monkeypatch.setattr(host_key, "scan_host_key", scan)
    provider = LabProvider(HostKey)
    props = {"host": "1.2.3.4", "port": 22.0, "instance_id": "i-1"}

    outs = provider.create(props).outs

    assert outs is not None
    assert outs["host_key"] == "ssh-ed25519 AAAA"
    assert asked == [("1.2.3.4", 22, 600.0)]
    assert provider.read("x", outs).outs == outs
    moved = {**props, "host": "5.6.7.8"}
    assert provider.update("x", outs, moved).outs == {**outs, "host": "5.6.7.8"}
    assert len(asked) == 1


def test_another_machine_has_another_host_key() -> None:
    olds = {"host": "1.2.3.4", "port": 22, "instance_id": "i-1", "host_key": "k"}
    news = {"host": "1.2.3.4", "port": 22, "instance_id": UNKNOWN}

    assert LabProvider(HostKey).diff("x", olds, news).replaces == ["instance_id"]
    assert not LabProvider(HostKey).diff("x", olds, {**news, "instance_id": "i-1"}).changes


def test_a_server_that_never_answers_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    provider = LabProvider(HostKey)
    provider.clock = FakeClock()

    with pytest.raises(DeadlineExceeded, match="SSH server"):
        provider.create({"host": "127.0.0.1", "port": port})


OFFER = {"generation": 1, "zones": ["b", "a"], "images": ["i2", "i1"], "wanted": "gn7i in hz"}


def test_the_first_on_offer_is_chosen() -> None:
    outs = LabProvider(Choice).create(OFFER).outs

    assert outs is not None
    assert (outs["zone"], outs["image"]) == ("b", "i2")


def test_a_later_offer_never_moves_the_server() -> None:
    provider = LabProvider(Choice)
    outs = provider.create(OFFER).outs
    sold_out = {**OFFER, "zones": [], "images": ["i3"]}

    assert outs is not None
    assert not provider.diff("choice", outs, sold_out).changes
    assert provider.check(OFFER, sold_out).failures == []


def test_another_generation_chooses_anew() -> None:
    provider = LabProvider(Choice)
    outs = provider.create(OFFER).outs
    new = {**OFFER, "generation": 2, "zones": ["c"]}

    assert outs is not None
    assert provider.diff("choice", outs, new).changes
    changed = provider.update("choice", outs, new).outs
    assert changed is not None
    assert (changed["zone"], changed["image"]) == ("c", "i2")


@pytest.mark.parametrize("olds", [{}, {**OFFER, "generation": 0}])
def test_nothing_on_offer_is_said_before_anything_is_made(olds: Props) -> None:
    failures = LabProvider(Choice).check(olds, {**OFFER, "zones": []}).failures

    assert [failure.property for failure in failures] == ["zones"]
    assert "gn7i in hz" in failures[0].reason


def test_an_offer_that_is_not_known_yet_is_not_judged() -> None:
    assert LabProvider(Choice).check({}, {**OFFER, "zones": UNKNOWN}).failures == []

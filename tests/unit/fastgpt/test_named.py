"""Bases, apps, links and keys: found by name or id, adopted, kept the only one, deleted."""

from collections.abc import Callable
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.errors import Conflict, NotFound
from tests.unit.fastgpt.bench import BOTH, LOGIN, Bench
from tests.unit.subject import Subject

MADE: dict[str, Callable[[Bench], Subject]] = {
    "datasets": lambda bench: bench.dataset(),
    "apps": lambda bench: bench.app(),
    "outlinks": lambda bench: bench.link(bench.app().create()["object_id"]),
    "openapis": lambda bench: bench.key(bench.app().create()["object_id"]),
}


@pytest.fixture
def subject(bench: Bench, kind: str) -> Subject:
    return MADE[kind](bench)


each = pytest.mark.parametrize("kind", MADE)
kept = pytest.mark.parametrize("kind", ["datasets", "apps"])
doors = pytest.mark.parametrize("kind", ["outlinks", "openapis"])


@BOTH
@each
def test_it_is_made_once_and_deletes_quietly(subject: Subject, bench: Bench, kind: str) -> None:
    """The second time is as after an interrupted run: made, but not in the state."""
    first = subject.create()
    second = subject.create()
    # 4.8.8 shows a key once, so a leftover is replaced.
    assert (second == first) is ((kind, bench.edition) != ("openapis", "seeds"))
    if kind == "openapis":
        key = bench.row(kind, second["object_id"])["apiKey"]
        of_the_app = f"-{second['app_id']}" if bench.edition == "current" else ""
        assert second["key"] == key + of_the_app
    assert bench.ids(kind) == [second["object_id"]]
    assert subject.seen() == second
    assert not subject.drifts()

    subject.delete()
    assert bench.ids(kind) == []
    assert subject.gone()
    subject.delete()


@BOTH
@kept
def test_two_of_that_name_are_not_guessed_between(
    subject: Subject, bench: Bench, kind: str
) -> None:
    bench.double(kind, subject.create()["object_id"])
    with pytest.raises(Conflict, match="2 of that name"):
        subject.create()


@BOTH
@kept
def test_a_later_namesake_is_drift_and_renamed(subject: Subject, bench: Bench, kind: str) -> None:
    made = subject.create()
    for _ in range(2):
        bench.double(kind, made["object_id"])
    subject.heal()
    name = made["name"]
    names = {row["name"]: row["_id"] for row in bench.mongo.find(kind)}
    assert names.keys() == {name, f"{name} (2)", f"{name} (3)"}
    assert names[name] == made["object_id"]


@BOTH
@doors
def test_a_second_door_of_that_name_is_drift_and_closed(
    subject: Subject, bench: Bench, kind: str
) -> None:
    made = subject.create()["object_id"]
    bench.double(kind, made, shareId="other")
    subject.heal()
    assert bench.ids(kind) == [made]


@BOTH
@kept
def test_a_namesake_does_not_take_the_place_of_one_that_is_gone(
    subject: Subject, bench: Bench, kind: str
) -> None:
    """Others know it by its id, which no update can change."""
    made = subject.create()["object_id"]
    other = bench.double(kind, made)
    bench.mongo.delete(kind, _id=made)
    with pytest.raises(NotFound, match=r"gone; `pulumi up --refresh`"):
        subject.update(intro="New")
    assert bench.row(kind, other)["intro"] == ""


@BOTH
def test_one_session_serves_all_resources(bench: Bench) -> None:
    for name in ("a", "b"):
        bench.dataset(name=name).create()
    assert bench.calls.count(("POST", LOGIN)) == 1


# -- datasets -----------------------------------------------------------------------------------


@BOTH
def test_a_dataset_of_that_name_with_another_embedding_is_not_taken(bench: Bench) -> None:
    other = bench.dataset(vector_model="bge")
    other.create()
    with pytest.raises(Conflict, match="bge"):
        bench.dataset().create()
    result = other.diff(vector_model="m3e")
    assert (result.replaces, result.delete_before_replace) == (["vector_model"], True)


@BOTH
@pytest.mark.parametrize(
    "hand", [{"name": "renamed"}, {"intro": ""}, {"agentModel": "glm"}], ids=str
)
def test_a_dataset_that_was_edited_is_set_right(bench: Bench, hand: dict[str, str]) -> None:
    dataset = bench.dataset(intro="How the lab works")
    made = dataset.create()["object_id"]
    right = {"name": "manual", "intro": "How the lab works", "agentModel": "qwen"}
    assert right.items() <= bench.row("datasets", made).items()
    bench.edit("datasets", made, **hand)
    dataset.heal()
    assert right.items() <= bench.row("datasets", made).items()


def test_a_rebuilt_embedding_is_drift_and_a_model_that_config_json_lost_is_not(
    bench: Bench,
) -> None:
    dataset = bench.dataset()
    made = dataset.create()["object_id"]
    before = dataset.state
    bench.edit("datasets", made, vectorModel="bge")
    dataset.state = dataset.seen()
    assert dataset.diff().replaces == ["vector_model"]
    bench.edit("datasets", made, vectorModel="m3e")
    dataset.state = before
    # FastGPT falls back to its first model, silently.
    bench.service.config.models["vectorModels"] = [{"model": "bge"}]
    assert not dataset.drifts()


# -- links and keys -----------------------------------------------------------------------------


@BOTH
@doors
def test_another_app_is_another_door(subject: Subject) -> None:
    subject.create()
    assert subject.diff(app_id=UNKNOWN).replaces == ["app_id"]


@BOTH
@pytest.mark.parametrize(
    ("kind", "hand", "stays"),
    [
        ("outlinks", {"responseDetail": False, "showCite": False}, "share_id"),
        ("openapis", {"name": "other"}, "key"),
    ],
)
def test_a_door_edited_by_hand_opens_as_before(
    subject: Subject, bench: Bench, kind: str, hand: dict[str, Any], stays: str
) -> None:
    made = subject.create()
    before = bench.row(kind, made["object_id"])
    hand = {name: value for name, value in hand.items() if name in before}
    bench.edit(kind, made["object_id"], **hand)
    assert subject.heal()[stays] == made[stays] != made["object_id"]
    changed = {name: bench.row(kind, made["object_id"])[name] for name in hand}
    assert changed == {name: before[name] for name in hand} != {}

"""Bases, apps, links and keys: found by name or id, adopted, kept the only one, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.http import Conflict, NotFound
from tests.unit.fake_services import FakeFastGpt
from tests.unit.fastgpt.bench import Bench
from tests.unit.subject import Subject

Make = Callable[[Bench, str], Subject]
MADE: dict[str, Make] = {
    "datasets": lambda bench, _: bench.dataset(),
    "apps": lambda bench, _: bench.app(),
    "links": lambda bench, app_id: bench.link(app_id),
    "keys": lambda bench, app_id: bench.key(app_id),
}


@pytest.fixture
def subject(bench: Bench, service: FakeFastGpt, request: pytest.FixtureRequest) -> Subject:
    app_id = "" if request.param in ("datasets", "apps") else bench.app().create()["object_id"]
    return MADE[request.param](bench, app_id)


def each(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("kind", "subject"), [(kind, kind) for kind in kinds], indirect=["subject"]
    )


@each("datasets", "apps", "links")
def test_it_is_made_once(subject: Subject, service: FakeFastGpt, kind: str) -> None:
    """The second time is as after an interrupted run: made, but not in the state."""
    first = subject.create()
    assert subject.create() == first
    assert list(getattr(service, kind)) == [first["object_id"]]
    assert not subject.drifts()


@each("datasets", "apps", "links", "keys")
def test_what_is_deleted_is_gone_and_deletes_quietly(
    subject: Subject, service: FakeFastGpt, kind: str
) -> None:
    subject.create()
    subject.delete()
    assert not getattr(service, kind)
    assert subject.gone()
    subject.delete()


@each("datasets", "apps")
def test_two_of_that_name_are_not_guessed_between(
    subject: Subject, service: FakeFastGpt, kind: str
) -> None:
    rows, made = getattr(service, kind), subject.create()
    rows["x"] = {**rows[made["object_id"]], "_id": "x"}
    with pytest.raises(Conflict, match="2 of that name"):
        subject.create()


@each("datasets", "apps")
def test_a_later_namesake_is_drift_and_renamed(
    subject: Subject, service: FakeFastGpt, kind: str
) -> None:
    rows, made = getattr(service, kind), subject.create()
    for number in ("x", "y"):
        rows[number] = {**rows[made["object_id"]], "_id": number}
    subject.heal()
    name = made["name"]
    assert [row["name"] for row in rows.values()] == [name, f"{name} (2)", f"{name} (3)"]


@each("links", "keys")
def test_a_second_door_of_that_name_is_drift_and_closed(
    subject: Subject, service: FakeFastGpt, kind: str
) -> None:
    rows, made = getattr(service, kind), subject.create()
    rows["x"] = {**rows[made["object_id"]], "_id": "x", "shareId": "other"}
    subject.heal()
    assert list(rows) == [made["object_id"]]


@each("datasets", "apps")
def test_a_namesake_does_not_take_the_place_of_one_that_is_gone(
    subject: Subject, service: FakeFastGpt, kind: str
) -> None:
    """Others know it by its id, which no update can change."""
    rows, made = getattr(service, kind), subject.create()
    rows["x"] = {**rows.pop(made["object_id"]), "_id": "x"}
    with pytest.raises(NotFound, match=r"gone; `pulumi up --refresh`"):
        subject.update(intro="New")
    assert rows["x"]["intro"] == ""


@each("datasets", "links")
def test_unreachable_is_not_gone(subject: Subject, service: FakeFastGpt, kind: str) -> None:
    made = subject.create()
    service.down = True
    assert subject.seen() == made, kind


# -- datasets -----------------------------------------------------------------------------------


def test_a_dataset_of_that_name_with_another_embedding_is_not_taken(bench: Bench) -> None:
    bench.dataset(vector_model="bge").create()
    with pytest.raises(Conflict, match="bge"):
        bench.dataset().create()


def test_another_embedding_makes_another_dataset_the_old_one_first(bench: Bench) -> None:
    dataset = bench.dataset()
    dataset.create()
    result = dataset.diff(vector_model="bge")
    assert (result.replaces, result.delete_before_replace) == (["vector_model"], True)


@pytest.mark.parametrize(
    ("key", "hand"),
    [("name", "renamed"), ("intro", ""), ("agentModel", {"model": "glm"})],
)
def test_a_dataset_that_was_edited_is_set_right(
    bench: Bench, service: FakeFastGpt, key: str, hand: Any
) -> None:
    service.models["llmModels"] += [{"model": "glm"}]
    dataset = bench.dataset(intro="How the lab works")
    row = service.datasets[dataset.create()["object_id"]]
    # An object in update, though a string in create.
    right = {"name": "manual", "intro": "How the lab works", "agentModel": {"model": "qwen"}}
    assert {**row, **right} == row
    row[key] = hand
    dataset.heal()
    assert {**row, **right} == row


def test_a_model_that_config_json_lost_is_not_the_datasets_drift(
    bench: Bench, service: FakeFastGpt
) -> None:
    dataset = bench.dataset()
    made = dataset.create()
    # FastGPT falls back to its first model, silently.
    service.models["vectorModels"] = [{"model": "bge"}]
    service.datasets[made["object_id"]]["vectorModel"] = {"model": "bge"}
    assert not dataset.drifts()


def test_a_rebuilt_embedding_is_drift(bench: Bench, service: FakeFastGpt) -> None:
    dataset = bench.dataset()
    service.datasets[dataset.create()["object_id"]]["vectorModel"] = {"model": "bge"}
    dataset.state = dataset.seen()
    assert dataset.diff().replaces == ["vector_model"]


# -- links and keys -----------------------------------------------------------------------------


def test_a_link_edited_by_hand_keeps_its_address(
    bench: Bench, service: FakeFastGpt, app_id: str
) -> None:
    link = bench.link(app_id)
    made = link.create()
    row = service.links[made["object_id"]]
    row["responseDetail"] = False
    assert link.heal()["share_id"] == made["share_id"] != made["object_id"]
    assert row["responseDetail"] is True


def test_another_app_is_another_link(bench: Bench, app_id: str) -> None:
    link = bench.link(app_id)
    link.create()
    assert link.diff(app_id=UNKNOWN).replaces == ["app_id"]


def test_a_key_is_kept_and_a_leftover_is_replaced(
    bench: Bench, service: FakeFastGpt, app_id: str
) -> None:
    """The first one's text is lost with its state: FastGPT never shows it again."""
    key = bench.key(app_id)
    first, second = key.create(), key.create()
    assert list(service.keys) == [second["object_id"]]
    assert first["key"] != second["key"] == service.keys[second["object_id"]]["apiKey"]
    assert key.seen() == second

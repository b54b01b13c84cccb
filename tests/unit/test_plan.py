"""The plan as a value: what the tables say of a lab's settings, made once."""

from typing import Any

import pytest

from provisioning.containers import CONTAINERS, SEEDED
from provisioning.host import VOCABULARY_FOLDER, script
from provisioning.launch import XINFERENCE_HOME
from provisioning.ports import PUBLISHED
from provisioning.problems import PlanError
from tests.unit.plans import AWQ, planned


def test_every_port_names_its_networks_and_the_chat_alone_opens_to_all() -> None:
    two = ("198.18.0.5/32", "198.18.0.9/32")
    own = planned(allowedCidrs=two[::-1], sshPort=2222).open_ports
    assert own == dict.fromkeys((2222, 3000, 3001, 9997), two)
    public = planned("cpu", publicChat=True).open_ports
    assert public == {22: two[:1], 3000: ("0.0.0.0/0",), 3001: two[:1]}


def test_models_and_cards_give_launches_channels_and_a_driver() -> None:
    lab, cpu = planned(), planned("cpu")
    assert list(lab.launches) == ["qwen2.5-instruct", "m3e-base", "bge-reranker-v2-m3"]
    assert [channel.name for channel in lab.channels] == ["xinference-chat", "xinference-embedding"]
    assert "driver" in [step.name for step in lab.steps]
    assert cpu.launches == {}
    assert "driver" not in [step.name for step in cpu.steps]
    # What does not fit is planned all the same.
    huge = {"name": "qwen2.5-instruct", "kind": "chat", "xinference": AWQ | {"size": 72}}
    assert planned(models=[huge]).fit.problems


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"region": "cn-atlantis"}, "alicloud:region"),
        ({"xinferenceVersion": "nine"}, "xinferenceVersion"),
        ({"images": {"fastgtp": ":v1"}}, "images.fastgtp"),
        ({"mirrors": {"dockerApt": "a.example"}}, "mirrors.dockerApt"),
    ],
)
def test_where_the_tables_know_nothing_there_is_no_plan(change: dict[str, Any], path: str) -> None:
    with pytest.raises(PlanError) as error:
        planned(**change)
    assert error.value.problem.path == path


def test_the_containers_find_what_the_host_s_steps_left() -> None:
    """The table writes down again what other tables say."""
    found = planned().containers
    (folder,) = found["mongo"].mounts
    assert f"\nfolder={folder.removeprefix('/root/')}\n" in script("mongo-keyfile")
    assert set(found["oneapi"].mounts) == {f"/root/{VOCABULARY_FOLDER}"}
    assert found["xinference"].data == XINFERENCE_HOME
    assert {port for container in found.values() for port in container.published} == set(PUBLISHED)


def test_a_container_comes_after_those_that_it_needs() -> None:
    names = list(CONTAINERS)
    for name, container in CONTAINERS.items():
        assert set(container.after) <= set(names[: names.index(name)])
    assert {name for needs in SEEDED.values() for name in needs} == set(names)


def test_the_price_is_made_of_its_parts() -> None:
    price = planned().price
    assert (price.total, price.currency) == (12.19, "CNY")
    assert list(price.parts.values()) == [10.09, 2.10]
    assert "out of date" in price.note


@pytest.mark.parametrize(
    ("change", "known", "said"),
    [
        ({"region": "cn-beijing", "spot": True}, True, "Spot follows the market"),
        ({"instanceType": "ecs.g7.large"}, False, "ecs.g7.large"),
        ({"diskCategory": "cloud_new"}, False, "this disk"),
        ({"region": "ap-southeast-1"}, False, "outside the mainland"),
    ],
)
def test_a_price_that_is_not_known_is_none(change: dict[str, Any], known: bool, said: str) -> None:
    price = planned(**change).price
    assert (price.total is not None) is known
    assert said in price.note


@pytest.mark.parametrize(
    ("category", "level", "amount"),
    [("cloud_essd", "PL2", 4.2), ("cloud_auto", "PL3", 2.1), ("cloud_essd_entry", "PL1", 0.7)],
)
def test_the_disk_level_counts_and_only_for_essd(category: str, level: str, amount: float) -> None:
    lab = planned(diskCategory=category, diskPerformanceLevel=level)
    assert list(lab.price.parts.values())[1] == amount

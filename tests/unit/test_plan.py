"""The plan as a value: what the tables say of a lab's settings, made once."""

from pathlib import Path
from typing import Any

import pytest

from provisioning.containers import CONTAINERS, SEEDED
from provisioning.host import VOCABULARY_FOLDER, script
from provisioning.launch import XINFERENCE_HOME
from provisioning.plan import Plan, plan
from provisioning.ports import PUBLISHED
from provisioning.problems import PlanError
from provisioning.settings import Settings
from tests.unit.program import given


def settings(stack: str = "dev", **changes: Any) -> Settings:
    """A stack's settings, in shape but not checked."""
    return Settings.model_validate(given(stack, Path("no-key")) | changes)


def planned(stack: str = "dev", **changes: Any) -> Plan:
    return plan(settings(stack, **changes))


def test_every_port_names_its_networks_and_the_chat_alone_opens_to_all() -> None:
    two = ["198.18.0.9/32", "198.18.0.5/32"]
    assert planned(allowedCidrs=two, sshPort=2222).open_ports == dict.fromkeys(
        (2222, 3000, 3001, 9997), tuple(sorted(two))
    )
    public = planned("cpu", publicChat=True).open_ports
    assert public == {22: ("198.18.0.5/32",), 3000: ("0.0.0.0/0",), 3001: ("198.18.0.5/32",)}


def test_a_launch_for_each_model_on_the_server_and_a_channel_for_each_source() -> None:
    lab = planned()
    assert list(lab.launches) == ["qwen2.5-instruct", "m3e-base", "bge-reranker-v2-m3"]
    assert [channel.name for channel in lab.channels] == ["xinference-chat", "xinference-embedding"]
    assert planned("cpu").launches == {}


def test_the_server_gets_a_driver_where_it_has_a_card() -> None:
    assert "driver" in [step.name for step in planned().steps]
    assert "driver" not in [step.name for step in planned("cpu").steps]


def test_what_does_not_fit_is_planned_all_the_same() -> None:
    models = [
        {"name": "qwen2.5-instruct", "kind": "chat", "context": 131072}
        | {"xinference": {"engine": "vllm", "format": "pytorch", "size": 72}}
    ]
    assert planned(models=models).fit.problems


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
    folders = {name: set(container.mounts) for name, container in found.items()}
    (folder,) = folders["mongo"]
    assert f"\nfolder={folder.removeprefix('/root/')}\n" in script("mongo-keyfile")
    assert folders["oneapi"] == {f"/root/{VOCABULARY_FOLDER}"}
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

"""The plan as a value: what the tables say of a lab's settings, made once."""

from typing import Any

import pytest

from provisioning.containers import PUBLIC_BUCKET, known_containers, seeded
from provisioning.editions import EDITIONS, EditionName
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
    domain = {"domain": "lab.example.com", "certificateFile": "own.pem", "allowedCidrs": two[:1]}
    visited = planned("cpu", edition="current", visitorCidrs=["198.18.7.0/24"], **domain)
    both = (*two[:1], "198.18.7.0/24")
    assert visited.open_ports == {22: two[:1], 443: both, 7443: two[:1], 8443: two[:1]}
    whole = planned("cpu", edition="seeds", visitorCidrs=["198.18.7.0/24"], **domain)
    assert whole.open_ports == {22: two[:1], 443: both, 8443: two[:1]}


def test_the_door_leads_to_the_bucket_that_fastgpt_lets_everybody_read() -> None:
    lab = planned(edition="current", domain="lab.example.com").containers
    assert lab["plugin"].environment["STORAGE_PUBLIC_BUCKET"] == PUBLIC_BUCKET
    assert f"/{PUBLIC_BUCKET}/" in lab["caddy"].files["/etc/caddy/Caddyfile"]
    assert "minio" in lab["caddy"].reaches


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


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_container_comes_after_those_that_it_needs(edition: EditionName) -> None:
    known = known_containers(edition)
    names = list(known)
    for name, container in known.items():
        assert set(container.after) <= set(names[: names.index(name)])
        assert set(container.reaches) <= set(names)
    assert {name for needs in seeded(edition).values() for name in needs} == set(names)


def test_models_are_in_a_file_or_a_resource() -> None:
    seeds, current = planned("seeds"), planned("dev")
    assert (seeds.edition, current.edition) == ("seeds", "current")
    assert set(seeds.containers["fastgpt"].files) == {"/app/data/config.json"}
    assert seeds.fastgpt_models == ()
    assert not current.containers["fastgpt"].files
    names = [model.name for model in current.settings.models]
    assert [each["model"] for each in current.fastgpt_models] == names


def test_a_sandbox_comes_with_its_setting_alone() -> None:
    without, with_it = planned("dev"), planned("dev", codeSandbox=True)
    assert set(with_it.containers) - set(without.containers) == {"code-sandbox"}
    assert "code-sandbox" not in without.containers["fastgpt"].reaches
    assert "code-sandbox" in with_it.containers["fastgpt"].after


def test_files_in_oss_take_minio_s_place() -> None:
    lab = planned("dev", storage="oss", domain="lab.example.com")
    assert "minio" not in lab.containers
    assert "pull-minio" not in {step.name for step in lab.steps}
    asking = [lab.containers[name] for name in ("plugin", "fastgpt", "caddy")]
    assert not [each for each in asking if "minio" in each.reaches + each.after]
    assert all("{storage}" in each.environment.values() for each in asking[:2])
    assert all("STORAGE_EXTERNAL_ENDPOINT" not in each.environment for each in asking)
    assert all("minio" not in str(each) for each in asking)
    assert lab.containers["plugin"].online
    # Signed addresses would reach strangers otherwise.
    assert lab.containers["fastgpt"].environment["PLUGIN_BASE_URL"] == "http://caddy:3004"
    assert {"plugin", "fastgpt"} <= set(lab.containers["caddy"].reaches)
    assert "caddy" in lab.containers["fastgpt"].after
    assert 3004 not in {p for each in asking for p in each.published.values()}
    plain = planned("dev", storage="oss").containers["fastgpt"]
    assert plain.environment["PLUGIN_BASE_URL"] == "http://plugin:3000"


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

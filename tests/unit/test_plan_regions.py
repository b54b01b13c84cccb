"""Regions, images and releases: tables whose rows are facts."""

from __future__ import annotations

import dataclasses

import pytest

from provisioning.images import Images, images
from provisioning.problems import PlanError
from provisioning.regions import INTERNATIONAL_REGIONS, MAINLAND_REGIONS, region
from provisioning.versions import DEFAULT_XINFERENCE, driver_problem, xinference_release

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize("region_id", sorted(MAINLAND_REGIONS))
def test_a_mainland_region_uses_only_what_answers_there(region_id: str) -> None:
    cells = region(region_id, {})
    text = str(cells)
    assert cells.mainland
    for blocked in (
        "download.docker.com",
        "nvidia.github.io",
        "//huggingface.co",
        "ghcr.io",
        "-intl",
    ):
        assert blocked not in text
    for dead in ("docker.nju.edu.cn", "dockerproxy.com", "registry.docker-cn.com"):
        assert dead not in text
    assert cells.registry_mirrors == ("https://docker.m.daocloud.io", "https://docker.1ms.run")
    assert cells.model_hub == "modelscope"
    assert cells.docker_key.startswith("https://")


def test_the_registry_inside_the_cloud_is_for_hangzhou_only() -> None:
    assert region("cn-hangzhou", {}).registry == "registry-vpc.cn-hangzhou.aliyuncs.com"
    assert region("cn-beijing", {}).registry == "registry.cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize("region_id", sorted(INTERNATIONAL_REGIONS))
def test_an_international_region_needs_no_mainland_mirror(region_id: str) -> None:
    cells = region(region_id, {})
    assert not cells.mainland
    assert cells.registry_mirrors == ()
    assert cells.model_hub == "huggingface"
    assert cells.dashscope_url == "https://dashscope-intl.aliyuncs.com"
    assert "mirrors.aliyun" not in str(cells)


OVERRIDES = {
    "registry": ("registry.example.com/lab/", "registry.example.com/lab"),
    "aptMirror": ("", ""),
    "dockerApt": ("https://a.example/d", "https://a.example/d"),
    "dockerKey": ("https://a.example/gpg", "https://a.example/gpg"),
    "toolkitRepo": ("https://a.example/t/", "https://a.example/t"),
    "registryMirrors": (
        "https://a.example, https://b.example",
        ("https://a.example", "https://b.example"),
    ),
    "modelHub": ("huggingface", "huggingface"),
    "hfEndpoint": ("https://hf.example/", "https://hf.example"),
    "pypiMirror": ("https://p.example/simple/", "https://p.example/simple"),
    "dashscopeUrl": ("https://ds.example", "https://ds.example"),
}


@pytest.mark.parametrize(("key", "given", "kept"), [(k, *v) for k, v in OVERRIDES.items()])
def test_every_cell_can_be_set(key: str, given: str, kept: object) -> None:
    plain, changed = region("cn-hangzhou", {}), region("cn-hangzhou", {key: given})
    differing = {
        f.name
        for f in dataclasses.fields(plain)
        if getattr(plain, f.name) != getattr(changed, f.name)
    }
    assert len(differing) == 1
    assert getattr(changed, differing.pop()) == kept


def test_the_list_of_settable_cells_is_complete() -> None:
    cells = {f.name for f in dataclasses.fields(region("cn-hangzhou", {}))} - {"id", "mainland"}
    assert len(cells) == len(OVERRIDES)


@pytest.mark.parametrize(
    ("region_id", "overrides", "said"),
    [
        ("cn-hangzou", {}, "did you mean 'cn-hangzhou'?"),
        ("moon", {}, "known are"),
        ("cn-hangzhou", {"dockrApt": "https://x"}, "did you mean 'dockerApt'?"),
        ("cn-hangzhou", {"mainland": "no"}, "mirrors.mainland"),
        ("cn-hangzhou", {"dockerApt": "a.example"}, "https://"),
        ("cn-hangzhou", {"dockerApt": ""}, "leave the line out"),
        ("cn-hangzhou", {"dockerApt": "https://a.example/'; rm"}, "no address"),
        ("cn-hangzhou", {"dockerKey": "http://a.example/gpg"}, "forged"),
        ("cn-hangzhou", {"registry": "https://r.example"}, "without http://"),
        ("cn-hangzhou", {"modelHub": "modelscop"}, "modelscope or huggingface"),
        ("cn-hangzhou", {"registryMirrors": "https://ok.example,nope"}, "'nope'"),
    ],
)
def test_a_wrong_region_or_cell_is_refused(
    region_id: str, overrides: dict[str, str], said: str
) -> None:
    with pytest.raises(PlanError) as refused:
        region(region_id, overrides)
    assert said in str(refused.value)


def _images(region_id: str = "cn-hangzhou", gpu: bool = True, **overrides: str) -> Images:
    return images(region(region_id, {}), overrides, DEFAULT_XINFERENCE, gpu)


@pytest.mark.parametrize("region_id", ["cn-hangzhou", "cn-beijing", "ap-southeast-1"])
@pytest.mark.parametrize("gpu", [True, False])
def test_no_image_is_untagged_or_moving(region_id: str, gpu: bool) -> None:
    for image in vars(_images(region_id, gpu)).values():
        assert image.reference == f"{image.repository}:{image.tag}"
        assert image.tag not in ("", "latest")


def test_the_images_come_from_where_the_region_says() -> None:
    assert _images().mongo.reference == "registry-vpc.cn-hangzhou.aliyuncs.com/fastgpt/mongo:5.0.18"
    assert _images("ap-southeast-1").mongo.reference == "mongo:5.0.18"
    assert _images("ap-southeast-1").fastgpt.reference == "ghcr.io/labring/fastgpt:v4.8.8-fix2"
    own = images(region("ap-southeast-1", {"registry": "r.example"}), {}, DEFAULT_XINFERENCE, True)
    assert own.mysql.reference == "r.example/fastgpt/mysql:8.0.36"


def test_xinference_has_an_image_for_servers_without_gpu() -> None:
    assert _images(gpu=True).xinference.reference == f"xprobe/xinference:v{DEFAULT_XINFERENCE}"
    assert _images(gpu=False).xinference.tag == f"v{DEFAULT_XINFERENCE}-cpu"


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        (":4.4.29", "mongo:4.4.29"),
        (f"@{DIGEST}", f"mongo:5.0.18@{DIGEST}"),
        ("r.example:5000/a/b:1", "r.example:5000/a/b:1"),
        (f"r.example/a/b:1@{DIGEST}", f"r.example/a/b:1@{DIGEST}"),
        (f"b:latest@{DIGEST}", f"b:latest@{DIGEST}"),
    ],
)
def test_an_image_can_be_set(given: str, reference: str) -> None:
    assert _images("ap-southeast-1", mongo=given).mongo.reference == reference


@pytest.mark.parametrize(
    ("service", "given", "said"),
    [
        ("mongodb", ":1", "did you mean 'mongo'?"),
        ("mongo", "mongo", "such as mongo:5.0.18"),
        ("mongo", f"mongo@{DIGEST}", "has no tag"),
        ("mongo", "mongo:latest", "another image tomorrow"),
        ("mongo", "", "is no image"),
        ("mongo", "mongo:1 --privileged", "is no image"),
        ("mongo", "mongo:1@sha256:abc", "is no image"),
    ],
)
def test_a_wrong_image_is_refused(service: str, given: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        _images(**{service: given})
    assert str(refused.value).startswith(f"images.{service}: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("version", "driver", "autostart", "auth", "vllm", "trust"),
    [
        ("1.15.0", 550, False, False, True, False),
        ("1.17.1", 550, False, False, True, False),
        ("2.0.0", 575, False, False, True, False),
        ("2.8.9", 575, False, False, True, False),
        ("v2.9.0", 580, False, False, True, False),
        ("2.12.0", 580, True, False, True, True),
        ("3.0.0", 580, True, True, False, True),
        ("4.1.0", 580, True, True, False, True),
    ],
)
def test_the_table_of_releases(
    version: str, driver: int, autostart: bool, auth: bool, vllm: bool, trust: bool
) -> None:
    release = xinference_release(version)
    assert release.version == version.removeprefix("v")
    assert (
        release.minimum_driver,
        release.autostart,
        release.auth_on_by_default,
        release.vllm_inside,
        release.trust_remote_code_switch,
    ) == (driver, autostart, auth, vllm, trust)


@pytest.mark.parametrize(
    "version", ["", "latest", "2.12", "1.14.9", "0.16.3", "5.0.0", "2.12.0rc1"]
)
def test_an_unknown_release_is_refused_with_a_known_one(version: str) -> None:
    with pytest.raises(PlanError, match=DEFAULT_XINFERENCE):
        xinference_release(version)


@pytest.mark.parametrize(
    ("version", "mended"),
    [("2.8.9", False), ("2.9.0", True), (DEFAULT_XINFERENCE, True), ("3.0.0", False)],
)
def test_images_whose_peft_does_not_import_are_mended(version: str, mended: bool) -> None:
    assert bool(xinference_release(version).repairs) == mended


def test_a_driver_is_held_against_the_release() -> None:
    assert driver_problem(xinference_release("4.1.0"), 580) is None
    assert driver_problem(xinference_release(DEFAULT_XINFERENCE)) is None
    assert "580 or later" in (driver_problem(xinference_release("3.0.0"), 575) or "")

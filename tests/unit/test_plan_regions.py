"""Regions, images and releases: tables whose rows are facts."""

import pytest

from provisioning.images import Images, images
from provisioning.problems import PlanError
from provisioning.regions import INTERNATIONAL_REGIONS, MAINLAND_REGIONS, Cells, region
from provisioning.versions import DEFAULT_XINFERENCE, NVIDIA_DRIVER, xinference_release

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
    [cell] = dict(changed).items() - dict(plain).items()
    assert cell[1] == kept


def test_the_list_of_settable_cells_is_complete() -> None:
    assert {field.alias for field in Cells.model_fields.values()} == set(OVERRIDES)


def _images(region_id: str = "cn-hangzhou", gpu: bool = True, **overrides: str) -> Images:
    return images(region(region_id, {}), overrides, xinference_release(DEFAULT_XINFERENCE), gpu)


@pytest.mark.parametrize("region_id", ["cn-hangzhou", "cn-beijing", "ap-southeast-1"])
@pytest.mark.parametrize("gpu", [True, False])
def test_no_image_is_untagged_or_moving(region_id: str, gpu: bool) -> None:
    for image in _images(region_id, gpu).values():
        assert image.reference == f"{image.repository}:{image.tag}"
        assert image.tag not in ("", "latest")


def test_the_images_come_from_where_the_region_says() -> None:
    assert (
        _images()["mongo"].reference == "registry-vpc.cn-hangzhou.aliyuncs.com/fastgpt/mongo:5.0.18"
    )
    assert _images("ap-southeast-1")["mongo"].reference == "mongo:5.0.18"
    assert _images("ap-southeast-1")["fastgpt"].reference == "ghcr.io/labring/fastgpt:v4.8.8-fix2"
    own = images(
        region("ap-southeast-1", {"registry": "r.example"}),
        {},
        xinference_release(DEFAULT_XINFERENCE),
        True,
    )
    assert own["mysql"].reference == "r.example/fastgpt/mysql:8.0.36"


def test_xinference_has_an_image_for_servers_without_gpu() -> None:
    assert _images(gpu=True)["xinference"].reference == f"xprobe/xinference:v{DEFAULT_XINFERENCE}"
    assert _images(gpu=False)["xinference"].tag == f"v{DEFAULT_XINFERENCE}-cpu"


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
    assert _images("ap-southeast-1", mongo=given)["mongo"].reference == reference


@pytest.mark.parametrize("version", ["2.12.0", "v2.12.1", "4.1.0", "4.1.7"])
def test_two_lines_of_xinference_are_known(version: str) -> None:
    release = xinference_release(version)
    assert release.version == version.removeprefix("v")
    successor = release.version.startswith("4.")
    assert (release.auth_on_by_default, release.installs_engines) == (successor, successor)
    assert bool(release.repairs) is not successor
    assert release.minimum_driver <= NVIDIA_DRIVER


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("", "no released version"),
        ("latest", "no released version"),
        ("2.12", "no released version"),
        ("2.12.0rc1", "no released version"),
    ],
)
def test_what_is_no_release_is_refused_with_the_known_ones(version: str, why: str) -> None:
    with pytest.raises(PlanError) as refused:
        xinference_release(version)
    problem = refused.value.problem
    assert problem.path == "xinferenceVersion"
    assert why in problem.wrong
    assert problem.right == "use 2.12.0 (the default) or 4.1.0"

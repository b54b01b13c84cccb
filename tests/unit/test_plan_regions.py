"""Regions, images and releases: tables whose rows are facts."""

import pytest

from provisioning.editions import EDITIONS, EditionName
from provisioning.images import Images, images
from provisioning.regions import INTERNATIONAL_REGIONS, MAINLAND_REGIONS, Cells, region
from provisioning.versions import DEFAULT_XINFERENCE, NVIDIA_DRIVER, xinference_release
from tests.unit.plans import cases

DIGEST = "sha256:" + "ab" * 32
TABLE = cases("plans.yaml")


@pytest.mark.parametrize("region_id", sorted(MAINLAND_REGIONS))
def test_a_mainland_region_uses_only_what_answers_there(region_id: str) -> None:
    cells = region(region_id, {})
    assert [name for name in TABLE["blocked"] if name in str(cells)] == []
    assert (cells.mainland, cells.model_hub) == (True, "modelscope")
    assert cells.registry_mirrors == ("https://docker.m.daocloud.io", "https://docker.1ms.run")
    assert cells.docker_key.startswith("https://")
    # Inside the cloud it is reached from one region only.
    here = "registry-vpc" if region_id == "cn-hangzhou" else "registry"
    assert cells.registry == f"{here}.cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize("region_id", sorted(INTERNATIONAL_REGIONS))
def test_an_international_region_needs_no_mainland_mirror(region_id: str) -> None:
    cells = region(region_id, {})
    assert "mirrors.aliyun" not in str(cells)
    assert (cells.mainland, cells.model_hub) == (False, "huggingface")
    assert cells.registry_mirrors == ()
    assert cells.dashscope_url == "https://dashscope-intl.aliyuncs.com"


def test_every_cell_can_be_set() -> None:
    assert {field.alias for field in Cells.model_fields.values()} == set(TABLE["cells"])
    plain = dict(region("cn-hangzhou", {}))
    for key, (given, *other) in TABLE["cells"].items():
        [(_, kept)] = dict(region("cn-hangzhou", {key: given})).items() - plain.items()
        assert (list(kept) if isinstance(kept, tuple) else kept) == (other or [given])[0]


def _images(
    region_id: str = "cn-hangzhou",
    gpu: bool = True,
    edition: EditionName = "seeds",
    **overrides: str,
) -> Images:
    release = xinference_release(DEFAULT_XINFERENCE)
    return images(edition, region(region_id, {}), overrides, release, gpu)


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("region_id", ["cn-hangzhou", "cn-beijing", "ap-southeast-1"])
def test_no_image_is_untagged_or_moving(region_id: str, edition: EditionName) -> None:
    found = (_images(region_id, gpu, edition) for gpu in (True, False))
    for image in (image for chosen in found for image in chosen.values()):
        assert image.reference == f"{image.repository}:{image.tag}"
        assert image.tag not in ("", "latest")


def test_the_images_come_from_where_the_region_says() -> None:
    here, abroad = _images(), _images("ap-southeast-1")
    assert here["mongo"].reference == "registry-vpc.cn-hangzhou.aliyuncs.com/fastgpt/mongo:5.0.18"
    assert abroad["mongo"].reference == "mongo:5.0.18"
    assert abroad["fastgpt"].reference == "ghcr.io/labring/fastgpt:v4.8.8-fix2"
    own = region("ap-southeast-1", {"registry": "r.example"})
    release = xinference_release(DEFAULT_XINFERENCE)
    kept = images("seeds", own, {}, release, True)
    assert kept["mysql"].reference == "r.example/fastgpt/mysql:8.0.36"


def test_what_the_registry_lacks_comes_from_its_home() -> None:
    """The current edition's databases are newer than those that the registry is known to have."""
    here = _images(edition="current")
    registry = "registry-vpc.cn-hangzhou.aliyuncs.com/fastgpt/"
    for service in ("fastgpt", "plugin", "minio", "code-sandbox", "oneapi"):
        assert here[service].reference.startswith(registry)
    assert here["mongo"].reference == "mongo:5.0.34"
    assert "sandbox" not in here


def test_xinference_has_an_image_for_servers_without_gpu() -> None:
    found = [_images(gpu=gpu)["xinference"].reference for gpu in (True, False)]
    assert found == [f"xprobe/xinference:v{DEFAULT_XINFERENCE}{end}" for end in ("", "-cpu")]


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

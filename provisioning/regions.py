"""What differs between regions: registries, mirrors, the model hub, DashScope's address.

Mainland regions get addresses that answer there (`docs/facts/alicloud.md §3`, measured 2026-09).
The VPC's own hosts come first: fast, and without traffic costs. Every cell can be set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from pydantic.alias_generators import to_camel

from provisioning.problems import PlanError, Problem, nearest

ModelHub = Literal["modelscope", "huggingface"]

MAINLAND_REGIONS = frozenset(
    {
        "cn-beijing",
        "cn-chengdu",
        "cn-fuzhou",
        "cn-guangzhou",
        "cn-hangzhou",
        "cn-heyuan",
        "cn-huhehaote",
        "cn-nanjing",
        "cn-qingdao",
        "cn-shanghai",
        "cn-shenzhen",
        "cn-wuhan-lr",
        "cn-wulanchabu",
        "cn-zhangjiakou",
        "cn-zhongwei",
    }
)
# Hong Kong has the open network: what is blocked on the mainland is reached from there.
INTERNATIONAL_REGIONS = frozenset(
    {
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-southeast-1",
        "ap-southeast-3",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "cn-hongkong",
        "eu-central-1",
        "eu-west-1",
        "me-central-1",
        "me-east-1",
        "na-south-1",
        "us-east-1",
        "us-west-1",
    }
)


@dataclass(frozen=True)
class Region:
    """Where things come from in one region.

    Attributes:
        id: Alibaba Cloud's region id.
        mainland: whether it lies behind the mainland's network.
        registry: registry of the services' images, as `<registry>/fastgpt/<name>`; empty means each
            image's own international home.
        apt_mirror: Ubuntu's package mirror; empty keeps what the image has.
        docker_apt: repository of docker-ce for Ubuntu.
        docker_key: the repository's signing key, always over https.
        toolkit_repo: repository of the NVIDIA container toolkit.
        registry_mirrors: mirrors of Docker Hub in failover order; they serve nothing else.
        model_hub: where Xinference downloads models.
        hf_endpoint: address of Hugging Face or of its mirror.
        pypi_mirror: Python package index for what Xinference installs; empty is the default one.
        dashscope_url: DashScope's address for OneAPI, without a path.
    """

    id: str
    mainland: bool
    registry: str
    apt_mirror: str
    docker_apt: str
    docker_key: str
    toolkit_repo: str
    registry_mirrors: tuple[str, ...]
    model_hub: ModelHub
    hf_endpoint: str
    pypi_mirror: str
    dashscope_url: str


def region(region_id: str, overrides: Mapping[str, str]) -> Region:
    """The cells of a region, with the settings' `mirrors` laid over them.

    Args:
        region_id: for instance `cn-hangzhou`.
        overrides: cell (camelCase as in YAML, or snake_case) to value; `registryMirrors` is a list
            separated by commas, empty for none.

    Raises:
        PlanError: unknown region or cell, or a value that no address can have.
    """
    if region_id in MAINLAND_REGIONS:
        cells = _mainland(region_id)
    elif region_id in INTERNATIONAL_REGIONS:
        cells = _abroad(region_id)
    else:
        raise PlanError(
            "alicloud:region",
            f"there is no region {region_id!r}" if region_id else "it is missing",
            nearest(region_id, MAINLAND_REGIONS | INTERNATIONAL_REGIONS),
        )
    for key, value in overrides.items():
        cells = _laid_over(cells, key, value)
    return cells


def mirror_problems(cells: Region, overrides: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the setting `mirrors`, cell by cell."""
    for key, value in overrides.items():
        try:
            _laid_over(cells, key, value)
        except PlanError as error:
            yield error.problem


def _mainland(region_id: str) -> Region:
    # The registry's VPC host exists per region, and these images lie in Hangzhou's registry only.
    in_hangzhou = region_id == "cn-hangzhou"
    return Region(
        id=region_id,
        mainland=True,
        registry=f"registry{'-vpc' if in_hangzhou else ''}.cn-hangzhou.aliyuncs.com",
        apt_mirror="http://mirrors.cloud.aliyuncs.com/ubuntu",
        docker_apt="http://mirrors.cloud.aliyuncs.com/docker-ce/linux/ubuntu",
        docker_key="https://mirrors.aliyun.com/docker-ce/linux/ubuntu/gpg",
        toolkit_repo="https://mirrors.ustc.edu.cn/libnvidia-container",
        registry_mirrors=("https://docker.m.daocloud.io", "https://docker.1ms.run"),
        model_hub="modelscope",
        hf_endpoint="https://hf-mirror.com",
        pypi_mirror="https://mirrors.aliyun.com/pypi/simple",
        dashscope_url="https://dashscope.aliyuncs.com",
    )


def _abroad(region_id: str) -> Region:
    return Region(
        id=region_id,
        mainland=False,
        registry="",
        apt_mirror="",
        docker_apt="https://download.docker.com/linux/ubuntu",
        docker_key="https://download.docker.com/linux/ubuntu/gpg",
        toolkit_repo="https://nvidia.github.io/libnvidia-container",
        registry_mirrors=(),
        model_hub="huggingface",
        hf_endpoint="https://huggingface.co",
        pypi_mirror="",
        dashscope_url="https://dashscope-intl.aliyuncs.com",
    )


_SETTABLE = tuple(f.name for f in fields(Region) if f.name not in ("id", "mainland"))
_CELLS = {to_camel(name): name for name in _SETTABLE}
_MAY_BE_EMPTY = frozenset({"registry", "apt_mirror", "registry_mirrors", "pypi_mirror"})


def _laid_over(cells: Region, key: str, value: str) -> Region:
    name = key if key in _SETTABLE else _CELLS.get(key)
    path = f"mirrors.{key}"
    if name is None:
        raise PlanError(path, "there is no such cell", nearest(key, _CELLS))
    if name == "registry_mirrors":
        mirrors = tuple(item.strip() for item in value.split(",") if item.strip())
        return replace(cells, registry_mirrors=tuple(_address(path, mirror) for mirror in mirrors))
    if not value and name not in _MAY_BE_EMPTY:
        raise PlanError(path, "it is empty", "give an address, or leave the line out")
    cell: dict[str, Any] = {name: _checked(path, name, value)}
    return replace(cells, **cell)


def _checked(path: str, name: str, value: str) -> str:
    if not value:
        return value
    if name == "model_hub":
        return _hub(path, value)
    if name == "registry":
        return _registry(path, value)
    address = _address(path, value)
    if name == "docker_key" and not address.startswith("https://"):
        raise PlanError(path, "a signing key over plain http can be forged", "use https://")
    if name == "dashscope_url" and (path_of := urlsplit(address).path):
        wrong = f"OneAPI appends DashScope's paths itself, and {value!r} has one already"
        raise PlanError(path, wrong, f"write {address.removesuffix(path_of)}")
    return address


def _hub(path: str, value: str) -> ModelHub:
    if value not in ("modelscope", "huggingface"):
        raise PlanError(path, f"{value!r} is no model hub", "use modelscope or huggingface")
    return cast(ModelHub, value)


# Cells reach shells and configuration files on the server, so nothing that means something there
# is part of an address.
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?"
_ADDRESS = re.compile(rf"https?://{_HOST}(?:/[A-Za-z0-9._~%+=@/-]*)?")
_REGISTRY = re.compile(rf"{_HOST}(?:/[a-z0-9._/-]*)?")


def _registry(path: str, value: str) -> str:
    if not _REGISTRY.fullmatch(value):
        right = "give host[:port][/folder] without http://, in letters, digits and . _ / -"
        raise PlanError(path, f"{value!r} is no registry", right)
    return value.rstrip("/")


def _address(path: str, value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        right = (
            "write https:// or http://, a host, and a path of letters, digits and . _ ~ % + = @ / -"
        )
        raise PlanError(path, f"{value!r} is no address for it", right)
    return value.rstrip("/")

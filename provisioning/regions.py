"""What differs between regions: registries, mirrors, the model hub, DashScope's address.

`regions.json` has what answers on the mainland (`docs/facts/alicloud.md §3`, measured 2026-09) and
elsewhere; Hong Kong has the open network. The VPC's own hosts come first: fast, and without traffic
costs. The registry's exists per region, and these images lie in Hangzhou's only.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from provisioning.catalogue import Shape
from provisioning.problems import PlanError, Problem, Wrong, nearest
from provisioning.shape_problems import shape_problems
from provisioning.tables import table

# Cells reach shells and configuration files on the server, so nothing that means something there
# is part of an address.
_HOST = "[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_PATH = "(/[A-Za-z0-9._~%+=@/-]*)?"
_REST = "a host, and a path of letters, digits and . _ ~ % + = @ / -"
_FORM = f"https:// or http://, {_REST}"


def _cell(pattern: str, form: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    return Field(pattern=f"^({pattern})$", title=form)


_Address = Annotated[str, _cell(f"https?://{_HOST}{_PATH}", _FORM)]
_AddressOrNone = Annotated[str, _cell(f"|https?://{_HOST}{_PATH}", f"nothing, or {_FORM}")]


class Cells(Shape):
    """What can be set, by the names of the setting `mirrors`.

    Attributes:
        registry: has the services' images as `<registry>/fastgpt/<name>`; empty means each image's
            own international home.
        apt_mirror: of Ubuntu; empty keeps what the image has.
        docker_apt, docker_key: repository of docker-ce for Ubuntu, and its signing key.
        toolkit_repo: repository of the NVIDIA container toolkit.
        registry_mirrors: of Docker Hub alone, in failover order.
        model_hub, hf_endpoint: where Xinference downloads models; Hugging Face or its mirror.
        pypi_mirror: for what Xinference installs; empty is the default index.
        dashscope_url: DashScope's address for OneAPI.
    """

    registry: str = _cell(
        f"|{_HOST}(/[a-z0-9._/-]*)?",
        "host[:port][/folder] without http://, in letters, digits and . _ / -",
    )
    apt_mirror: _AddressOrNone
    docker_apt: _Address
    docker_key: str = _cell(
        f"https://{_HOST}{_PATH}", f"https://, because a key over plain http can be forged, {_REST}"
    )
    toolkit_repo: _Address
    registry_mirrors: tuple[_Address, ...]
    model_hub: Literal["modelscope", "huggingface"]
    hf_endpoint: _Address
    pypi_mirror: _AddressOrNone
    dashscope_url: str = _cell(
        f"https?://{_HOST}",
        "https:// or http://, and a host without a path: OneAPI appends that itself",
    )

    @field_validator("registry_mirrors", mode="before")
    @classmethod
    def _divided(cls, value: object) -> list[str]:
        if not isinstance(value, str):
            raise Wrong("it is not one text", "write the addresses in one, divided by commas")
        return [item.strip().rstrip("/") for item in value.split(",") if item.strip()]

    @field_validator("*", mode="before")
    @classmethod
    def _without_end(cls, value: object) -> object:
        return value.rstrip("/") if isinstance(value, str) else value


class Region(Cells):
    """Where things come from in one region, and whether it lies behind the mainland's network."""

    id: str
    mainland: bool


class _Side(BaseModel):
    """What is so in all its regions, and what one of them has of its own."""

    regions: dict[str, dict[str, str]]
    cells: dict[str, str]


_SIDES = table("regions.json", dict[str, _Side])

MAINLAND_REGIONS = frozenset(_SIDES["mainland"].regions)
INTERNATIONAL_REGIONS = frozenset(_SIDES["abroad"].regions)


def region(region_id: str, overrides: Mapping[str, Any]) -> Region:
    """The cells of a region, `mirrors` laid over them; a PlanError where there is none such."""
    cells = _cells(region_id, overrides)
    if problem := next(mirror_problems(region_id, overrides), None):
        raise PlanError(problem.path, problem.wrong, problem.right)
    mainland = region_id in MAINLAND_REGIONS
    return Region.model_validate({**cells, "id": region_id, "mainland": mainland})


def mirror_problems(region_id: str, overrides: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the setting `mirrors`, cell by cell; a PlanError for another region."""
    try:
        Cells.model_validate(_cells(region_id, overrides))
    except ValidationError as error:
        yield from shape_problems(error, Cells, "mirrors")


def _cells(region_id: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    for side in _SIDES.values():
        if region_id in side.regions:
            return {**side.cells, **side.regions[region_id], **overrides}
    wrong = f"there is no region {region_id!r}" if region_id else "it is missing"
    known = nearest(region_id, MAINLAND_REGIONS | INTERNATIONAL_REGIONS)
    raise PlanError("alicloud:region", wrong, known)

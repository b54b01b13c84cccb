"""The images that the emulated registries hold, and what is in them (`images.json`).

Homes, tags and entry commands: `docs/facts/fastgpt.md §1, §9`, `docs/facts/fastgpt-current.md §1`,
`docs/facts/oneapi.md §1`, `docs/facts/xinference.md §1`; the plugin's command is a guess. An
image's programs are modules of `rehearsal/doubles`, or the real OneAPI or Caddy; one without
programs is a record only: its containers run no process.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tools import oneapi_build

HUB = "docker.io"
_ALIYUN = ("registry.cn-hangzhou.aliyuncs.com", "registry-vpc.cn-hangzhou.aliyuncs.com")

Program = Sequence[str]
"""A module and its first arguments; the caller's arguments follow."""


@dataclass(frozen=True)
class Image:
    """What one repository's images have inside. `name`: the service, for messages; `homes`:
    `registry/repository` of every place that holds it; `tags`: regular expression of the tags that
    exist; `programs`: name on the image's PATH to what runs; `port`: where its service listens;
    `entrypoint, command, env, working_dir`: as in the image's configuration."""

    name: str
    homes: frozenset[str]
    tags: str
    programs: Mapping[str, Program] = field(default_factory=dict)
    port: int = 0
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"


@dataclass(frozen=True)
class Reference:
    """A parsed reference. `repository` has no registry; one of tag and digest may be empty."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def home(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"


_REFERENCE = re.compile(
    r"""
    (?P<path>[a-z0-9]+(?:(?:\.|_{1,2}|-+|/|:\d+/)[a-z0-9]+)*)
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?
    (?:@(?P<digest>sha256:[0-9a-f]{64}))?
    """,
    re.VERBOSE,
)


def parse(reference: str) -> Reference:
    """The parts of a reference as Docker reads it. Raises ValueError: with Docker's own text."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError("invalid reference format")
    first, slash, rest = match["path"].partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    registry, repository = (first, rest) if named else (HUB, match["path"])
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = HUB
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    digest = match["digest"] or ""
    tag = match["tag"] or ("" if digest else "latest")
    return Reference(registry, repository, tag, digest)


def find(reference: Reference) -> Image | None:
    """The image that the registry has under this name and tag. Any well-formed digest is taken as
    one it has: which digests the real registries have cannot be known here."""
    for image in CATALOGUE:
        if reference.home in image.homes and re.fullmatch(f"({image.tags})?", reference.tag):
            return image
    return None


def image_id(reference: Reference) -> str:
    """The local image's id: the same for a reference every time."""
    named = reference.digest or f"{reference.home}:{reference.tag}"
    return f"sha256:{hashlib.sha256(named.encode()).hexdigest()}"


def _image(row: dict[str, Any]) -> Image:
    mirrored = row.pop("mirrored", "")
    homes = [*row["homes"], *(f"{registry}/{mirrored}" for registry in _ALIYUN if mirrored)]
    image = Image(**{**row, "homes": frozenset(homes)})
    if image.name != "oneapi":
        return image
    # The one that was built on this machine.
    program = (*image.programs["one-api"], str(oneapi_build.place()))
    return replace(image, programs={"one-api": program})


CATALOGUE = tuple(
    _image(row) for row in json.loads(Path(__file__).with_suffix(".json").read_text())
)

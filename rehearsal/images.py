"""The images that the emulated registries hold, and what is in them as far as a rehearsal needs it.

Homes, tags and entry commands: `docs/facts/fastgpt.md §1, §9`, `docs/facts/oneapi.md §1`,
`docs/facts/xinference.md §1`. An image's programs are modules of `rehearsal/doubles`, or the real
OneAPI; one without programs is a record only: its containers run no process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rehearsal.real_oneapi import build

HUB = "docker.io"
_ALIYUN = "registry.cn-hangzhou.aliyuncs.com"
_ALIYUN_FROM_INSIDE = "registry-vpc.cn-hangzhou.aliyuncs.com"

Program = tuple[str, ...]
"""A module and its first arguments; the caller's arguments follow."""


@dataclass(frozen=True)
class Image:
    """What one repository's images have inside.

    Attributes:
        name: the service, for messages.
        homes: `registry/repository` of every place that holds it.
        tags: regular expression of the tags that exist.
        programs: name on the image's PATH to what runs.
        port: where its service listens.
        entrypoint, command, env, working_dir: as in the image's configuration.
    """

    name: str
    homes: frozenset[str]
    tags: str
    programs: Mapping[str, Program] = field(default_factory=dict)
    port: int = 0
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
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

    @property
    def familiar(self) -> str:
        """As Docker shows it: without `docker.io` and `library`."""
        name = self.home.removeprefix(f"{HUB}/").removeprefix("library/")
        tag = f":{self.tag}" if self.tag else ""
        return f"{name}{tag}"


_REFERENCE = re.compile(
    r"""
    (?P<path>[a-z0-9]+(?:(?:\.|_{1,2}|-+|/|:\d+/)[a-z0-9]+)*)
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?
    (?:@(?P<digest>sha256:[0-9a-f]{64}))?
    """,
    re.VERBOSE,
)


def parse(reference: str) -> Reference:
    """The parts of a reference as Docker reads it.

    Raises:
        ValueError: with Docker's own text.
    """
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
    """The image that the registry holds in this repository."""
    return next((image for image in CATALOGUE if reference.home in image.homes), None)


def has_tag(image: Image, reference: Reference) -> bool:
    """Whether the repository holds this tag. Any well-formed digest is taken as one it holds:
    which digests the real registries have cannot be known here."""
    return not reference.tag or re.fullmatch(image.tags, reference.tag) is not None


def digest(reference: Reference) -> str:
    """The manifest's digest: the given one, or one made from name and tag, the same every time."""
    if reference.digest:
        return reference.digest
    return f"sha256:{hashlib.sha256(f'{reference.home}:{reference.tag}'.encode()).hexdigest()}"


def image_id(reference: Reference) -> str:
    """The local image's id."""
    return f"sha256:{hashlib.sha256(f'config of {digest(reference)}'.encode()).hexdigest()}"


def _homes(*homes: str, aliyun: str = "") -> frozenset[str]:
    mirrored = {f"{host}/{aliyun}" for host in (_ALIYUN, _ALIYUN_FROM_INSIDE) if aliyun}
    return frozenset({*homes, *mirrored})


_FASTGPT = ("rehearsal.doubles.fastgpt",)

CATALOGUE: tuple[Image, ...] = (
    Image(
        name="oneapi",
        homes=_homes(
            f"{HUB}/justsong/one-api", "ghcr.io/songquanpeng/one-api", aliyun="fastgpt/one-api"
        ),
        tags=r"v0\.[56]\.\d+|latest",
        programs={"one-api": ("rehearsal.real_oneapi.run", str(build.place()))},
        port=3000,
        entrypoint=("/one-api",),
        working_dir="/data",
    ),
    Image(
        name="xinference",
        homes=_homes(f"{HUB}/xprobe/xinference", aliyun="xprobe_xinference/xinference"),
        tags=r"v\d+\.\d+\.\d+(\.post\d+)?(-cpu|-cu12[89]|-aarch64)?|latest(-cpu)?|nightly-main(-cpu)?",
        programs={
            "xinference-local": ("rehearsal.doubles.xinference",),
            "pip": ("rehearsal.doubles.xinference.packages",),
        },
        port=9997,
        command=("bash",),
        working_dir="/opt/inference",
    ),
    Image(
        name="fastgpt",
        homes=_homes("ghcr.io/labring/fastgpt", aliyun="fastgpt/fastgpt"),
        tags=r"v4\.\d+(\.\d+)*(-[a-z]+\d*)?|latest",
        programs={"node": _FASTGPT},
        port=3000,
        entrypoint=("sh", "-c", "node --max-old-space-size=4096 ${serverPath}"),
        env={
            "NODE_ENV": "production",
            "NEXT_TELEMETRY_DISABLED": "1",
            "PORT": "3000",
            "serverPath": "./projects/app/server.js",
        },
        working_dir="/app",
    ),
    Image(
        name="sandbox",
        homes=_homes("ghcr.io/labring/fastgpt-sandbox", aliyun="fastgpt/fastgpt-sandbox"),
        tags=r"v4\.\d+(\.\d+)*(-[a-z]+\d*)?|latest",
        command=("node", "--no-node-snapshot", "projects/sandbox/dist/main.js"),
        env={"NODE_ENV": "production"},
        working_dir="/app",
    ),
    Image(
        name="pgvector",
        homes=_homes(
            f"{HUB}/pgvector/pgvector", f"{HUB}/ankane/pgvector", aliyun="fastgpt/pgvector"
        ),
        tags=r"0\.\d+\.\d+-pg1[2-8]|pg1[2-8]|v0\.\d+\.\d+",
        entrypoint=("docker-entrypoint.sh",),
        command=("postgres",),
        env={"PG_MAJOR": "15", "PGDATA": "/var/lib/postgresql/data"},
    ),
    Image(
        name="mongo",
        homes=_homes(f"{HUB}/library/mongo", aliyun="fastgpt/mongo"),
        tags=r"[4-8]\.\d+(\.\d+)?(-\w+)?|latest|[4-8]",
        entrypoint=("docker-entrypoint.sh",),
        command=("mongod",),
        env={"MONGO_MAJOR": "5.0"},
    ),
    Image(
        name="mysql",
        homes=_homes(f"{HUB}/library/mysql", aliyun="fastgpt/mysql"),
        tags=r"[89]\.\d+(\.\d+)?(-\w+)?|8|9|latest",
        entrypoint=("docker-entrypoint.sh",),
        command=("mysqld",),
        env={"MYSQL_MAJOR": "8.0"},
    ),
)

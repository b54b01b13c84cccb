"""The images of the lab's services, each pinned by tag, and by digest where one is set.

`images.json` has each edition's tags, below a region's registry, where it has the image, and at the
images' own homes: those of FastGPT's compose file and of its mirror in Hangzhou
(`docs/facts/fastgpt.md §9`, `docs/facts/fastgpt-current.md §1`), `docs/facts/oneapi.md §1`,
`docs/facts/xinference.md §1`. The sandbox's is from FastGPT's upgrade notes for 4.8: the compose
file says only `latest`, and v4.8.3 is broken (labring/FastGPT#1659). The databases and Redis of the
current edition are newer than what upstream names, for their holes (`provisioning/releases.json`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.editions import EditionName
from provisioning.problems import PlanError, Problem, nearest
from provisioning.regions import Region
from provisioning.tables import table
from provisioning.versions import XinferenceRelease

if TYPE_CHECKING:
    from provisioning.settings import Settings

REFERENCE_FORMS = "repository:tag, :tag or @sha256:..., or repository:tag@sha256:..."
"""How a setting names an image; what it leaves out is the built-in image's."""

OF_XINFERENCE = ("xinference", "caddy")
"""The services that a lab without models of its own does without."""

OF_CODE = ("code-sandbox",)
"""Those that only `codeSandbox` brings."""

OF_MINIO = ("minio",)
"""Those that `storage: oss` does without."""

_TABLE = table("images.json", dict[EditionName, dict[str, dict[str, str]]])
_REFERENCE = re.compile(
    r"""
    (?P<repository>(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)?
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?
    (?:@(?P<digest>sha256:[0-9a-f]{64}))?
    """,
    re.VERBOSE,
)
_VERSION = re.compile(r"v?\d+(\.\d+)+")


@dataclass(frozen=True)
class Image:
    """One image: registry and name, its tag, and `sha256:...` where it has a digest."""

    repository: str
    tag: str
    digest: str = ""

    @property
    def reference(self) -> str:
        """What `docker pull` gets."""
        pinned = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}:{self.tag}{pinned}"


Images = Mapping[str, Image]
"""The lab's images by service."""


def images(
    edition: EditionName,
    region: Region,
    overrides: Mapping[str, str],
    release: XinferenceRelease,
    gpu: bool,
) -> Images:
    """The images of a lab: from the region's registry, but for the setting `images`, `overrides`.

    Raises:
        PlanError: a service that this edition lacks, no tag, a moving tag, a malformed reference.
    """
    names, mirrored = _TABLE[edition]["homes"], _TABLE[edition]["registry"]
    if region.registry:
        names = names | {each: f"{region.registry}/{name}" for each, name in mirrored.items()}
    chosen = {service: Image(*name.rsplit(":", 1)) for service, name in names.items()}
    chosen["xinference"] = Image("xprobe/xinference", f"v{release.version}{'' if gpu else '-cpu'}")
    chosen["caddy"] = Image("caddy", "2.11.7")
    for service, value in overrides.items():
        path = f"images.{service}"
        if service not in chosen:
            raise PlanError(path, *_no_service(service, edition, chosen))
        chosen[service] = _overridden(path, chosen[service], value.strip())
    return chosen


def images_used(chosen: Images, settings: "Settings") -> Images:
    """Those of them that a lab has; Caddy serves its domain, too."""
    without = set(() if settings.uses_xinference else OF_XINFERENCE)
    without -= {"caddy"} if settings.domain else set()
    without |= set(() if settings.code_sandbox else OF_CODE)
    without |= set(OF_MINIO if settings.storage == "oss" else ())
    return {service: image for service, image in chosen.items() if service not in without}


def images_problems(
    edition: EditionName,
    region: Region,
    overrides: Mapping[str, str],
    release: XinferenceRelease,
    gpu: bool,
) -> Iterator[Problem]:
    """What is wrong with the setting `images`; arguments as `images`."""
    for service, value in overrides.items():
        try:
            chosen = images(edition, region, {service: value}, release, gpu)
        except PlanError as error:
            yield error.problem
            continue
        yield from _edition_problems(edition, chosen["fastgpt"].tag)
        tag = chosen["xinference"].tag
        if gpu and tag.endswith("-cpu"):
            wrong = f"{tag} does not use the GPU that this server has"
            yield Problem("images.xinference", wrong, f"write :{tag.removesuffix('-cpu')}")
        elif _VERSION.match(tag) and release.version not in tag:
            wrong = f"{tag} is another version than xinferenceVersion, {release.version}"
            right = "change xinferenceVersion, which chooses the image too"
            yield Problem("images.xinference", wrong, right)


def _edition_problems(edition: EditionName, tag: str) -> Iterator[Problem]:
    """A FastGPT that this edition's client does not speak to, nor its services make up."""
    homes = {name: row["homes"]["fastgpt"].rpartition(":")[2] for name, row in _TABLE.items()}
    minors = {name: known.split(".")[:2] for name, known in homes.items()}
    minor = tag.split(".")[:2]
    if not _VERSION.match(tag) or minor == minors[edition]:
        return
    others = (f"set edition: {name}" for name, known in minors.items() if known == minor)
    right = next(others, f"name one of {'.'.join(minors[edition])}")
    wrong = f"{tag} is no FastGPT of edition {edition}"
    yield Problem("images.fastgpt", wrong, f"leave it out, or {right}")


def _no_service(service: str, edition: EditionName, chosen: Images) -> tuple[str, str]:
    """What is wrong with naming it, and what would be right."""
    for other, table_of_it in _TABLE.items():
        if service in table_of_it["homes"]:
            right = f"leave it out; edition {other} has it"
            return f"edition {edition} has no service {service}", right
    return "there is no such service", nearest(service, chosen)


def _overridden(path: str, image: Image, value: str) -> Image:
    match = _REFERENCE.fullmatch(value)
    if match is None or not value:
        raise PlanError(path, f"{value!r} is no image", f"write {REFERENCE_FORMS}")
    repository, tag, digest = match["repository"], match["tag"], match["digest"] or ""
    if repository and not tag:
        pinned = f":{value}" if _VERSION.match(value) else f"{repository}:{image.tag}"
        raise PlanError(path, f"{value!r} has no tag", f"pin one: write {pinned}")
    if tag == "latest" and not digest:
        right = "pin a version, or add a digest"
        raise PlanError(path, "`latest` is another image tomorrow", right)
    return Image(repository or image.repository, tag or image.tag, digest)

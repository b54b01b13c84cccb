"""The images of the lab's services, each pinned by tag, and by digest where one is set.

`images.json` has the tags, below a region's registry and at the images' own homes: those of
FastGPT's compose file and of its mirror in Hangzhou (`docs/facts/fastgpt.md §9`),
`docs/facts/oneapi.md §1`, `docs/facts/xinference.md §1`. The sandbox's is from FastGPT's upgrade
notes for 4.8: the compose file says only `latest`, and v4.8.3 is broken (labring/FastGPT#1659).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from provisioning.problems import PlanError, Problem, nearest
from provisioning.regions import Region
from provisioning.tables import table
from provisioning.versions import XinferenceRelease

REFERENCE_FORMS = "repository:tag, :tag or @sha256:..., or repository:tag@sha256:..."
"""How a setting names an image; what it leaves out is the built-in image's."""

OF_XINFERENCE = ("xinference", "caddy")
"""The services that a lab without models of its own does without."""

_TABLE = table("images.json", dict[str, dict[str, str]])
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
    region: Region, overrides: Mapping[str, str], release: XinferenceRelease, gpu: bool
) -> Images:
    """The images of a lab: from the region's registry, but for the setting `images`, `overrides`.

    Raises:
        PlanError: unknown service, no tag, a moving tag, a malformed reference.
    """
    names = _TABLE["registry" if region.registry else "homes"]
    chosen = {
        service: Image(*f"{region.registry}/{name}".lstrip("/").rsplit(":", 1))
        for service, name in names.items()
    }
    chosen["xinference"] = Image("xprobe/xinference", f"v{release.version}{'' if gpu else '-cpu'}")
    chosen["caddy"] = Image("caddy", "2.11.7")
    for service, value in overrides.items():
        path = f"images.{service}"
        if service not in chosen:
            raise PlanError(path, "there is no such service", nearest(service, chosen))
        chosen[service] = _overridden(path, chosen[service], value.strip())
    return chosen


def images_used(chosen: Images, uses_xinference: bool, domain: str) -> Images:
    """Those of them that a lab has; Caddy serves its domain, too."""
    without = set(() if uses_xinference else OF_XINFERENCE) - ({"caddy"} if domain else set())
    return {service: image for service, image in chosen.items() if service not in without}


def images_problems(
    region: Region, overrides: Mapping[str, str], release: XinferenceRelease, gpu: bool
) -> Iterator[Problem]:
    """What is wrong with the setting `images`; arguments as `images`."""
    for service, value in overrides.items():
        try:
            tag = images(region, {service: value}, release, gpu)["xinference"].tag
        except PlanError as error:
            yield error.problem
            continue
        if gpu and tag.endswith("-cpu"):
            wrong = f"{tag} does not use the GPU that this server has"
            yield Problem("images.xinference", wrong, f"write :{tag.removesuffix('-cpu')}")
        elif _VERSION.match(tag) and release.version not in tag:
            wrong = f"{tag} is another version than xinferenceVersion, {release.version}"
            right = "change xinferenceVersion, which chooses the image too"
            yield Problem("images.xinference", wrong, right)


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

"""The images of the seven services, each pinned by tag, and by digest where one is set.

Tags: FastGPT's compose file of that release and its mirror in Hangzhou (`docs/facts/fastgpt.md
§9`), `docs/facts/oneapi.md §1`, `docs/facts/xinference.md §1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from provisioning.problems import PlanError, Problem, nearest
from provisioning.regions import Region
from provisioning.versions import xinference_release

FASTGPT_VERSION = "v4.8.8-fix2"
# The sandbox tag that FastGPT's upgrade notes name for the 4.8 line; its compose file of that time
# says only `latest`. v4.8.3 is broken (labring/FastGPT#1659).
SANDBOX_VERSION = "v4.8.1"
ONEAPI_VERSION = "v0.6.6"


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        repository: registry and name, without a tag.
        tag: never empty.
        digest: `sha256:...`, or empty.
    """

    repository: str
    tag: str
    digest: str = ""

    @property
    def reference(self) -> str:
        """What `docker pull` gets."""
        pinned = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}:{self.tag}{pinned}"


@dataclass(frozen=True)
class Images:
    """The lab's images by service."""

    fastgpt: Image
    sandbox: Image
    oneapi: Image
    xinference: Image
    pg: Image
    mongo: Image
    mysql: Image


REFERENCE_FORMS = "repository:tag, :tag or @sha256:..., or repository:tag@sha256:..."
"""How a setting names an image; what it leaves out is the built-in image's."""


def images(
    region: Region, overrides: Mapping[str, str], xinference_version: str, gpu: bool
) -> Images:
    """The images of a lab.

    Args:
        region: its registry decides where the images come from.
        overrides: service to `repository:tag[@sha256:...]`, `:tag` or `@sha256:...`.
        xinference_version: decides Xinference's tag.
        gpu: without one, Xinference's `-cpu` image.

    Raises:
        PlanError: unknown service, no tag, a moving tag, a malformed reference.
    """
    version = xinference_release(xinference_version).version
    xinference = Image("xprobe/xinference", f"v{version}{'' if gpu else '-cpu'}")
    registry = region.registry
    chosen = _hangzhou(registry, xinference) if registry else _homes(xinference)
    services = [f.name for f in fields(Images)]
    for service, value in overrides.items():
        path = f"images.{service}"
        if service not in services:
            raise PlanError(path, "there is no such service", nearest(service, services))
        chosen = replace(chosen, **{service: _overridden(path, getattr(chosen, service), value)})
    return chosen


def images_problems(
    region: Region, overrides: Mapping[str, str], xinference_version: str, gpu: bool
) -> Iterator[Problem]:
    """What is wrong with the settings `xinferenceVersion` and `images`; arguments as `images`."""
    try:
        images(region, {}, xinference_version, gpu)
    except PlanError as error:
        yield error.problem
        return
    for service, value in overrides.items():
        try:
            chosen = images(region, {service: value}, xinference_version, gpu)
        except PlanError as error:
            yield error.problem
        else:
            yield from _xinference_problems(chosen.xinference, xinference_version, gpu)


def _xinference_problems(image: Image, version: str, gpu: bool) -> Iterator[Problem]:
    path, number = "images.xinference", version.removeprefix("v")
    if gpu and image.tag.endswith("-cpu"):
        wrong = f"{image.tag} does not use the GPU that this server has"
        yield Problem(path, wrong, f"write :{image.tag.removesuffix('-cpu')}")
    elif _VERSION.match(image.tag) and number not in image.tag:
        wrong = f"{image.tag} is another version than xinferenceVersion, {number}"
        yield Problem(path, wrong, "change xinferenceVersion, which chooses the image too")


def _hangzhou(registry: str, xinference: Image) -> Images:
    def image(name: str, tag: str) -> Image:
        return Image(f"{registry}/fastgpt/{name}", tag)

    return Images(
        fastgpt=image("fastgpt", FASTGPT_VERSION),
        sandbox=image("fastgpt-sandbox", SANDBOX_VERSION),
        oneapi=image("one-api", ONEAPI_VERSION),
        xinference=xinference,
        pg=image("pgvector", "v0.7.0"),
        mongo=image("mongo", "5.0.18"),
        mysql=image("mysql", "8.0.36"),
    )


def _homes(xinference: Image) -> Images:
    return Images(
        fastgpt=Image("ghcr.io/labring/fastgpt", FASTGPT_VERSION),
        sandbox=Image("ghcr.io/labring/fastgpt-sandbox", SANDBOX_VERSION),
        oneapi=Image("justsong/one-api", ONEAPI_VERSION),
        xinference=xinference,
        pg=Image("pgvector/pgvector", "0.7.0-pg15"),
        mongo=Image("mongo", "5.0.18"),
        mysql=Image("mysql", "8.0.36"),
    )


_REFERENCE = re.compile(
    r"""
    (?P<repository>(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)?
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?
    (?:@(?P<digest>sha256:[0-9a-f]{64}))?
    """,
    re.VERBOSE,
)


_VERSION = re.compile(r"v?\d+(\.\d+)+")


def _overridden(path: str, image: Image, value: str) -> Image:
    match = _REFERENCE.fullmatch(value.strip())
    if match is None or not value.strip():
        raise PlanError(
            path,
            f"{value!r} is no image",
            f"write {REFERENCE_FORMS}",
        )
    repository, tag, digest = match["repository"], match["tag"], match["digest"] or ""
    if repository and not tag:
        right = (
            f"write :{value}"
            if _VERSION.match(value)
            else f"pin one, such as {repository}:{image.tag}"
        )
        raise PlanError(path, f"{value!r} has no tag", right)
    if tag == "latest" and not digest:
        raise PlanError(
            path, "`latest` is another image tomorrow", "pin a version, or add a digest"
        )
    return Image(repository or image.repository, tag or image.tag, digest)

"""The images of the server and of its mirror: made once, and kept by this machine's engine."""

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from rehearsal.real_server.engine import NoEngine
from tools.environment import cache_dir
from tools.process import Say, exclusive, run

NAME = "ai-lab-rehearsal"
"""What all images, containers, volumes and networks of it are named after."""

CONTEXT = Path(__file__).with_name("image")
DEBIAN = os.environ.get("DEBIAN_MIRROR") or "http://deb.debian.org/debian"
_RELEASE = "trixie"
_PULLED = f"debian:{_RELEASE}-slim"
_BOOTSTRAP_SECONDS = 1200.0


@dataclass(frozen=True)
class Images:
    """Tags of what `ready` made."""

    server: str
    mirror: str


def ready(client: docker.DockerClient, say: Say) -> Images:
    """The images, made now where they are not there yet: one to three minutes, once.

    Raises:
        NoEngine: there is neither an image to begin with nor the right to make one.
        SetupError: a build failed; the text has its last lines.
    """
    arguments = {"KERNEL": platform.release()}
    # The mirror first: the server trusts its authority.
    return Images(**made(client, CONTEXT, ("mirror", "server"), arguments, say))


def made(
    client: docker.DockerClient,
    folder: Path,
    targets: Sequence[str],
    arguments: Mapping[str, str],
    say: Say,
    files: Mapping[str, Path] | None = None,
) -> dict[str, str]:
    """Target of `folder`'s Dockerfile to the tag of its image, built where it is not there yet.

    Args:
        files: what the Dockerfile copies besides, by its path there.

    Raises:
        NoEngine, SetupError: as `ready`.
    """
    arguments = {"DEBIAN": DEBIAN, **arguments}
    version = _version(folder, files or {}, arguments)
    tags = {target: f"{NAME}/{target}:{version}" for target in targets}
    with exclusive(cache_dir() / f"{NAME}.lock", what="the real server's images", say=say):
        if not all(_has(client, tag) for tag in tags.values()):
            arguments["BASE"] = _base(client, say)
            with tempfile.TemporaryDirectory(prefix=NAME) as copy:
                shutil.copytree(folder, copy, dirs_exist_ok=True)
                for name, file in (files or {}).items():
                    place = Path(copy) / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
                for target, tag in tags.items():
                    _build(client, copy, target, tag, arguments, say)
    return tags


def _build(
    client: docker.DockerClient,
    folder: str,
    target: str,
    tag: str,
    arguments: dict[str, str],
    say: Say,
) -> None:
    printed: list[str] = []
    stream = client.api.build(
        path=folder, tag=tag, target=target, buildargs=arguments, rm=True, decode=True
    )
    for part in stream:
        line = str(part.get("error") or part.get("stream") or "").strip()
        printed.append(line)
        if line.startswith("Step "):
            say(f"Image {target}: {line[:80]}")
        if "error" in part:
            last = "\n".join(text for text in printed[-20:] if text)
            raise NoEngine(f"the image {tag} cannot be built. Its last lines:\n{last}")


def _version(folder: Path, files: Mapping[str, Path], arguments: Mapping[str, str]) -> str:
    seen = hashlib.sha256(repr((sorted(arguments.items()), platform.machine())).encode())
    inside = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    for name, file in sorted({**inside, **files}.items()):
        seen.update(name.encode() + file.read_bytes())
    return seen.hexdigest()[:12]


def _has(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _base(client: docker.DockerClient, say: Say) -> str:
    tag = f"{NAME}/base:{_RELEASE}"
    if not _has(client, tag):
        try:
            say(f"Pulling {_PULLED}")
            client.images.pull(_PULLED).tag(tag)
        except APIError:
            _bootstrap(client, tag, say)
    return tag


def _bootstrap(client: docker.DockerClient, tag: str, say: Say) -> None:
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        raise NoEngine(
            f"{_PULLED} cannot be pulled, and debootstrap, which makes one, needs root and its "
            "package: `sudo apt-get install debootstrap`, then run this as root"
        )
    say("No registry is reached; making a Debian from its packages (a minute, once)")
    with tempfile.TemporaryDirectory(prefix=NAME) as folder:
        tree, packed = f"{folder}/tree", f"{folder}/base.tar"
        run(
            [program, "--variant=minbase", _RELEASE, tree, DEBIAN],
            what="debootstrap",
            deadline=_BOOTSTRAP_SECONDS,
            say=say,
        )
        run(["tar", "-C", tree, "-cf", packed, "."], what="tar", deadline=300, say=say)
        client.api.import_image(packed, repository=tag.partition(":")[0], tag=_RELEASE)

"""A container's file tree: what it finds on its PATH, its mounts, and files put into it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rehearsal import images
from rehearsal.containers import toolbox
from rehearsal.containers.rooted import host_path, unrooting_wrapper
from rehearsal.containers.spec import EngineError, Mount

_REPOSITORY = Path(__file__).resolve().parents[2]
_TOOLS = Path(__file__).with_name("tools")
_FOLDERS = ("dev/shm", "etc", "root", "tmp", "run", "usr/local/bin", "var/lib", "var/log")
_CHOWN = Path(__file__).with_name("chown.py")
_NVIDIA_SMI = Path(__file__).resolve().parents[1] / "server" / "nvidia_smi.py"


class Tree:
    """The tree of one container at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def programs(self) -> Path:
        """The folder of the image's programs and tools, first on PATH."""
        return self.root / "usr/local/bin"

    def lay_out(self, image: images.Image, toolbox_folder: Path) -> None:
        """Make the folders and the image's programs."""
        for folder in (*_FOLDERS, image.working_dir.lstrip("/")):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for tool in image.tools:
            toolbox.script(self.programs / tool, unrooting_wrapper(_tool(tool)))
        for name, program in image.programs.items():
            # The image's interpreter runs its program, or what a health check gives it.
            special = f'case $1 in -e|-p|--eval|--print) exec {_tool(name)} "$@" ;; esac\n'
            before = special if name in image.tools else ""
            if name == "docker-entrypoint.sh":
                # As the official images do: a command that is not their server is simply run.
                servers = "|".join(sorted(image.programs.keys() - {name}))
                before = f"case $1 in ''|-*|{servers}) ;; *) exec \"$@\" ;; esac\n"
            toolbox.script(self.programs / name, unrooting_wrapper(_double(program), before))
        for shell in image.shells:
            (self.programs / shell).symlink_to((toolbox_folder / shell).resolve())
        for tool in ("chown", "chgrp"):
            toolbox.script(self.programs / tool, f'#!/bin/sh\nexec {_python(_CHOWN)} {tool} "$@"\n')

    def add_nvidia_smi(self) -> None:
        """What NVIDIA's runtime puts into a container that was given a GPU."""
        text = f'#!/bin/sh\nexec {_python(_NVIDIA_SMI)} "$@"\n'
        toolbox.script(self.programs / "nvidia-smi", text)

    def mount(self, mount: Mount, source: Path) -> None:
        """Let `mount.target` lead to `source`, which exists."""
        place = host_path(self.root, mount.target)
        if place == self.root:
            raise EngineError("invalid volume specification: destination can't be '/'", 400)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            if any(place.iterdir()):
                raise EngineError(f"the rehearsal cannot mount over {mount.target}: it holds files")
            place.rmdir()
        place.unlink(missing_ok=True)
        place.symlink_to(source)

    def put(self, inside: str, content: bytes, mode: int) -> None:
        """Write a file as root does before the container starts."""
        place = host_path(self.root, inside)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(mode)


def _tool(name: str) -> str:
    return shlex.quote(str(_TOOLS / name))


def _double(program: images.Program) -> str:
    module, *arguments = program
    words = shlex.join([f"PYTHONPATH={_REPOSITORY}"])
    return f'env {words} "$REHEARSAL_PYTHON" -m {shlex.join([module, *arguments])}'


def _python(place: Path) -> str:
    return shlex.join([sys.executable, "-I", "-S", str(place)])

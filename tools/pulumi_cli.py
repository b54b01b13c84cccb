"""Find the Pulumi CLI with its Python language host, or get it.

In this order: on PATH if recent enough, in the cache folder, from the official download site,
built from Go modules (docs/facts/engine.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tools import go_build
from tools.environment import VENV, SetupError
from tools.process import Say, Stall, folder_size, run

MINIMUM = (3, 250, 0)
"""The oldest CLI the lab has been run with. It has what the program cannot do without: the
``replaceWith`` option (late 2025; an older engine makes the SDK refuse it), ``--config-file``, the
event log, and providers attached by PULUMI_DEBUG_PROVIDERS."""

DOWNLOAD_SITE = "https://get.pulumi.com/install.sh"
"""What ``PulumiCommand.install()`` fetches first."""

LANGUAGE_HOST = "pulumi-language-python"
NEEDED = ("pulumi", LANGUAGE_HOST, "pulumi-language-python-exec", "pulumi-resource-pulumi-python")
"""The last two run programs and dynamic resources; they must stand next to the CLI."""

_MANIFEST = "manifest.json"
_PROBE_SECONDS = 5.0
_STALL_SECONDS = 30.0
_DOWNLOAD_SECONDS = 900.0
_INSTALL = (
    "import sys; from pulumi.automation import PulumiCommand; "
    "PulumiCommand.install(root=sys.argv[1])"
)


@dataclass(frozen=True)
class Cli:
    """A Pulumi CLI that can run the lab."""

    program: Path
    version: str
    origin: str


def obtain(cache: Path, venv_python: Path, say: Say) -> Cli:
    """The CLI to use; downloads or builds it when there is none.

    Args:
        cache: the cache folder. The caller holds its lock.
        venv_python: an interpreter with the Pulumi SDK, which brings the installer.

    Raises:
        SetupError: every way failed; the message tells of each.
    """
    found = on_path(say) or cached(cache, say)
    if found is not None:
        return found
    try:
        return download(cache, venv_python, say)
    except SetupError as error:
        unreached = str(error)
        say(f"No download: {unreached.splitlines()[0]}")
    try:
        return build(cache, say)
    except SetupError as error:
        raise SetupError(
            f"There is no Pulumi CLI.\n- download: {unreached}\n- build from Go modules: {error}\n"
            f"Install Pulumi {'.'.join(map(str, MINIMUM))} or newer yourself "
            "(https://www.pulumi.com/docs/install/) and run again."
        ) from error


def parse_version(text: str) -> tuple[int, int, int] | None:
    """``v3.250.0`` or ``3.251.0-alpha.1`` as numbers; None for anything else."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def recent_enough(version: str) -> bool:
    """At least ``MINIMUM``, and of the same major version."""
    numbers = parse_version(version)
    return numbers is not None and numbers >= MINIMUM and numbers[0] == MINIMUM[0]


def version_of(pulumi: Path) -> str:
    """What ``pulumi version`` says; empty when it does not run."""
    try:
        return subprocess.run(
            [pulumi, "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "1"},
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def on_path(say: Say, path: str | None = None) -> Cli | None:
    """The operator's own CLI, if it is recent enough and has its Python language host.

    Args:
        path: where to look; by default PATH without an activated environment, where an earlier
            set-up put its own find.
    """
    path = path or _path_without_environments()
    pulumi = shutil.which("pulumi", path=path)
    if pulumi is None:
        return None
    version = version_of(Path(pulumi))
    if not recent_enough(version):
        wanted = ".".join(map(str, MINIMUM))
        say(f"Passing over {pulumi}: version {version or 'unknown'}, wanted {wanted} or newer")
        return None
    beside = Path(pulumi).resolve().parent / LANGUAGE_HOST
    if not beside.exists() and shutil.which(LANGUAGE_HOST, path=path) is None:
        say(f"Passing over {pulumi}: {LANGUAGE_HOST} is neither beside it nor on PATH")
        return None
    return Cli(Path(pulumi).absolute(), version, "PATH")


def _path_without_environments() -> str:
    environments = {
        str(Path(venv, "bin")) for venv in (VENV, os.environ.get("VIRTUAL_ENV") or VENV)
    }
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if folder not in environments)


def cached(cache: Path, say: Say) -> Cli | None:
    """The CLI an earlier set-up left in the cache, if every byte of it is still there."""
    for origin in ("downloaded", "compiled"):
        home = _home(cache, origin)
        if not home.exists():
            continue
        manifest = _intact(home)
        if manifest is None:
            say(f"Passing over {home}: it is damaged, so it will be made anew")
        elif recent_enough(manifest):
            return Cli(home / "bin" / "pulumi", manifest, "cache")
    return None


def _home(cache: Path, origin: str) -> Path:
    """A home folder may be shared by machines of several kinds."""
    return cache / "pulumi" / f"{origin}-{platform.system()}-{platform.machine()}".lower()


def _intact(home: Path) -> str | None:
    """The version noted in the manifest, if the files are as it says."""
    try:
        manifest = json.loads((home / _MANIFEST).read_text())
        files = manifest["files"].items()
        same = all(_sha256(home / "bin" / name) == digest for name, digest in files)
        runnable = all(os.access(home / "bin" / name, os.X_OK) for name in NEEDED)
        return str(manifest["version"]) if same and runnable else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(
    cache: Path, venv_python: Path, say: Say, *, probe_seconds: float = _PROBE_SECONDS
) -> Cli:
    """The official download, by the SDK's own installer. It costs seconds where there is no way.

    Raises:
        SetupError: the site is out of reach, stalls, or sends something that does not run.
    """
    if not reachable(DOWNLOAD_SITE, probe_seconds):
        raise SetupError(f"{DOWNLOAD_SITE} is not reached from here")
    say("Downloading the Pulumi CLI")
    with _placed(cache, "downloaded") as home, tempfile.TemporaryDirectory(dir=cache) as scratch:
        places = (home, Path(scratch))
        run(
            [venv_python, "-I", "-c", _INSTALL, home],
            what="the download of the Pulumi CLI",
            deadline=_DOWNLOAD_SECONDS,
            say=say,
            env={**os.environ, "TMPDIR": scratch, "PULUMI_SKIP_UPDATE_CHECK": "1"},
            stall=Stall(lambda: sum(folder_size(place) for place in places), _STALL_SECONDS),
        )
    return _put(cache, "downloaded", say)


def build(cache: Path, say: Say) -> Cli:
    """The CLI built from Go modules.

    Raises:
        SetupError: no Go to be had, modules out of reach, or the build failed.
    """
    with _placed(cache, "compiled") as home:
        go_build.build(home / "bin", cache, say)
    return _put(cache, "compiled", say)


def _put(cache: Path, origin: str, say: Say) -> Cli:
    found = cached(cache, say)
    if found is None:
        raise SetupError(f"the {origin} Pulumi CLI in {cache} is not usable: delete it, run again")
    return Cli(found.program, found.version, origin)


@contextmanager
def _placed(cache: Path, origin: str) -> Iterator[Path]:
    """A folder to fill; checked, listed and renamed to its name when the block ends well."""
    target = _home(cache, origin)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        filling = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise SetupError(f"the cache folder cannot be written: {error}") from error
    try:
        yield filling
        _seal(filling)
        if target.exists():
            shutil.rmtree(target)
        filling.replace(target)
    finally:
        shutil.rmtree(filling, ignore_errors=True)


def _seal(home: Path) -> None:
    """Write the manifest of a complete, running CLI.

    Raises:
        SetupError: a file is missing, it does not run, or it is too old.
    """
    missing = [name for name in NEEDED if not (home / "bin" / name).is_file()]
    if missing:
        raise SetupError(f"it came without {', '.join(missing)}")
    version = version_of(home / "bin" / "pulumi")
    if not recent_enough(version):
        raise SetupError(f"its version is {version or 'unknown'}, too old or not running here")
    files = {file.name: _sha256(file) for file in (home / "bin").iterdir() if file.is_file()}
    (home / _MANIFEST).write_text(json.dumps({"version": version, "files": files}, indent=2))
    home.chmod(0o755)


def reachable(url: str, seconds: float) -> bool:
    """Whether ``url`` answers within ``seconds``, name resolution included.

    In a thread, because no timeout of urllib's covers a resolver that hangs.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
                answers.append(answer.status == 200)
        except (OSError, ValueError, HTTPException):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [True]

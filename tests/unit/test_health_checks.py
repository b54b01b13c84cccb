"""The containers' health checks, run by a shell with stand-ins for all that they call."""

import re
import subprocess
from pathlib import Path

import pytest

from provisioning.containers import known_containers
from provisioning.editions import EDITIONS

CONTAINERS = {
    name: container for each in EDITIONS for name, container in known_containers(each).items()
}
SHELL_CHECKS = {
    name: container.health.tests[1]
    for name, container in CONTAINERS.items()
    if container.health.tests[0] == "CMD-SHELL"
}


@pytest.mark.parametrize("name", SHELL_CHECKS)
def test_no_check_puts_a_secret_on_a_command_line(name: str, tmp_path: Path) -> None:
    """Every user of the server reads those. What is no shell's line can name no variable."""
    # Whatever may be a program is one that notes how it was called; the shell's own come first.
    for word in set(re.findall(r"[\w-]+", SHELL_CHECKS[name])):
        program = tmp_path / word
        program.write_text(f'#!/bin/sh\necho "{word} $*" >>{tmp_path}/.calls\n')
        program.chmod(0o755)
    environment = {key: f"{key}-is-secret" for key in CONTAINERS[name].environment}
    ran = subprocess.run(
        ["/bin/sh", "-c", SHELL_CHECKS[name]],
        env={**environment, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    calls = (tmp_path / ".calls").read_text()
    assert calls
    assert "is-secret" not in calls

"""The lab's own health checks, word for word as the containers get them, where nothing answers.

That each passes while its service runs is shown by every `up`, which waits for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.program import Recorded, configured, make_key, run_program

TOOLS = Path(__file__).parents[2] / "rehearsal" / "containers" / "tools"
SERVICES = ("pg", "mongo", "mysql", "sandbox", "oneapi", "xinference", "fastgpt")


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    recording = run_program(configured("dev", make_key(tmp_path_factory.mktemp("ssh"))))
    return {r.inputs["name"]: r for r in recording.of_type(":Container")}


@pytest.mark.parametrize("name", SERVICES)
def test_a_health_check_fails_where_nothing_answers(
    containers: dict[str, Recorded], tmp_path: Path, name: str
) -> None:
    container = containers[name]
    kind, *words = container.inputs["healthcheck"]["tests"]
    command = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps({name: "127.9.9.9"}))
    given = dict(env.split("=", 1) for env in container.inputs.get("envs", []))
    run = subprocess.run(
        command,
        env={
            **given,
            "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "REHEARSAL_PYTHON": sys.executable,
            "REHEARSAL_ADDRESS": "127.9.9.9",
            "REHEARSAL_ROOT": str(tmp_path),
            "REHEARSAL_HOSTS": str(hosts),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = run.stdout + run.stderr
    assert run.returncode != 0, said
    assert "does not understand" not in said
    assert "not found" not in said

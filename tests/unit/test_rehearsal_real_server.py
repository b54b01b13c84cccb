"""What of a real server can be told without one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.real_server.services import double_files, image_for
from tests.unit.plans import planned


@pytest.mark.parametrize("double", ["fastgpt", "xinference"])
def test_the_image_of_a_double_has_all_that_it_imports(double: str, tmp_path: Path) -> None:
    for name, path in double_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / name)
    program = f"rehearsal.doubles.{double}.app"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import " + program
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_each_editions_fastgpt_has_a_stand_in_of_its_own() -> None:
    made = {name: name for name in (*planned("dev", codeSandbox=True).containers, "sandbox")}
    made["fastgpt-current"] = "fastgpt-current"
    found = {
        stack: {
            service: image_for(made, service, container.image)
            for service, container in planned(stack).containers.items()
        }
        for stack in ("dev", "seeds")
    }
    assert found["seeds"] == {service: service for service in found["seeds"]}
    others = {service: name for service, name in found["dev"].items() if name != service}
    assert others == {"fastgpt": "fastgpt-current"}
    # The operator's own is what its service's is.
    assert image_for(made, "mongo", "r.example/a/b:1") == "mongo"

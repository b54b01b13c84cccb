"""What of a real server can be told without one."""

import shutil
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar
from unittest.mock import create_autospec

import docker
import pytest
import requests
from docker.errors import APIError

from rehearsal.real_server.images import NAME
from rehearsal.real_server.server import sweep
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


class Leftover:
    """A server of a process that is no more, which another process has begun to remove."""

    name = "ai-lab-left"
    labels: ClassVar = {f"{NAME}.process": "999999999"}

    def __init__(self, ends: bool) -> None:
        self.ends = ends

    def remove(self, **_: bool) -> None:
        told = requests.Response()
        told.status_code = HTTPStatus.CONFLICT
        raise APIError("409 Client Error", told, "removal is already in progress")

    def wait(self, **asked: object) -> None:
        assert asked["condition"] == "removed"
        if not self.ends:
            raise requests.ReadTimeout


@pytest.mark.parametrize(("ends", "told"), [(True, ""), (False, "docker rm --force")])
def test_a_removal_on_its_way_ends_no_run(
    ends: bool, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = create_autospec(docker.DockerClient, instance=True)
    client.containers.list.return_value = [Leftover(ends)]
    client.networks.list.return_value = []
    sweep(client)
    said = capsys.readouterr().out
    assert told in said if told else not said

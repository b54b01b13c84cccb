"""What the region refuses ends in a sentence, on the real engine: setting or permission, remedy."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from rehearsal.lab import Lab
from rehearsal.processes import PROJECT
from tests.rehearsal.labs import everything_told, lab_of, refused

Refuse = Callable[[str, str], None]
"""Lets the region refuse an action (`CreateVpc`) with a code, until the test's end."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of(tmp_path_factory.mktemp("rehearsal"), "dev") as made:
        yield made


@pytest.fixture
def refuse(lab: Lab) -> Iterator[Refuse]:
    switched: list[tuple[str, str]] = []

    def switch(code: str, action: str) -> None:
        switched.append((f"cloud.{code}", action))
        lab.world.call("switch_on", fault=switched[-1][0], key=action)

    yield switch
    for fault, action in switched:
        lab.world.call("switch_on", fault=fault, key=action, times=0)


@pytest.mark.fault("a permission missing")
def test_a_refused_question_ends_the_preview_without_a_stack(lab: Lab, refuse: Refuse) -> None:
    refuse("Forbidden.RAM", "DescribeImages")
    said = refused(lab, lab.engine.preview)
    assert "may not do DescribeImages" in said
    assert "Permissions" in said
    assert "Traceback" not in everything_told(lab)


@pytest.mark.fault("quota too small")
def test_what_is_refused_is_explained_once_beside_its_resource_and_last_by_make(
    lab: Lab, refuse: Refuse
) -> None:
    refuse("QuotaExceeded.Vpc", "CreateVpc")
    refuse("QuotaExceeded.Vpc", "ImportKeyPair")
    said = refused(lab, lab.engine.up)
    assert "SDKError" in said, "the engine's own text stays"
    assert said.count("set vswitchId") == 1, "two resources, one cause"
    assert "Traceback" not in everything_told(lab)
    place = ["--config-file", str(lab.engine.stack_file)]
    ran = subprocess.run(
        [sys.executable, "-m", "tools.cloud", "up", "--stack", "dev", "--yes", *place],
        cwd=PROJECT,
        env=lab.engine.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert ran.returncode, ran.stdout
    _, _, last = ran.stderr.partition("\nWhat to do:\n")
    assert [line.split(":")[0] for line in last.splitlines()] == ["  - QuotaExceeded.Vpc"]
    assert "make sweep STACK=dev" in last

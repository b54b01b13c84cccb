"""A destroy that meets a fault: it, or the next one, ends the lab and the bill."""

import os
import signal
from collections.abc import Iterator

import pytest

from rehearsal.engine import EngineError
from rehearsal.lab import Lab
from rehearsal.processes import command_of, descendants
from tests.rehearsal.labs import bill, lab_of, pulumi, resources_of, up

# Several runs of the engine each, on a machine that may be busy.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose account is empty before each test and after it."""
    with lab_of(tmp_path_factory.mktemp("cut"), "cpu") as made:
        yield made


@pytest.mark.fault("kill -9 of the engine during destroy")
def test_a_destroy_that_was_cut_is_ended_by_the_next(lab: Lab) -> None:
    up(lab)
    kill_the_destroy(lab)
    lab.engine.destroy()
    assert (bill(lab), lab.world.call("inventory")) == ([], [])


@pytest.mark.fault("the server off before destroy")
def test_a_lab_whose_server_is_off_can_be_destroyed(lab: Lab) -> None:
    up(lab)
    lab.world.call("stop_server")
    lab.engine.destroy()
    assert (bill(lab), lab.world.call("inventory")) == ([], [])


def kill_the_destroy(lab: Lab) -> None:
    """When half of what stands is deleted; its lock is taken away."""
    wanted = len(resources_of(lab)) / 2
    seen: list[str] = []
    killed: list[int] = []

    def on_line(line: str) -> None:
        if " deleted " in f"{line} ":
            seen.append(line)
        if len(seen) >= wanted and not killed:
            pids = descendants(os.getpid())
            killed.extend(pid for pid in pids if command_of(pid).startswith("pulumi destroy"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    lab.engine.on_line = on_line
    try:
        with pytest.raises(EngineError):
            lab.engine.destroy()
    finally:
        lab.engine.on_line = lambda line: None
    assert killed, f"the destroy was not there when {wanted:.0f} were deleted; seen: {len(seen)}"
    pulumi(lab, "cancel", "--yes")

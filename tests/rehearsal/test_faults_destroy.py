"""A destroy that meets a fault: it, or the next one, ends the lab and the bill."""

from collections.abc import Iterator

import pytest

from rehearsal.lab import Lab
from tests.rehearsal.labs import bill, cut, lab_of, pulumi, up

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
    cut(lab, "ContainersReady .* deleted|Container .* deleted", lab.engine.destroy)
    pulumi(lab, "cancel", "--yes")
    lab.engine.destroy()
    assert (bill(lab), lab.world.call("inventory")) == ([], [])


@pytest.mark.fault("the server off before destroy")
def test_a_lab_whose_server_is_off_can_be_destroyed(lab: Lab) -> None:
    up(lab)
    lab.world.call("stop_server")
    lab.engine.destroy()
    assert (bill(lab), lab.world.call("inventory")) == ([], [])

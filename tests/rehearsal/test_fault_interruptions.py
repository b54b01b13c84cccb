"""A run that is met by another."""

import threading
from collections.abc import Iterator

import pytest

from provisioning.cloud_errors import explain
from rehearsal.engine import EngineError
from rehearsal.lab import Lab
from tests.rehearsal.labs import bill, concerned, lab_of, up
from tests.waiting import until

# Several runs of the engine each, on a machine that may be busy.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of(tmp_path_factory.mktemp("cut"), "cpu", serverGeneration=1) as made:
        up(made)
        yield made
        made.engine.destroy()
        assert (bill(made), made.world.call("inventory")) == ([], [])


@pytest.mark.fault("two operators at once")
def test_a_second_operator_is_told_who_is_there(lab: Lab) -> None:
    held = threading.Event()
    lab.engine.on_line = lambda line: held.set()
    first = threading.Thread(target=lab.engine.up)
    first.start()
    until(held.is_set, "the first operator's run to begin")
    lab.engine.on_line = lambda line: None
    with pytest.raises(EngineError, match="currently locked by") as error:
        lab.engine.up()
    assert "somebody else's run works on this stack" in explain(str(error.value)).lower()
    first.join(120)
    assert not first.is_alive()
    assert concerned(up(lab)) == {}

"""A run that is cut, or met by another: the next one goes on, and makes nothing twice."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from provisioning.cloud_errors import explain
from rehearsal.engine import EngineError
from rehearsal.lab import Lab
from rehearsal.processes import command_of, descendants
from tests.rehearsal.labs import bill, change, concerned, cut, lab_of, pulumi, settings_of, up
from tests.waiting import until

# Several runs of the engine each, on a machine that may be busy.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

AWAY_SECONDS = 20.0
ONE_SERVER = 2
"""Lines of the bill: the server and its disk."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of(tmp_path_factory.mktemp("cut"), "cpu", serverGeneration=1) as made:
        up(made)
        yield made
        made.engine.destroy()
        assert (bill(made), made.world.call("inventory")) == ([], [])


# Before Docker makes anything, or after: a container that is cut off is told of, not taken in.
PREPARED, DATASET = "Command base created", "Dataset .* created"


@pytest.mark.parametrize(
    ("moment", "whom", "how", "times"),
    [
        pytest.param(
            *(PREPARED, "pulumi ", signal.SIGKILL, 1),
            marks=pytest.mark.fault("kill -9 of the engine at one third"),
        ),
        pytest.param(
            *(DATASET, "pulumi ", signal.SIGKILL, 1),
            marks=pytest.mark.fault("kill -9 of the engine at two thirds"),
        ),
        pytest.param(
            *("Command docker created", "pulumi ", signal.SIGINT, 1),
            marks=pytest.mark.fault("Ctrl-C once"),
        ),
        pytest.param(
            *(PREPARED, "pulumi ", signal.SIGINT, 2), marks=pytest.mark.fault("Ctrl-C twice")
        ),
        pytest.param(
            *("Root .* created", "-m pulumi.dynamic", signal.SIGKILL, 1),
            marks=pytest.mark.fault("the provider's process killed"),
        ),
    ],
    ids=["one third", "two thirds", "Ctrl-C", "Ctrl-C twice", "provider"],
)
def test_a_rebuild_that_was_cut_is_taken_up_by_the_next(
    lab: Lab, moment: str, whom: str, how: signal.Signals, times: int
) -> None:
    change(lab, serverGeneration=int(settings_of(lab)["serverGeneration"]) + 1)
    cut(lab, moment, lab.engine.up, whom, how, times)
    if whom == "pulumi ":
        pulumi(lab, "cancel", "--yes")
    up(lab)
    assert len(bill(lab)) == ONE_SERVER
    assert concerned(up(lab)) == {}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("HostKey .* created", marks=pytest.mark.fault("SSH refused for a while")),
        pytest.param("Root .* created", marks=pytest.mark.fault("the network away for a while")),
    ],
    ids=["SSH", "network"],
)
def test_a_server_that_is_out_of_reach_for_a_while_is_waited_for(lab: Lab, moment: str) -> None:
    """Off before it has anything, it refuses; frozen while it is seeded, it does not answer."""
    change(lab, serverGeneration=int(settings_of(lab)["serverGeneration"]) + 1)
    refusing = moment.startswith("HostKey")
    back: list[threading.Timer] = []

    def on_line(line: str) -> None:
        if back or not re.search(moment, " ".join(line.split())):
            return
        again = _switched_off(lab) if refusing else _frozen()
        back.append(threading.Timer(AWAY_SECONDS, again))
        back[0].start()

    lab.engine.on_line = on_line
    try:
        up(lab)
    finally:
        lab.engine.on_line = lambda line: None
    assert back
    assert not back[0].is_alive()
    assert len(bill(lab)) == ONE_SERVER
    assert concerned(up(lab)) == {}


def _switched_off(lab: Lab) -> Callable[[], None]:
    """The new server, while the old one stands."""
    new = max(lab.world.call("servers"), key=lambda one: int(one["name"].rsplit("-", 1)[-1]))
    lab.world.call("stop_server", server=new["id"])
    return lambda: lab.world.call("start_server", server=new["id"])


def _frozen() -> Callable[[], None]:
    pids = [pid for pid in descendants(os.getpid()) if "-m rehearsal.server" in command_of(pid)]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    return thaw


@pytest.mark.fault("FastGPT killed in the middle")
def test_a_service_that_dies_while_it_is_seeded_comes_back(lab: Lab) -> None:
    change(lab, serverGeneration=int(settings_of(lab)["serverGeneration"]) + 1)
    struck: list[int] = []

    def on_line(line: str) -> None:
        if "Dataset" in line and "creating" in line and not struck:
            for each in lab.world.call("processes"):
                if "doubles.fastgpt" in each["command"]:
                    struck.append(each["pid"])
                    os.kill(each["pid"], signal.SIGKILL)

    lab.engine.on_line = on_line
    try:
        up(lab)
    except EngineError:
        up(lab)
    finally:
        lab.engine.on_line = lambda line: None
    assert struck
    assert len(bill(lab)) == ONE_SERVER
    assert concerned(up(lab)) == {}


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

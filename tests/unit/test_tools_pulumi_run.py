"""`make up` as the operator sees it: Pulumi's own output, Ctrl-C and exit code, then what to do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tables import table
from tools.pulumi_run import diagnostics, run, sentences

ROOT = Path(__file__).parents[2]
CALL = (
    "import os; from tools.pulumi_run import run; "
    "raise SystemExit(run('up', 'dev', (), os.environ))"
)
WAIT_SECONDS = 20

Pulumi = Callable[[str], Path]


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    """Puts a program in Pulumi's place; its event log is the third argument."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def put(code: str) -> Path:
        file = folder / "pulumi"
        lead = "import json, os, signal, sys, time\nfrom pathlib import Path\n"
        file.write_text(f"#!{sys.executable}\n{lead}log = Path(sys.argv[3])\n{code}")
        file.chmod(0o755)
        return folder

    return put


@table("tools_cloud")
def test_what_failed_is_explained_last(
    said: str, code: int, told: str, pulumi: Pulumi, capfd: pytest.CaptureFixture[str]
) -> None:
    place = pulumi(
        "place = Path(__file__).with_name('seen')\n"
        "place.write_text(f'{log.stat().st_mode & 0o777:o} {log}')\n"
        f"{said}\nsys.exit({code})"
    )
    assert run("up", "org/ai-lab/dev", ["--yes"], os.environ) == code
    err = capfd.readouterr().err
    mode, log = (place / "seen").read_text().split()
    assert mode == "600"
    assert not Path(log).exists(), "it holds what the operator's screen showed"
    if not told:
        assert err == ""
        return
    last = err.partition("\nWhat to do:\n")[2].splitlines()
    expected = {"lock": "pulumi cancel", "stock": "nothing was rented"}[told]
    assert len(last) == 1
    assert expected in last[0]


def test_a_sentence_is_said_once_and_names_the_stack() -> None:
    text = "Code: DependencyViolation.VSwitch"
    [said] = sentences([text, "nothing", text], "org/ai-lab/mine")
    assert "STACK=mine" in said
    # An engine that was killed leaves half a line.
    assert list(diagnostics('{"diagnosticEvent": {"severity": "error", "mess')) == []


@pytest.mark.parametrize(
    ("number", "to_group", "seen"),
    [(signal.SIGINT, True, "SIGINT"), (signal.SIGTERM, False, "SIGTERM")],
)
def test_signals_are_pulumis_own(number: int, to_group: bool, seen: str, pulumi: Pulumi) -> None:
    """Ctrl-C comes from the terminal to the whole group: once, and this process waits."""
    place = pulumi(
        "seen = []\n"
        "for n in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(n, lambda n, f: seen.append(signal.Signals(n).name))\n"
        "(Path(__file__).parent / 'ready').touch()\n"
        "while not seen: time.sleep(0.01)\n"
        "deadline = time.monotonic() + 0.3\n"
        "while time.monotonic() < deadline: time.sleep(0.01)\n"
        "print(*seen)\nsys.exit(7)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", CALL], stdout=subprocess.PIPE, start_new_session=True, text=True
    ) as ran:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (place / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(ran.pid, number) if to_group else os.kill(ran.pid, number)
        told, _ = ran.communicate(timeout=WAIT_SECONDS)
    assert (told.split(), ran.returncode) == ([seen], 7)

"""`make rehearse`: the whole program on the real engine, without a cloud.

python -m rehearsal          STACK=dev KEEP=1 in the environment
python -m rehearsal server   the same on a real server: a container of this machine's Docker
python -m rehearsal stop     end what a KEEP=1 left standing
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from rehearsal import lab as labs
from rehearsal.addresses import NoAddresses
from rehearsal.control import WorldError, worlds_in
from rehearsal.engine import EngineError
from rehearsal.lab import CannotRehearse, Lab
from rehearsal.probes import ProbeFailed
from rehearsal.processes import PROJECT, adopt_orphans, descendants, end_tree
from rehearsal.progress import Progress
from rehearsal.report import Report
from rehearsal.steps import Rehearsal, StepFailed
from tools.environment import SetupError

BASE = Path(os.environ.get("REHEARSAL_DIR") or PROJECT / ".rehearsal").absolute()
_FAILURES = (EngineError, ProbeFailed, StepFailed, WorldError)
_CANNOT = (CannotRehearse, NoAddresses, SetupError, WorldError, EngineError)


def main() -> int:
    """Rehearse; the exit code: 0 good, 1 not, 2 could not begin, 130 interrupted."""
    console = Console(highlight=False)
    if sys.argv[1:] == ["stop"]:
        ended, running = labs.stop_all(BASE)
        console.print(f"Ended {ended} rehearsal{'s' if ended != 1 else ''}.")
        for folder in running:
            place = escape(str(folder))
            console.print(f"Left alone: {place}. Its `make rehearse` runs; Ctrl-C there ends it.")
        return 0
    if sys.argv[1:] not in ([], ["server"]):
        console.print(__doc__)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    adopt_orphans()
    stack = os.environ.get("STACK") or "dev"
    keep = os.environ.get("KEEP") not in (None, "", "0")
    try:
        console.print(f"Rehearsing [bold]{escape(stack)}[/bold]: no cloud, no cost.")
        _tell_of_others(console, keep)
        progress = Progress(console)
        lab = labs.prepare(BASE, stack, progress.line, real_server=sys.argv[1:] == ["server"])
    except KeyboardInterrupt:
        _end_children()
        return 130
    except _CANNOT as problem:
        console.print(f"[red]The rehearsal cannot begin:[/red] {escape(str(problem))}")
        return 2
    return _rehearse(console, progress, lab, keep)


def _tell_of_others(console: Console, keep: bool) -> None:
    """Of those that stand in the same folder: each has a world and addresses of its own."""
    for other in worlds_in(BASE):
        place = escape(str(other.folder.parent))
        if other.rehearses:
            console.print(f"Another rehearsal runs in {place}; both go on, side by side.")
        else:
            console.print(f"A lab that was kept stands in {place}; `make rehearse-stop` ends it.")
            if keep:
                console.print("`make status`, `make open` and `make ask` will follow the new one.")


def _rehearse(console: Console, progress: Progress, lab: Lab, keep: bool) -> int:
    report = Report(lab.stack)
    kept = False
    try:
        Rehearsal(lab, report, console, progress).run(keep)
        report.ok = True
    except KeyboardInterrupt:
        report.reason = "interrupted"
        return _finish(console, lab, report, kept=False, code=130)
    except _FAILURES as problem:
        report.reason = "\n".join(dict.fromkeys(filter(None, [str(problem), lab.world.dead])))
    if keep:
        kept = _keep(console, lab)
    return _finish(console, lab, report, kept, code=0 if report.ok else 1)


def _finish(console: Console, lab: Lab, report: Report, kept: bool, code: int) -> int:
    report.kept = kept
    if not kept:
        lab.end()
        _end_children()
    place = report.write(BASE)
    report.show(console)
    if report.reason:
        console.print(
            f"[red]{escape(report.failed or 'rehearsal')}:[/red] {escape(report.reason)}",
            soft_wrap=True,
        )
        console.print(f"More in {lab.folder}", style="dim")
    console.print(f"Report: {place}", style="dim")
    return code


def _keep(console: Console, lab: Lab) -> bool:
    try:
        if not lab.outputs:
            return False
        labs.keep(BASE, lab)
    except WorldError:
        return False
    console.print("\n[bold]The lab stands.[/bold] Passwords: see current.json below for the")
    console.print("environment in which `pulumi stack output --show-secrets` reads them.")
    for name, address in labs.addresses(lab.outputs).items():
        console.print(f"  {escape(name)}: {escape(address)}")
    console.print(f"All about it: {BASE / labs.CURRENT}", style="dim")
    console.print("End it with: make rehearse-stop\n")
    return True


def _end_children() -> None:
    for pid in descendants(os.getpid()):
        end_tree(pid)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

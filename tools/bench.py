"""`make bench`: what an `up` that changes nothing costs, beside an empty program's, in one run.

Four programs are brought up in turns on the same engine, each a step further than the one before:
an empty one, one that imports what the lab's imports, one that checks its settings and plans, and
the lab itself. The differences of their medians tell where the time goes.
"""

from __future__ import annotations

import ast
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from rehearsal import lab as labs
from rehearsal.children import PROJECT
from rehearsal.engine import Engine
from rehearsal.lab import Lab

PAGE = PROJECT / "docs" / "performance.md"
STACK = "dev"
_ROUNDS = 7

_PLANNING = """
import pathlib
from provisioning.plan import plan
from stack.settings import load_settings
plan(load_settings(pathlib.Path({project!r})))
"""


@dataclass(frozen=True)
class Measured:
    """Seconds of each `up`, by program in the order of the steps, and how many resources it has."""

    seconds: Mapping[str, list[float]]
    resources: int

    @property
    def medians(self) -> dict[str, float]:
        """The median of each program."""
        return {name: statistics.median(runs) for name, runs in self.seconds.items()}

    @property
    def ratio(self) -> float:
        """The lab's median over the empty program's."""
        medians = list(self.medians.values())
        return medians[-1] / medians[0]


def programs(folder: Path, project: Path = PROJECT) -> dict[str, Path]:
    """The three programs beside the lab: what each adds to the one before -> its folder."""
    tree = ast.parse((project / "__main__.py").read_text())
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom)]
    path = f"import sys\nsys.path.insert(0, {str(project)!r})\n"
    imported = path + "\n".join(imports)
    sources = {
        "engine, language host, Python": "",
        "imports of the program and its SDKs": imported,
        "settings checked, plan made": imported + _PLANNING.format(project=str(project)),
    }
    # The project's own, for the settings' defaults.
    described = yaml.safe_load((project / "Pulumi.yaml").read_text())
    described["runtime"]["options"]["virtualenv"] = str(project / ".venv")
    for name, source in sources.items():
        place = _place(folder, name)
        place.mkdir(parents=True)
        (place / "__main__.py").write_text(source)
        (place / "Pulumi.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return {name: _place(folder, name) for name in sources}


def measure(lab: Lab, folder: Path, rounds: int = _ROUNDS) -> Measured:
    """Bring all four up in turns; the lab stands already."""
    engines = {}
    for name, program in programs(folder).items():
        engine = Engine(program / "engine", program, STACK, lab.world.debug_providers)
        engine.init(lab.settings, {})
        engine.up()
        engines[name] = engine
    engines["the lab's resources"] = lab.engine
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    resources = 0
    for _ in range(rounds):
        for name, engine in engines.items():
            done = engine.up()
            if done.changes:
                raise RuntimeError(f"an up of {name} changed {done.changes}: {done.changed}")
            seconds[name].append(done.seconds)
            resources = sum(done.operations.values())
    return Measured(seconds, resources)


def page(measured: Measured) -> str:
    """The text of docs/performance.md."""
    rows, before = [], 0.0
    for name, median in measured.medians.items():
        runs = measured.seconds[name]
        span = f"{min(runs):.2f} to {max(runs):.2f}"
        rows.append(f"| {name} | {median - before:.2f} | {median:.2f} | {span} |")
        before = median
    rounds = len(next(iter(measured.seconds.values())))
    return "\n".join(
        [
            "# What an `up` that changes nothing costs",
            "",
            "Written by `make bench`. The reference lab in the rehearsal, and three programs that",
            f"stop earlier, in {rounds} turns on one machine ({os.cpu_count()} processors, Python "
            f"{platform.python_version()}). Seconds; medians, and the range of the whole `up`.",
            "",
            f"**{measured.ratio:.2f} times an empty program**, for {measured.resources} resources.",
            "",
            "| up to | adds | whole `up` | range |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> int:
    """Measure, print and write the page; the exit code."""
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        lab = labs.prepare(Path(folder) / "rehearsal", STACK)
        try:
            console.print("The lab comes up; then four programs take turns.")
            lab.engine.up()
            text = page(measure(lab, Path(folder) / "programs"))
        finally:
            lab.end()
    console.print(text, markup=False, soft_wrap=True)
    PAGE.write_text(text)
    return 0


def _place(folder: Path, name: str) -> Path:
    return folder / name.split(",")[0].replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())

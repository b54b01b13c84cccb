"""`make status`: what stands, what it serves, what it costs, and what is wrong first.

python -m tools.status          STACK=name in the environment

First everything is gathered (`tools.look`), then it is examined (`tools.findings`), then shown. The
exit code: 0 nothing is wrong, 1 something is, 2 there is no lab.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.account import InCloud, look_into
from tools.environment import ROOT
from tools.findings import Finding, account_findings, examine
from tools.look import LOOK_SECONDS, Look, Maybe, gather, way_to
from tools.standing import Lab, NoLab, Stack, find_lab, which_stack

WIDTH_WHEN_PIPED = 120


def show(console: Console, lab: Lab, findings: Sequence[Finding]) -> None:
    """Print the table, and what is wrong first."""
    table = Table(title=f"Lab {escape(lab.stack.title)}", title_justify="left", box=box.SIMPLE)
    for column in ("", "what", "name", "state"):
        table.add_column(column, overflow="fold")
    before = ""
    for finding in findings:
        if before and finding.what != before:
            table.add_section()
        cells = (finding.what, escape(finding.name), escape(finding.state))
        table.add_row(finding.sign, *cells, style="red" if finding.wrong else "")
        before = finding.what
    console.print(table)
    wrong = [finding for finding in findings if finding.wrong]
    if not wrong:
        console.print(f"[green]Nothing is wrong.[/green] Chat: {escape(lab.fastgpt_url)}")
        return
    first_wrong = wrong[0]
    named = " ".join(part for part in (first_wrong.what, first_wrong.name) if part)
    console.print(f"[red]Wrong first:[/red] {escape(f'{named}: {first_wrong.state}')}")
    console.print(f"What to do:  {escape(first_wrong.advice)}")
    if len(wrong) > 1:
        console.print(f"Then look again: {len(wrong) - 1} more lines are marked !!", style="dim")


def without_lab(stack: Stack, account: Maybe[InCloud]) -> list[str]:
    """What of that name is in the region though no lab stands, line by line, and what to do."""
    found = list(account_findings(stack, account))
    lines = [f"{each.sign} {each.what} {each.name}: {each.state}" for each in found]
    return lines + [each.advice for each in found if each.wrong][:1]


def terminal() -> Console:
    """Where it is shown, wide enough for a table in a pipe too."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_WHEN_PIPED)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Look, and tell; returns the exit code."""
    console = terminal()
    try:
        stack = which_stack(environ, ROOT)
        account = Look(partial(look_into, stack), LOOK_SECONDS)
        try:
            lab = find_lab(environ)
        except NoLab:
            console.print(*without_lab(stack, account.result()), sep="\n", markup=False)
            raise
        facts = gather(lab, way_to(lab), datetime.now(timezone.utc))
    except NoLab as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    facts = replace(facts, account=account.result())
    findings = examine(facts)
    show(console, lab, findings)
    return 1 if any(finding.wrong for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())

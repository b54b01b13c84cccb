"""`make sweep`: what bears the lab's tag in its region and is in no state, listed and removed.

python -m tools.sweep           STACK=name, YES=1 in the environment

A state can lose what costs money: an engine that is killed while the cloud makes a server never
writes it down. The exit code: 0 nothing is left, 1 something is, 2 nobody could look.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console
from rich.table import Table

from provisioning.clients.errors import ServiceError
from provisioning.server_problems import OWN_TAG
from tools.account import InCloud, account_of, look_into, tag_of
from tools.environment import ROOT
from tools.standing import NoLab, Stack, which_stack
from tools.status import terminal

Ask = Callable[[str], str]


def show(console: Console, stack: Stack, found: InCloud) -> None:
    """The list, and whose it may be."""
    title = f"In {found.region} with the tag {OWN_TAG}={tag_of(stack)}, and in no state"
    table = Table(title=title, title_justify="left")
    for column in ("what", "id", "name", "since", "status", "costs"):
        table.add_column(column, overflow="fold")
    for each in found.leftovers:
        costs = "by the hour" if each.costs else ""
        table.add_row(each.kind, each.id, each.name, each.created, each.status, costs)
    console.print(table, markup=False)
    console.print(
        f"The state asked is that of {stack.title}, kept where you are logged in now. A lab of the "
        "same name whose state is kept in another backend, a colleague's or another machine's, "
        "looks just like this: `pulumi whoami --verbose` says which backend this is. An `up` that "
        "runs at this moment has not written down what it is making: let it end first.",
        markup=False,
    )


def sweep(console: Console, stack: Stack, sure: bool, ask: Ask | None) -> int:
    """Look, ask, remove, look again; the exit code.

    Args:
        sure: remove without asking.
        ask: puts a question to the operator; None where nobody is there to answer.

    Raises:
        NoLab, ServiceError: nobody could look.
    """
    found = look_into(stack, ROOT)
    if not found.leftovers:
        console.print(f"In {found.region} nothing of {stack.title} is left that no state knows.")
        return 0
    show(console, stack, found)
    if not sure and ask is None:
        console.print("Nothing was removed: YES=1 removes it without a question.")
        return 1
    question = f"Remove these {len(found.leftovers)}? [y/N] "
    if ask and not sure and not _yes(ask(question)):
        console.print("Nothing was removed.")
        return 1
    # An `up` may have written some of them down while the question stood.
    listed = {each.id for each in found.leftovers}
    left = [each for each in look_into(stack, ROOT).leftovers if each.id in listed]
    say = partial(console.print, markup=False)
    return _look_again(console, stack, account_of(stack, ROOT).remove(left, say))


def _yes(answer: str) -> bool:
    return answer.strip().lower() in ("y", "yes")


def _look_again(console: Console, stack: Stack, told: list[str]) -> int:
    for line in told:
        console.print(line, style="red", markup=False)
    left = look_into(stack, ROOT).leftovers
    if not left:
        console.print("Looked again: nothing is left.")
        return 0
    console.print("Looked again, still there:", *map(str, left), sep="\n", markup=False)
    return 1


def main(environ: Mapping[str, str] = os.environ) -> int:
    """The command; see the module."""
    try:
        stack = which_stack(environ, ROOT)
        ask = input if sys.stdin.isatty() else None
        return sweep(terminal(), stack, environ.get("YES") == "1", ask)
    except NoLab as problem:
        print(problem, file=sys.stderr)
    except ServiceError as problem:
        print(f"The account cannot be looked into. {problem}", file=sys.stderr)
    except (KeyboardInterrupt, EOFError):
        print("Interrupted: what was removed is gone; the rest stays.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

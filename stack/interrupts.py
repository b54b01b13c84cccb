"""How the program ends when the engine ends it."""

from __future__ import annotations

import sys
from types import TracebackType


def end_quietly() -> None:
    """Let nobody read a stack because something failed: the engine then interrupts the program.

    What failed was told by then, and a stack below it looks like another fault.
    """
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            before(kind, error, stack)

    sys.excepthook = told

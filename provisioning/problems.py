"""What is wrong with a plan, found before anything is paid."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what would be right: clauses without a full stop.

    Attributes:
        path: the setting, as it is written: `models[2].xinference.memoryShare`.
        warning: the lab can be built all the same; it is said, not refused.
        danger: a warning in red.
    """

    path: str
    wrong: str
    right: str
    warning: bool = False
    danger: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.wrong}; {self.right}"


class Wrong(ValueError):
    """A shape's own check failed; where, who validates it knows. `wrong, right` as in `Problem`."""

    def __init__(self, wrong: str, right: str) -> None:
        self.wrong, self.right = wrong, right
        super().__init__(f"{wrong}; {right}")


class PlanError(ValueError):
    """The plan cannot be made, because of a problem."""

    def __init__(self, path: str, wrong: str, right: str) -> None:
        self.problem = Problem(path, wrong, right)
        super().__init__(str(self.problem))


def nearest(word: str, known: Iterable[str]) -> str:
    """Advice for a word that is not known: the nearest known one, or all of them."""
    names = {name.lower(): name for name in sorted(known)}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {names[close[0]]!r}?"
    return f"known are {', '.join(names.values())}"


def unknown(path: str, what: str, name: str, known: Iterable[str]) -> Problem:
    """`name` is none of `known`; `what` they are: `chat model`."""
    return Problem(path, f"no {what} is called {name}", nearest(name, known))


def repeated(path: str, names: Iterable[str]) -> Iterator[Problem]:
    """Names that a list has twice."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Problem(f"{path}[{index}]", f"{name} is there twice", "keep one, or rename it")
        seen.add(name)

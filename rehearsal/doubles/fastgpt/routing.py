"""The routes of an edition (`seeds.routes`, `current.routes`), and the handlers that they name.

A row has a module, an address, a thing, and what is done to it. A handler is named after its route;
a verb that several things have is followed by the thing. What is marked `!` is open to all, `*` to
keys too.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

Handler = Callable[..., Any]
_OF_SEVERAL = {"create", "list", "detail", "update", "delete", "del", "copy"}


def routes(edition: str) -> Iterator[tuple[str, str, Handler]]:
    """Method and path, the mark behind the name, and the handler of each route."""
    for row in Path(__file__).with_name(f"{edition}.routes").read_text().splitlines():
        where, _, what = row.partition(": ")
        named, prefix, thing = where.split()
        module = import_module(f"rehearsal.doubles.fastgpt.{named}")
        for of_method in what.split(", "):
            method, *names = of_method.split()
            for marked in names:
                name = marked.rstrip("!*")
                handler = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
                handler = handler.replace("/", "_") + (f"_{thing}" if name in _OF_SEVERAL else "")
                yield f"{method} {prefix}/{name}", marked[len(name) :], getattr(module, handler)

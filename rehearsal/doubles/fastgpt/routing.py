"""A table of routes, and the handlers that it names."""

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

Handler = Callable[..., Any]
_OF_SEVERAL = {"create", "list", "detail", "update", "delete", "del", "copy"}


def routes(table: str, *modules: ModuleType) -> Iterator[tuple[str, str, Handler]]:
    """Method and path, the mark behind the name, and the handler of each route.

    A row has a module, an address, a thing, and what is done to it. A handler is named after its
    route; a verb that several things have is followed by the thing.
    """
    named = {module.__name__.rpartition(".")[2]: module for module in modules}
    for row in table.strip().splitlines():
        where, _, what = row.partition(": ")
        module, prefix, thing = where.split()
        for of_method in what.split(", "):
            method, *names = of_method.split()
            for marked in names:
                name = marked.rstrip("!*")
                handler = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
                handler = handler.replace("/", "_") + (f"_{thing}" if name in _OF_SEVERAL else "")
                mark = marked[len(name) :]
                yield f"{method} {prefix}/{name}", mark, getattr(named[module], handler)

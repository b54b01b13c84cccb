"""One server as a process of its own: `python -m rehearsal.server`, started by `process.py`.

JSON lines both ways. In: first the `Description`, then orders `{"do": "start", "n": 1}` and answers
to our questions `{"n": 7, "admitted": true}`. Out: `{"done": 1, "error": null}`, and questions
`{"n": 7, "port": 22, "source": "127.0.0.1"}` for the firewall. The end of the input is its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from rehearsal.children import adopt_orphans
from rehearsal.server.description import Description
from rehearsal.server.machine import Machine


class _Talk:
    """Our side of the lines."""

    def __init__(self) -> None:
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._number = 0

    async def admits(self, port: int, source: str) -> bool:
        """Ask the firewall."""
        self._number += 1
        future = asyncio.get_running_loop().create_future()
        self._asked[self._number] = future
        _say({"n": self._number, "port": port, "source": source})
        return bool(await future)

    def answered(self, line: dict[str, Any]) -> None:
        """The firewall has spoken."""
        self._asked.pop(line["n"]).set_result(line["admitted"])


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _serve() -> None:
    lines = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    talk = _Talk()
    machine = Machine(Description(**json.loads(await lines.readline())), talk.admits)
    orders: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        said = json.loads(line)
        if "admitted" in said:
            talk.answered(said)
            continue
        task = asyncio.create_task(_obey(machine, said))
        orders.add(task)
        task.add_done_callback(orders.discard)
    await machine.stop()
    machine.lifeline.close()


async def _obey(machine: Machine, order: dict[str, Any]) -> None:
    error = None
    try:
        await (machine.start() if order["do"] == "start" else machine.stop())
    except OSError as problem:
        error = str(problem)
    _say({"done": order["n"], "error": error})


if __name__ == "__main__":
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve())
    os._exit(0)

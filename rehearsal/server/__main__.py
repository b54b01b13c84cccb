"""One server as a process of its own: `python -m rehearsal.server`, started by `process.py`.

JSON lines both ways. In: first the `Description`, then orders `{"do": "start", "n": 1}` and answers
to our questions `{"n": 7, "admitted": true}`. Out: `{"done": 1, "error": null}`, and questions
`{"n": 7, "port": 22, "source": "127.0.0.1"}` for the firewall. The end of the input is its end.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from typing import Any

from rehearsal.children import adopt_orphans
from rehearsal.server.description import Description
from rehearsal.server.machine import Machine

_ASKED: dict[int, asyncio.Future[bool]] = {}
_NUMBERS = itertools.count(1)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _admits(port: int, source: str) -> bool:
    """Ask the firewall."""
    number = next(_NUMBERS)
    _ASKED[number] = asyncio.get_running_loop().create_future()
    _say({"n": number, "port": port, "source": source})
    return await _ASKED[number]


async def _serve() -> None:
    lines = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    machine = Machine(Description(**json.loads(await lines.readline())), _admits)
    while line := await lines.readline():
        said = json.loads(line)
        if "admitted" in said:
            _ASKED.pop(said["n"]).set_result(said["admitted"])
        else:
            await _obey(machine, said)
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

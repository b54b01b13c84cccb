"""A server of the stage, from the data centre's side: the process that it is."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rehearsal.children import PROJECT, end_tree
from rehearsal.server.description import Description

_PATIENCE_SECONDS = 20.0


class ServerProcess:
    """One server (`rehearsal.server`). It gets a process with its first start.

    `network` is the firewall: whether a source address reaches a port.
    """

    def __init__(self, description: Description, network: Callable[[int, str], bool]) -> None:
        self._description, self._network = description, network
        self._process: subprocess.Popen[str] | None = None
        self._done: dict[int, str | None] = {}
        self._number = 0
        self._news = threading.Condition()

    def start(self) -> None:
        """Switch it on; comes back while it boots."""
        if self._process is None:
            self._launch()
        self._order("start")

    def stop(self) -> None:
        """Switch it off, with every process on it."""
        if self._process is not None:
            self._order("stop")

    def destroy(self) -> None:
        """Switch it off and forget its disk."""
        self.stop()
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            try:
                self._process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                end_tree(self._process.pid)
            self._listener.join(_PATIENCE_SECONDS)
            self._process = None
        shutil.rmtree(self._description.root, ignore_errors=True)

    def _launch(self) -> None:
        root = Path(self._description.root)
        root.mkdir(parents=True, exist_ok=True)
        with (root.parent / f"{root.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rehearsal.server"],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._say(asdict(self._description))
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()

    def _order(self, what: str) -> None:
        with self._news:
            self._number += 1
            number = self._number
            self._say({"do": what, "n": number})
            if not self._news.wait_for(lambda: number in self._done, _PATIENCE_SECONDS):
                raise TimeoutError(
                    f"no {what} in {_PATIENCE_SECONDS:.0f} s: see {self._description.root}.log"
                )
            error = self._done.pop(number)
        if error:
            raise OSError(error)

    def _say(self, line: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout as lines:
            for text in lines:
                line = json.loads(text)
                if "done" in line:
                    with self._news:
                        self._done[line["done"]] = line["error"]
                        self._news.notify_all()
                    continue
                admitted = self._network(line["port"], line["source"])
                with self._news, contextlib.suppress(OSError, ValueError):
                    self._say({"n": line["n"], "admitted": admitted})

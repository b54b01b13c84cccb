"""A server of the stage, from the data centre's side: the process that it is."""

import contextlib
import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rehearsal.processes import PROJECT, end_tree
from rehearsal.server.description import Description

_PATIENCE_SECONDS = 20.0


class ServerProcess:
    """One server (`rehearsal.server`). It gets a process with its first start.

    `network` is the firewall: whether a source address reaches a port.
    """

    def __init__(self, description: Description, network: Callable[[int, str], bool]) -> None:
        self._description, self._network = description, network
        self._process: subprocess.Popen[str] | None = None
        self._done: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._saying = threading.Lock()

    def start(self) -> None:
        if self._process is None:
            self._launch()
        self._order("start")

    def stop(self) -> None:
        if self._process is not None:
            self._order("stop")

    def destroy(self) -> None:
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
        """Orders come one at a time; one that was not answered is the end of the rehearsal."""
        self._say({"do": what})
        try:
            error = self._done.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            text = f"no {what} in {_PATIENCE_SECONDS:.0f} s: see {self._description.root}.log"
            raise TimeoutError(text) from None
        if error:
            raise OSError(error)

    def _say(self, line: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin
        with self._saying:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout as lines:
            for line in map(json.loads, lines):
                if "done" in line:
                    self._done.put(line["done"])
                    continue
                admitted = self._network(line["port"], line["source"])
                with contextlib.suppress(OSError, ValueError):
                    self._say({"n": line["n"], "admitted": admitted})

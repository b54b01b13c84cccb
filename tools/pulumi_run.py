"""Pulumi on the operator's terminal; after a failure its last words are what to do about it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from provisioning.cloud_errors import explain

_COLOUR = re.compile(r"<\{%.*?%\}>")
_TOLD = ("error", "warning")
_TAIL_BYTES = 64 * 1024
_LAST_WORDS_SECONDS = 2.0


def run(action: str, stack: str, options: Sequence[str], environment: Mapping[str, str]) -> int:
    """``pulumi ACTION --stack STACK OPTION ...``; its exit code, 128 + N where signal N ended it.

    Pulumi keeps the terminal and its own Ctrl-C: the first ends it in order, the second at once.
    """
    with tempfile.TemporaryDirectory(prefix="ai-lab-") as folder:
        log = Path(folder, "events.jsonl")
        log.touch(mode=0o600)
        # Without the variable there is no --event-log.
        told_more = {**environment, "PULUMI_DEBUG_COMMANDS": "1"}
        command = ["pulumi", action, "--event-log", str(log), "--stack", stack, *options]
        code, errors = _on_this_terminal(command, told_more)
        if code and (known := sentences([*diagnostics(log.read_text()), errors], stack)):
            lines = "\n".join(f"  - {sentence}" for sentence in known)
            print(f"\nWhat to do:\n{lines}", file=sys.stderr, flush=True)
    return code


def sentences(texts: Sequence[str], stack: str) -> list[str]:
    """What is known of each of these texts, every sentence once."""
    name = stack.rsplit("/", 1)[-1]
    return list(dict.fromkeys(said for text in texts if (said := explain(text, name))))


def diagnostics(events: str) -> Iterator[str]:
    """The errors and warnings in an event log of the engine: JSON, an event a line."""
    for line in events.splitlines():
        try:
            event = json.loads(line).get("diagnosticEvent") or {}
        except ValueError:  # The last line of an engine that was killed.
            continue
        if event.get("severity") in _TOLD:
            yield _COLOUR.sub("", str(event.get("message", "")))


def _on_this_terminal(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code, and the end of what it wrote to stderr: refusals before the engine begins."""
    children: list[subprocess.Popen[bytes]] = []
    tail = bytearray()
    out, into = os.pipe()
    with _signals(children):
        child = subprocess.Popen(command, env=environment, stderr=into)
        os.close(into)
        children.append(child)
        reader = threading.Thread(target=_copy, args=(out, tail), daemon=True)
        reader.start()
        code = child.wait()
        # Not for ever: what Pulumi leaves behind where it is killed holds the pipe open.
        reader.join(_LAST_WORDS_SECONDS)
    return (code if code >= 0 else 128 - code), tail.decode(errors="replace")


@contextmanager
def _signals(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Outlive the children. Ctrl-C reaches them from the terminal itself; what ends this process
    alone is handed on. Handlers, for what is ignored would stay ignored in them."""

    def hand_on(number: int, _: FrameType | None) -> None:
        for child in children if number != signal.SIGINT else ():
            child.send_signal(number)

    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hand_on) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _copy(out: int, tail: bytearray) -> None:
    """What comes goes on to stderr at once, prompts too; `tail` keeps its end."""
    while chunk := os.read(out, 4096):
        sys.stderr.buffer.write(chunk)
        sys.stderr.buffer.flush()
        tail += chunk
        del tail[:-_TAIL_BYTES]

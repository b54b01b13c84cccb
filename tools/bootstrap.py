"""The steps of the set-up, in order: virtual environment, Pulumi CLI, token vocabulary."""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools import pulumi_cli, virtual_env
from tools.environment import ROOT, SetupError, cache_dir, venv_python, write_record
from tools.process import exclusive, run

_VOCABULARY_SECONDS = 900.0
_VOCABULARY = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from provisioning.vocabulary import vocabulary_file; print(vocabulary_file())"
)


class Narrator:
    """Prints each step with the seconds since the start, at once even into a pipe."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.spoke = False

    def say(self, line: str) -> None:
        """Print one step."""
        self.spoke = True
        print(f"[{time.monotonic() - self._started:6.1f} s] {line}", flush=True)


def set_up(narrator: Narrator, *, dev: bool) -> None:
    """Bring this checkout to where ``pulumi up`` (and with ``dev`` a rehearsal) can run.

    Raises:
        SetupError: a step failed; the message says which and what to do.
    """
    cache = cache_dir()
    say = narrator.say
    # One lock for this checkout, another for the cache that several checkouts share.
    checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
    with exclusive(cache / f"checkout-{checkout}.lock", what=str(ROOT), say=say):
        python = virtual_env.ensure(ROOT, dev=dev, say=say)
        with exclusive(cache / "cache.lock", what=str(cache), say=say):
            cli = pulumi_cli.obtain(cache, venv_python(), say)
            vocabulary = fetch_vocabulary(narrator)
        write_record(
            {
                "python": python,
                "pulumi": {
                    "bin_dir": str(cli.bin_dir),
                    "version": cli.version,
                    "origin": cli.origin,
                },
                "vocabulary": str(vocabulary),
            }
        )
    say(f"Ready: Python {python}, Pulumi {cli.version} ({cli.origin}: {cli.bin_dir})")


def fetch_vocabulary(narrator: Narrator) -> Path:
    """Have the token vocabulary that OneAPI needs (docs/facts/oneapi.md §2) fetched and kept.

    Raises:
        SetupError: it cannot be had.
    """
    answer = run(
        [venv_python(), "-I", "-c", _VOCABULARY, ROOT],
        what="the token vocabulary",
        deadline=_VOCABULARY_SECONDS,
        say=narrator.say,
    )
    return Path(answer.strip().splitlines()[-1])


def main(arguments: Sequence[str]) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="tools/setup.py", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what tests and rehearsal need")
    options = parser.parse_args(arguments)
    narrator = Narrator()
    # An ended set-up ends its pip or Go too; as exceptions these signals reach the clean-up.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # nohup's wish
            signal.signal(ending, signal.default_int_handler)
    try:
        set_up(narrator, dev=options.dev)
    except SetupError as error:
        print(f"\nThe set-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run again: it goes on where it was.", file=sys.stderr)
        return 130
    return 0

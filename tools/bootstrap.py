"""The steps of the set-up, in order: virtual environment, Pulumi CLI, token vocabulary."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from tools import pulumi_cli, uv
from tools.environment import ROOT, VENV, SetupError, cache_dir, link_pulumi, venv_python
from tools.process import Say, exclusive, run

_VOCABULARY_SECONDS = 900.0
_VOCABULARY = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from provisioning.vocabulary import vocabulary_file; print(vocabulary_file())"
)


def narrator() -> Say:
    """Prints each step with the seconds since the start, at once even into a pipe."""
    started = time.monotonic()
    return lambda line: print(f"[{time.monotonic() - started:6.1f} s] {line}", flush=True)


def set_up(say: Say, *, dev: bool) -> None:
    """Bring this checkout to where ``pulumi up`` (and with ``dev`` a rehearsal) can run.

    Raises:
        SetupError: a step failed; the message says which and what to do.
    """
    cache = cache_dir()
    with exclusive(cache / "cache.lock", what=str(cache), say=say):
        uv.sync(uv.obtain(cache, say), VENV, dev=dev, say=say)
        cli = pulumi_cli.obtain(cache, venv_python(), say)
        link_pulumi(cli.program)
        # The token vocabulary that OneAPI needs (docs/facts/oneapi.md §2) is kept in the cache.
        run(
            [venv_python(), "-I", "-c", _VOCABULARY, ROOT],
            what="the token vocabulary",
            deadline=_VOCABULARY_SECONDS,
            say=say,
        )
    say(f"Ready: Pulumi {cli.version} ({cli.origin}: {cli.program})")


def main(arguments: Sequence[str]) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="tools/setup.py", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what tests and rehearsal need")
    options = parser.parse_args(arguments)
    # An ended set-up ends its pip or Go too; as exceptions these signals reach the clean-up.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # nohup's wish
            signal.signal(ending, signal.default_int_handler)
    try:
        set_up(narrator(), dev=options.dev)
    except SetupError as error:
        print(f"\nThe set-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run again: it goes on where it was.", file=sys.stderr)
        return 130
    return 0

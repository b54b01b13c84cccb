"""Tests reach this machine's loopback and nothing else.

An audit hook sees every connection and every name look-up of the pytest process, whatever library
makes it. A refused one fails its test even if the code under test swallowed the refusal.
"""

import ipaddress
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults import (  # noqa: F401 - hooks
    pytest_collection_modifyitems,
    pytest_runtest_logreport,
)

_OUTSIDE: list[str] = []
_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname"}


class ReachedOutside(RuntimeError):
    """A test tried to leave the loopback."""


def is_local(host: object) -> bool:
    """Whether a host is this machine's loopback (or no host: wildcard, unspecified)."""
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "replace")
    if host is None or host in ("", "localhost"):
        return True
    if not isinstance(host, str):
        return False
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _target(event: str, arguments: tuple[Any, ...]) -> object:
    """The host an event is about; None where it has none (AF_UNIX, AF_NETLINK, a port only)."""
    if event in _LOOK_UPS:
        return arguments[0]
    address = arguments[1]
    return address[0] if isinstance(address, tuple) and isinstance(address[0], str) else None


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _EVENTS and event not in _LOOK_UPS:
        return
    host = _target(event, arguments)
    if not is_local(host):
        _OUTSIDE.append(f"{event} to {host!r}")
        raise ReachedOutside(f"a test reached beyond loopback: {_OUTSIDE[-1]}")


sys.addaudithook(_guard)
# Nor is the agent of whoever runs them theirs.
os.environ.pop("SSH_AUTH_SOCK", None)
# A shell that starts us in the background makes us deaf to Ctrl-C, and with us every rehearsal that
# a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted (`record_property("counted", ...)`), which passed or not."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for report in reports:
        for key, said in report.user_properties:
            if key == "counted":
                terminalreporter.write_line(str(said))


@pytest.fixture(autouse=True)
def loopback_only() -> Iterator[list[str]]:
    """What the running test tried to reach outside; anything left in it fails the test."""
    _OUTSIDE.clear()
    yield _OUTSIDE
    assert not _OUTSIDE, f"the test reached beyond loopback: {', '.join(_OUTSIDE)}"

"""The server's rule for the visitors' door, in a network of its own with the real iptables."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.host import script
from tests.contract.processes import PROJECT, plain_environment

BURST = 60
APART = ["unshare", "--user", "--map-root-user", "--net"]
# A SYN that is dropped is sent again after a second, so what is not there at once was refused.
KNOCK = """
import json, socket, sys, time

def opened(port, source, times):
    connections = []
    for _ in range(times):
        try:
            connections.append(socket.create_connection(("127.0.0.1", port), 0.1, (source, 0)))
        except TimeoutError:
            pass
    return len(connections)

listening = [socket.create_server(("127.0.0.1", port), backlog=200) for port in (443, 8443)]
began = time.monotonic()
told = {"first": opened(443, "127.0.0.1", 80)}
told["seconds"] = time.monotonic() - began
told |= {"other": opened(443, "127.0.0.2", 20), "else": opened(8443, "127.0.0.1", 80)}
print(json.dumps(told))
"""


def _apart() -> bool:
    """Whether this machine gives a process a network of its own, with its own rules."""
    tried = [*APART, "iptables", "-w", "5", "-t", "mangle", "-S"]
    found = shutil.which("iptables") and shutil.which("unshare")
    return bool(found) and subprocess.run(tried, capture_output=True).returncode == 0


@pytest.mark.skipif(not _apart(), reason="no iptables in a network of its own on this machine")
def test_each_address_opens_so_many_connections_to_the_visitors_door_alone(tmp_path: Path) -> None:
    """And the rule is there once, however often it is set."""
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text("#!/bin/sh\n")
    systemctl.chmod(0o755)
    (tmp_path / "door.sh").write_text(script("door"))
    (tmp_path / "knock.py").write_text(KNOCK)
    program = f"""
        set -e
        ip link set lo up
        bash door.sh >&2
        bash root/usr/local/sbin/ai-lab-door
        iptables -t mangle -S | grep -c ai-lab-door
        {sys.executable} knock.py
    """
    told = plain_environment(LAB_ROOT=str(tmp_path / "root"))
    told["PATH"] = f"{systemctl.parent}:{told['PATH']}"
    ran = subprocess.run(
        [*APART, "bash", "-c", program], cwd=tmp_path, env=told, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    rules, found = ran.stdout.splitlines()
    assert rules == "1"
    counted = json.loads(found)
    assert BURST <= counted["first"] <= BURST + counted["seconds"] + 1
    assert (counted["other"], counted["else"]) == (20, 80)
    assert f"{BURST} times" in (PROJECT / "provisioning/host/door.sh").read_text()

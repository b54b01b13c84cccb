"""A stage for the host scripts: a tree of their own, and only the commands that a case sets up.

Nothing of this machine is touched or seen: only what is linked into that tree is on PATH.
"""

import shutil
import subprocess
from pathlib import Path

from provisioning.host import script

# What a server brings. Everything else is a fake of the case, or missing.
TOOLS = [
    "awk", "bash", "basename", "cat", "chmod", "chown", "cmp", "cp", "cut", "dirname", "env",
    "grep", "head", "id", "mkdir", "mktemp", "mv", "nohup", "rm", "sed", "sha256sum", "sleep",
    "stat", "tail", "tee", "timeout", "tr", "wc",
]  # fmt: skip

# What answers as on a server that has nothing yet; the web has keys, and apt brings nothing.
USUAL = {
    "dpkg": "echo amd64",
    "dpkg-query": "exit 1",
    "uname": "echo 5.15.0-1",
    "curl": "echo '-----BEGIN PGP PUBLIC KEY BLOCK-----'",
    **dict.fromkeys(
        ("systemctl", "sshd", "apt-mark", "apt-get", "modprobe", "reboot", "iptables"), "exit 0"
    ),
}


class Server:
    """A login's home, a system tree, and the commands on PATH."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root, self.bin = folder / "home", folder / "root", folder / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        self.write("etc/os-release", 'NAME="Ubuntu"\nVERSION_CODENAME=jammy\n')
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"this machine has no {tool}"
            (self.bin / tool).symlink_to(found)
        self._calls = folder / "calls"
        self._calls.touch()
        self.fake(**USUAL)

    def fake(self, **bodies: str) -> None:
        """Commands that note their call and then do what the case says."""
        for name, body in bodies.items():
            path = self.bin / name
            path.unlink(missing_ok=True)
            path.write_text(f'#!/bin/bash\necho "{name} $*" >>"{self._calls}"\n{body}\n')
            path.chmod(0o755)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str | None:
        return (self.root / path).read_text() if (self.root / path).exists() else None

    def run(self, name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a script as the step does; what it says and its errors come back in one text."""
        (self.home / f"{name}.sh").write_text(script(name))
        return self.start(f"{name}.sh", *arguments, stdin=stdin)

    def passes(self, name: str, *arguments: str, stdin: str = "") -> str:
        """Runs a script that has to succeed; what it said."""
        run = self.run(name, *arguments, stdin=stdin)
        assert run.returncode == 0, run.stdout
        return run.stdout

    def fails(self, name: str, *arguments: str, stdin: str = "") -> str:
        """Runs a script that has to refuse; what it said."""
        run = self.run(name, *arguments, stdin=stdin)
        assert run.returncode == 1, run.stdout
        return run.stdout

    def start(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a script that lies in the login's home."""
        return subprocess.run(
            ["bash", *words],
            cwd=self.home,
            env={"PATH": str(self.bin), "LAB_ROOT": str(self.root), "HOME": str(self.home)},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, start: str) -> list[str]:
        """The calls so far that begin like this, their paths as on a server."""
        calls = self._calls.read_text().replace(f"{self.root}/", "/").splitlines()
        return [call for call in calls if call.startswith(start)]

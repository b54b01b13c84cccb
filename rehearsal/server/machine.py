"""A rented server of the stage: it boots, answers SSH, has a Docker, reboots, and goes away.

It takes the lab's own host scripts, in a real bash, but has nothing of Ubuntu beyond stubs
(`stubs/`): every package is installed, every service runs. What the scripts do to a system is tried
on a real server.
"""

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
from pathlib import Path

import asyncssh

from rehearsal.docker.ports import Admits
from rehearsal.docker.records import Records
from rehearsal.processes import Lifeline
from rehearsal.server.description import Description
from rehearsal.server.docker_cli import docker
from rehearsal.server.sshd import SshDaemon

_HERE = Path(__file__).parent
_FOLDERS = ("etc/docker", "etc/ssh", "root/.ssh", "run", "tmp", "usr/bin", "var/lib/dpkg")
_OS_RELEASE = 'VERSION_ID="22.04"\nVERSION_CODENAME=jammy\nID=ubuntu\n'
_TOOLS = (_HERE / "tools.txt").read_text().split()
"""What the scripts use of every Linux; nothing else is on PATH, so nothing else can be hit."""

_SSHD_AFTER_SECONDS = 0.4
"""A booting server refuses connections for a while; so does this one."""


class Machine:
    """One server, in the event loop that runs. `admits` is the firewall in front of it."""

    def __init__(self, description: Description, admits: Admits) -> None:
        self.description = description
        self.root = Path(description.root)
        self.host_key_file = self.root / "etc/ssh/ssh_host_ed25519_key"
        self.lifeline = Lifeline()
        self.records = Records(description, admits, self.lifeline)
        self._socket = f"rehearsal-{secrets.token_hex(16)}"
        self._sshd = SshDaemon(self)
        self._boot: asyncio.Task[None] | None = None
        self._commands: asyncio.Server | None = None

    def environment(self) -> dict[str, str]:
        """What a login finds. `LAB_ROOT` stands for `/`: the host scripts put it before system
        paths, so that nothing outside of the tree is written."""
        root = self.root
        gpus = (f"{gpu['name']}, 0, {gpu['memory_mib']}" for gpu in self.description.gpus)
        return {
            "HOME": str(root / "root"),
            "USER": "root",
            "PATH": f"{_HERE / 'stubs'}:{root / 'usr/bin'}",
            "TMPDIR": str(root / "tmp"),
            "LAB_ROOT": str(root),
            "STAGE_PYTHON": sys.executable,
            "STAGE_CLIENT": str(_HERE / "client.py"),
            "STAGE_SOCKET": self._socket,
            "STAGE_GPUS": "\n".join(gpus),
        }

    async def start(self) -> None:
        """Switch it on; comes back at once, while it boots."""
        if self._boot is not None:
            return
        if not (self.root / "etc/os-release").exists():
            self._install()
        if self._commands is None:
            place = "\0" + self._socket
            self._commands = await asyncio.start_unix_server(self._command, path=place)
        self._boot = asyncio.create_task(self._boot_up())

    async def stop(self) -> None:
        """Switch it off, with every process on it. The disk stays."""
        if self._boot is None:
            return
        self._boot.cancel()
        self._boot = None
        self._sshd.close()
        await self.records.go_down()

    async def _boot_up(self) -> None:
        await asyncio.sleep(_SSHD_AFTER_SECONDS)
        await self._sshd.open()
        await self.records.come_up()

    def _install(self) -> None:
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for tool in _TOOLS:
            real = shutil.which(tool, path="/usr/bin:/bin")
            if real:
                (self.root / "usr/bin" / tool).symlink_to(real)
        (self.root / "etc/os-release").write_text(_OS_RELEASE)
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key_file.write_bytes(key.export_private_key())
        self.host_key_file.chmod(0o600)
        authorized = self.root / "root/.ssh/authorized_keys"
        authorized.write_text(f"{self.description.authorized_key.strip()}\n")

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            answer = await docker(self.records, json.loads(await reader.readline()))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

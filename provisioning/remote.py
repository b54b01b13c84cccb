"""What every `pulumi up` asks of the server itself, by commands over its one SSH connection.

Remote commands of the engine only run when something changed, and the Docker provider only looks in
a refresh (`docs/facts/measured.md §3`).
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from provisioning.clients.errors import NotFound, Refused
from provisioning.down_causes import cause
from provisioning.tunnel import CommandFailed, SshServer, run

UPLOAD_SECONDS = 300.0
_LOG_LINES = 50


@dataclass(frozen=True)
class Container:
    """A container as `docker ps` shows it.

    `state`: `running`, `exited`, ..., or "" for gone. `status`: `Up 3 minutes (healthy)`, ...
    `cause`: why it is down, where that is known.
    """

    name: str
    state: str
    status: str
    cause: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it runs and its health check passes."""
        return self.state == "running" and "(healthy)" in self.status

    @property
    def ended(self) -> bool:
        """Whether it stays as it is until somebody starts it."""
        return self.state in ("exited", "created", "dead")

    def __str__(self) -> str:
        why = f": {self.cause}" if self.cause else ""
        return f"{self.name} ({self.status or 'gone'}{why})"


class DockerDown(Refused):
    """The server answers, and Docker on it does not."""


def answers(server: SshServer) -> None:
    """Return if the server lets us in; ServerUnreachable, HostKeyChanged or KeyRefused if not."""
    run(server, "true")


def containers(server: SshServer, names: Sequence[str]) -> list[Container]:
    """The containers of these names, in that order; one that is not there has no state."""
    try:
        told = run(server, "docker ps --all --format '{{.Names}} {{.State}} {{.Status}}'")
    except CommandFailed as error:
        advice = "`systemctl start docker` on the server, and `journalctl -u docker` for why"
        raise DockerDown("Docker", f"on {server.place}", f"{error.answer}; {advice}") from None
    rows = {line.split(" ", 1)[0]: line.split(" ", 2) for line in told.splitlines()}
    found = [Container(*rows.get(name, (name, "", ""))) for name in names]
    return [replace(one, cause=_cause(server, one)) for one in found]


def _cause(server: SshServer, one: Container) -> str:
    # What was stopped tells in its log how it once started.
    if one.healthy or one.ended or not one.state:
        return ""
    return cause(one.name, one.status, last_log(server, one.name))


def last_log(server: SshServer, name: str, lines: int = _LOG_LINES) -> str:
    """What a container said since its last start, never to be shown: secrets may stand in it. "" if
    it is gone."""
    name = shlex.quote(name)
    started = f"docker inspect --format '{{{{.State.StartedAt}}}}' {name}"
    try:
        return run(server, f'docker logs --since "$({started})" --tail {lines} {name} 2>&1')
    except CommandFailed:
        return ""


def start_container(server: SshServer, name: str) -> None:
    """Start a container that was stopped."""
    run(server, shlex.join(["docker", "start", name]))


def file_sha256(server: SshServer, path: str) -> str:
    """The hash of a file on the server; NotFound where there is none."""
    told = run(server, f"test ! -e {shlex.quote(path)} || sha256sum {shlex.quote(path)}")
    if not told:
        raise NotFound("SSH", f"read {path} on {server.place}", "no such file")
    return told.split()[0]


def put_file(server: SshServer, path: str, content: bytes) -> None:
    """Write a file that everybody may read, in one move: nobody ever sees half of it."""
    folder, new = shlex.quote(path.rpartition("/")[0] or "."), shlex.quote(f"{path}.new")
    command = f"mkdir -p {folder} && cat >{new} && chmod 0644 {new} && mv -f {new} "
    run(server, command + shlex.quote(path), content, UPLOAD_SECONDS)

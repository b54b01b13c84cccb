"""A file on the server."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from provisioning import remote
from provisioning.clients.errors import NotFound, Unexpected
from stack.resources.base import LabResource
from stack.resources.declaration import ID, IDENTITY, IGNORED, Lab
from stack.resources.server.watched import Watched


@dataclass(frozen=True, kw_only=True)
class File(Watched):
    """A file on the server that everybody there may read.

    Args:
        path: there, relative to the login's home.
        source: here; where it lies means nothing.
        sha256: of its content.
    """

    path: Annotated[str, IDENTITY, ID]
    source: Annotated[str, IGNORED]
    sha256: str

    def create(self, lab: Lab) -> "File":
        """Write it, and read back what came."""
        server = lab.server(self.endpoint)
        remote.put_file(server, self.path, Path(self.source).read_bytes())
        found = remote.file_sha256(server, self.path)
        if found != self.sha256:
            said = f"sha256 {found} came, {self.sha256} was sent; is the disk full?"
            raise Unexpected("SSH", f"write {self.path} on {server.place}", said)
        return self

    def read(self, lab: Lab) -> "File | None":
        """The hash of what lies there."""
        try:
            found = remote.file_sha256(lab.server(self.endpoint), self.path)
        except NotFound:
            return None
        return replace(self, sha256=found)

    def amiss(self, lab: Lab) -> str:
        """Whether it is damaged or gone."""
        if self.read(lab) == self:
            return ""
        return f"{self.path} on the server is damaged or gone; `pulumi up` brings it back"


class ServerFile(LabResource, thing=File, token="server:File"):
    pass

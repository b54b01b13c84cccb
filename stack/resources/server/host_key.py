"""The server's SSH host key, read at the first contact and held to from then on."""

from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.tunnel import scan_host_key
from stack.resources.base import LabResource, say
from stack.resources.declaration import IDENTITY, OUTPUT, REACH, Lab, Thing

CONTACT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class HostKey(Thing):
    """The SSH host key of the server at this address, e.g. `ssh-ed25519 AAAA...`.

    Another machine, by the cloud's `instance_id`, has another key.
    """

    host: Annotated[str, REACH]
    port: Annotated[int, REACH] = 22
    instance_id: Annotated[str | None, IDENTITY] = None
    host_key: Annotated[str, OUTPUT] = ""

    def create(self, lab: Lab) -> "HostKey":
        """Wait for the SSH server, ten minutes at the most, and take its key down."""
        told = say(f"ssh {self.host}")
        key = scan_host_key(self.host, self.port, CONTACT_SECONDS, clock=lab.clock, progress=told)
        return replace(self, host_key=key)


class ServerHostKey(LabResource, thing=HostKey, token="server:HostKey"):
    host_key: pulumi.Output[str]

"""How the seeding resources reach a service: through one SSH tunnel to the server."""

from __future__ import annotations

from stack.resources.declaration import Endpoint, Login
from stack.server import Server


def endpoint(server: Server, port: int) -> Endpoint:
    """The `endpoint` input of a seeding resource.

    The key that opens the tunnel is not part of it: it belongs to the operator, not to the state.
    """
    return {**login(server), "port": port}


def login(server: Server) -> Login:
    """The `endpoint` input of what looks at the server itself."""
    return {
        "host": server.address,
        "ssh_port": server.ssh_port,
        "user": server.user,
        "host_key": server.host_key,
    }

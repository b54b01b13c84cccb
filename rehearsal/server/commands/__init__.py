"""The commands of a rehearsed server. An option that a command does not have is an error."""

from rehearsal.server.commands import (  # noqa: F401  (imported to be registered)
    apt,
    docker,
    gpu,
    host,
    network,
    systemd,
)

"""This machine's Docker engine, in which the servers are containers.

`python -m rehearsal.real_server.engine` says what is wrong with it, or nothing.
"""

import sys

import docker
from docker.errors import DockerException

_OLDEST_API = (1, 41)
"""Docker 20.10: the first that can run systemd on cgroup v2."""


class NoEngine(Exception):
    """No real server can be made here; the text says why and what to do."""


def local_engine() -> docker.DockerClient:
    """The engine, which answers.

    Raises:
        NoEngine: not Linux, no engine, one that is too old, or no right to use it.
    """
    if sys.platform != "linux":
        raise NoEngine("a real server needs Linux: systemd and Docker run in a container of it")
    try:
        client = docker.from_env(timeout=600)
        version = str(client.version()["ApiVersion"])
    except (DockerException, OSError) as error:
        raise NoEngine(_advice(str(error))) from error
    if tuple(map(int, version.split("."))) < _OLDEST_API:
        raise NoEngine(f"Docker with API {version} is here, and 1.41 (20.10) or later is needed")
    return client


def _advice(said: str) -> str:
    if "Permission denied" in said:
        return (
            "this user may not use Docker: `sudo usermod -aG docker $USER`, then log in again "
            "(or run it as root)"
        )
    return (
        "no Docker engine answers here: `sudo apt-get install docker.io && sudo systemctl start "
        f"docker` (without systemd: `sudo dockerd &`). Docker's client says: {said}"
    )


if __name__ == "__main__":
    try:
        local_engine()
    except NoEngine as reason:
        sys.exit(str(reason))

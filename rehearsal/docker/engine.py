"""What the attached docker provider asks of a Docker engine.

Configurations and answers are the JSON of Docker's Engine API (v1.44 and later): a configuration is
the body of `POST /containers/create`, `/networks/create` or `/volumes/create`, an answer that of
the object's `GET .../json`. So an implementation over the Docker SDK for Python only hands them on.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

Json: TypeAlias = dict[str, Any]
"""An object of Docker's Engine API."""


class EngineError(Exception):
    """The engine refuses: the text is its own, `status` that of the Engine API (404: not there)."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(Exception):
    """Nobody answers for the engine; the text says whom was asked and what came."""


class Engine(Protocol):
    """A Docker engine. A container, network or volume is named by its id or its name.

    Every method raises `EngineError` where the engine refuses, with status 404 where the object is
    not there, and `Unreachable` where the engine cannot be asked.
    """

    def create_container(self, name: str, config: Json) -> str:
        """Make it without starting it; its id. Without networks of its own it is in `bridge`."""

    def connect_network(self, network: str, container: str, aliases: list[str]) -> None:
        """Put a container into a network, known there by its name and `aliases`."""

    def disconnect_network(self, network: str, container: str) -> None:
        """Take a container out of a network."""

    def put_file(self, container: str, path: str, content: bytes, mode: int) -> None:
        """Write a file at an absolute path inside, owned by root; missing folders are made."""

    def start_container(self, container: str) -> None:
        """Start it; one that runs is left alone."""

    def stop_container(self, container: str, seconds: int) -> None:
        """End its process, by force after `seconds`; one that has ended is left alone."""

    def remove_container(self, container: str, volumes: bool) -> None:
        """Remove it, running or not; with `volumes` also the unnamed volumes made for it."""

    def update_container(self, container: str, config: Json) -> None:
        """Change what may change in place: `Memory`, `MemorySwap` (bytes), `RestartPolicy`."""

    def inspect_container(self, container: str) -> Json:
        """As `docker inspect` shows it."""

    def create_network(self, config: Json) -> str:
        """Make a network; its id."""

    def inspect_network(self, network: str) -> Json:
        """As `docker network inspect` shows it."""

    def remove_network(self, network: str) -> None:
        """Remove it; refused with status 403 while a container is in it."""

    def create_volume(self, config: Json) -> Json:
        """Make a volume, or find the one of this name; as `docker volume inspect` shows it."""

    def inspect_volume(self, volume: str) -> Json:
        """As `docker volume inspect` shows it."""

    def remove_volume(self, volume: str) -> None:
        """Remove it; refused with status 409 while a container has it."""

    def pull_image(self, reference: str) -> None:
        """Fetch an image; comes back when it is there."""

    def inspect_image(self, reference: str) -> Json:
        """A local image by name or id, as `docker image inspect` shows it."""

    def remove_image(self, reference: str, force: bool) -> None:
        """Untag or remove a local image."""

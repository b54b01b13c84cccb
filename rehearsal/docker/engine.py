"""What the attached docker provider asks of a Docker engine.

Configurations and answers are the JSON of Docker's Engine API (v1.44 and later), so an
implementation over the Docker SDK for Python only hands them on.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rehearsal.real_server.over_ssh import OverSsh

Json: TypeAlias = dict[str, Any]
"""An object of Docker's Engine API."""


class EngineError(Exception):
    """The engine refuses: the text is its own, `status` that of the Engine API (404: not there)."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(Exception):
    """Nobody answers for the engine; the text says whom was asked and what came."""


Engine: TypeAlias = "OverSsh"
"""What both engines can do, the stage's as well; a container, network or volume is named by its id
or its name. Every method raises `EngineError` where the engine refuses and `Unreachable` where it
cannot be asked."""

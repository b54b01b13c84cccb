"""A password, drawn once; only the state knows it."""

import secrets
import string
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from stack.resources.base import LabResource
from stack.resources.declaration import IDENTITY, OUTPUT, SECRET, Lab, Thing

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, kw_only=True)
class Password(Thing):
    """Letters and digits, which need no escaping in any URL, DSN or shell.

    Args:
        length: in characters.
        rotation: any number; another one draws anew. None for a password that is kept for life.
    """

    length: Annotated[int, IDENTITY]
    rotation: Annotated[int | None, IDENTITY] = None
    result: Annotated[str, OUTPUT, SECRET] = ""

    def create(self, lab: Lab) -> "Password":  # noqa: ARG002
        """Draw it."""
        return replace(self, result="".join(secrets.choice(_ALPHABET) for _ in range(self.length)))


class LabPassword(LabResource, thing=Password, token="lab:Password"):
    result: pulumi.Output[str]

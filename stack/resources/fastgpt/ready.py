"""Whether FastGPT is up, with the catalogue's models and the database of its vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import pulumi

from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.http import (
    Refused,
    Unauthorized,
    Unexpected,
    Unreachable,
    Waiting,
    wait_until,
)
from stack.resources.base import LabResource, say
from stack.resources.declaration import IGNORED, OUTPUT, Lab
from stack.resources.fastgpt.session import POLL_SECONDS, SERVICE, Managed

REREAD_SECONDS = 120.0
Models = Mapping[str, Sequence[str]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ready(Managed):
    """Waits until FastGPT serves the catalogue's models, root can log in, and it has vectors."""

    models: Models
    deadline_minutes: Annotated[float, IGNORED] = 10
    generation: str | None = None
    version: Annotated[str, OUTPUT] = ""

    @property
    def id(self) -> str:
        """There is one."""
        return "fastgpt"

    def create(self, lab: Lab) -> Ready:
        """Wait for it."""
        give_up_at = lab.clock.monotonic() + 60 * float(self.deadline_minutes)
        with self.client(lab) as client:
            found = _await(
                "FastGPT to run with this catalogue's models",
                lambda: self._running(client),
                client,
                give_up_at,
                "read `docker logs fastgpt` on the server; it reads config.json at its start "
                "only, so a changed one needs a new container, and it answers nothing at all while "
                "it cannot reach MongoDB (`docker ps -a` shows mongo)",
            )
            client.login()
            _await(
                "FastGPT's vector database",
                lambda: Waiting(problem) if (problem := _vector_problem(client)) else True,
                client,
                give_up_at,
                "see whether PostgreSQL is up: `docker ps -a` and `docker logs pg` on the server; "
                "FastGPT goes on dialling, and logs `pg connect error` for each attempt "
                "(`docker logs fastgpt`)",
            )
        return replace(self, version=found.version)

    def read(self, lab: Lab) -> Ready:
        """With the models that it has; without its vectors, no model for them is there."""
        with self.client(lab) as client:
            found = wait_until(
                "FastGPT's models",
                lambda: _init_data(client),
                service=SERVICE,
                deadline=REREAD_SECONDS,
                every=POLL_SECONDS,
                clock=lab.clock,
                tolerate=(),
            )
            silent = _vector_problem(client)
        if silent:
            # Not an error: what makes PostgreSQL anew comes after this look.
            pulumi.log.warn(f"FastGPT: {silent}")
            return replace(self, models={**_models_of(found), "vector": []})
        return self if not self._problem(found) else replace(self, models=_models_of(found))

    def _running(self, client: FastGptClient) -> InitData | Waiting:
        found = _init_data(client)
        if isinstance(found, Waiting):
            return found
        problem = self._problem(found)
        return Waiting(problem) if problem else found

    def _problem(self, found: InitData) -> str:
        """What differs from the catalogue; "" if nothing. The order does not count here."""
        problems = []
        for kind, names in _models_of(found).items():
            wanted = set(self.models.get(kind) or [])
            missing, extra = sorted(wanted - set(names)), sorted(set(names) - wanted)
            problems += [f"no {kind} model {name}" for name in missing]
            problems += [f"{kind} model {name} that is not in the catalogue" for name in extra]
        return ", ".join(problems)


def _await(
    what: str,
    look: Callable[[], T | Waiting],
    client: FastGptClient,
    give_up_at: float,
    advice: str,
) -> T:
    return wait_until(
        what,
        look,
        service=SERVICE,
        deadline=give_up_at - client.clock.monotonic(),
        advice=advice,
        every=POLL_SECONDS,
        clock=client.clock,
        progress=say(SERVICE),
    )


def _vector_problem(client: FastGptClient) -> str:
    """Why FastGPT cannot get at its vectors; "" where it can."""
    try:
        client.count_vectors()
    except Unauthorized:
        raise
    except (Refused, Unreachable) as error:
        return f"PostgreSQL does not answer it ({error.answer})"
    return ""


def _init_data(client: FastGptClient) -> InitData | Waiting:
    try:
        return client.init_data()
    except (Unexpected, Refused) as error:
        # While it sets itself up it answers errors and empty data.
        return Waiting(error.answer)


def _models_of(found: InitData) -> Models:
    return {"llm": list(found.llm), "vector": list(found.vector), "rerank": list(found.rerank)}


class FastGptReady(LabResource, thing=Ready, token="fastgpt:Ready"):
    """FastGPT, up with exactly these models and with the database of its vectors.

    Args:
        models: `{"llm": [...], "vector": [...], "rerank": [...]}`, names as in config.json.
        deadline_minutes: for the whole start.
        generation: any text; a change of it makes it be looked at again (a container's id).

    Outputs: `version`.
    """

    version: pulumi.Output[str]

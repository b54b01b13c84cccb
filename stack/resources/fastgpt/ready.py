"""Whether FastGPT is up, with the catalogue's models and the database of its vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.errors import Refused, Unauthorized, Unexpected
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import InitData
from provisioning.clients.waiting import Waiting
from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, Lab
from stack.resources.fastgpt.session import Managed, wait

START_SECONDS = 600.0
VECTORS_SECONDS = 300.0
REREAD_SECONDS = 120.0
Models = Mapping[str, Sequence[str]]

_VECTORS_ADVICE = (
    "see whether PostgreSQL is up: `docker ps -a` and `docker logs pg` on the server; FastGPT goes "
    "on dialling, and logs `pg connect error` for each attempt (`docker logs fastgpt`)"
)


@dataclass(frozen=True, kw_only=True)
class Ready(Managed):
    """Waits until FastGPT serves the catalogue's models, root can log in, and it has vectors."""

    models: Models
    generation: str | None = None
    version: Annotated[str, OUTPUT] = ""

    def create(self, lab: Lab) -> "Ready":
        """Wait for it."""
        with self.client(lab) as client:
            found = wait(
                "FastGPT to run with this catalogue's models",
                lambda: self._running(client),
                clock=client.clock,
                deadline=START_SECONDS,
                advice=client.start_advice,
            )
            if not client.token:
                client.login()
            wait(
                "FastGPT's vector database",
                lambda: Waiting(problem) if (problem := client.vector_problem()) else True,
                clock=client.clock,
                deadline=VECTORS_SECONDS,
                advice=_VECTORS_ADVICE,
            )
        return replace(self, version=found.version)

    def update(self, lab: Lab, old: "Ready", changed: frozenset[str]) -> "Ready":  # noqa: ARG002
        """With another password, nobody stays in by the one before."""
        made = self.create(lab)
        if old.password != self.password:
            with self.client(lab) as client:
                client.end_sessions()
        return made

    def read(self, lab: Lab) -> "Ready":
        """With the models that it has; without its vectors, no model for them is there."""
        with self.client(lab) as client:
            found = wait(
                "FastGPT's models",
                client.init_data,
                clock=client.clock,
                deadline=REREAD_SECONDS,
                advice=client.start_advice,
                tolerate=(Refused, Unexpected),
            )
            silent = client.vector_problem()
        if silent:
            # Not an error: what makes PostgreSQL anew comes after this look.
            pulumi.log.warn(f"FastGPT: {silent}")
            return replace(self, models={**_models_of(found), "vector": []})
        return replace(self, models=_models_of(found)) if self._problem(found) else self

    def _running(self, client: FastGptClient) -> InitData | Waiting:
        try:
            found = client.init_data()
        except Unauthorized:
            raise
        except (Refused, Unexpected) as error:
            # While it sets itself up it answers errors and empty data.
            return Waiting(str(error))
        problem = self._problem(found)
        return Waiting(problem) if problem else found

    def _problem(self, found: InitData) -> str:
        """What differs from the catalogue; "" if nothing. The order does not count here."""
        if not self.models:
            return ""
        problems = []
        for kind, names in _models_of(found).items():
            wanted, known = set(self.models.get(kind) or []), set(names)
            problems += [f"no {kind} model {name}" for name in sorted(wanted - known)]
            extra = sorted(known - wanted)
            problems += [f"{kind} model {name} that is not in the catalogue" for name in extra]
        return ", ".join(problems)


def _models_of(found: InitData) -> Models:
    return {"llm": list(found.llm), "vector": list(found.vector), "rerank": list(found.rerank)}


class FastGptReady(LabResource, thing=Ready, token="fastgpt:Ready"):
    """FastGPT, up with exactly these models and with the database of its vectors.

    `models` are `{"llm": [...], "vector": [...], "rerank": [...]}`, named as in config.json, and
    empty where FastGPT is told of them later; a change of `generation` makes FastGPT be looked at
    again.
    """

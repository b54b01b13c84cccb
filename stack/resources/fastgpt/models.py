"""FastGPT's models, where its API is told of them, each tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from provisioning.clients.errors import Refused, Unreachable
from provisioning.clients.fastgpt import FastGptClient
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, SECRET, Lab
from stack.resources.fastgpt.session import SERVICE, Managed, wait

TEST_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Models(Managed):
    """Has FastGPT use these models and no others; those of `tried` answer through it."""

    # A reranker's holds its key.
    models: Annotated[Sequence[Mapping[str, Any]], SECRET]
    tried: Annotated[Sequence[str], IGNORED] = ()

    def create(self, lab: Lab) -> "Models":
        """Set them all at once, and try each: nothing else tells that one cannot be reached."""
        with self.client(lab) as client:
            self._set(client)
            self._refuse_others(client)
            for name in self.tried:
                self._try(client, name)
        return self

    def read(self, lab: Lab) -> "Models":
        """Those that it has."""
        with self.client(lab) as client:
            return replace(self, models=client.models())

    def _set(self, client: FastGptClient) -> None:
        def look() -> bool:
            client.set_models(self.models)
            return True

        wait(
            "FastGPT to take its models",
            look,
            clock=client.clock,
            deadline=TEST_SECONDS,
            advice="it asks its plugin for them: `docker ps -a` and `docker logs plugin` on the "
            "server",
            every=10.0,
            tolerate=(Unreachable, Refused),
        )

    def _refuse_others(self, client: FastGptClient) -> None:
        """What it made something else of would be set anew by each `pulumi up`."""
        found = client.models()
        if found == list(self.models):
            return
        kept = {each["model"]: each for each in found}
        odd = [each["model"] for each in self.models if kept.get(each["model"]) != each]
        said = f"FastGPT kept something else of {', '.join(odd) or 'their order'}"
        raise Refused(SERVICE, "set its models", said)

    def _try(self, client: FastGptClient, name: str) -> None:
        def look() -> bool:
            client.test_model(name)
            return True

        wait(
            f"FastGPT to be answered by model {name}",
            look,
            clock=client.clock,
            deadline=TEST_SECONDS,
            advice="OneAPI must route it (`make status` shows its channels); a reranker is asked "
            "for in Xinference itself",
            every=10.0,
            tolerate=(Unreachable, Refused),
        )


class FastGptModels(LabResource, thing=Models, token="fastgpt:Models"):
    """The models of FastGPT, `models` as `provisioning.fastgpt_models` has them, secret.

    Nothing takes them away: they go with FastGPT's data.
    """

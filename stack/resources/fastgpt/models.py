"""FastGPT's models, where its API is told of them, each tried."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from provisioning.clients.errors import Refused, Unreachable
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.waiting import Waiting
from stack.resources.base import LabResource
from stack.resources.declaration import IGNORED, SECRET, Lab
from stack.resources.fastgpt.session import SERVICE, Managed, wait

TEST_SECONDS = 120.0
ACTIVE_SECONDS = 60.0
_OF_THE_SET = "it asks its plugin for them: `docker ps -a` and `docker logs plugin` on the server"
_OF_A_MODEL = (
    "OneAPI must route it (`make status` shows its channels); a reranker is asked for in "
    "Xinference itself"
)


@dataclass(frozen=True, kw_only=True)
class Models(Managed):
    """Has FastGPT use these models and no others; those of `tried` answer through it."""

    # A reranker's holds its key.
    models: Annotated[Sequence[Mapping[str, Any]], SECRET]
    tried: Annotated[Sequence[str], IGNORED] = ()

    def create(self, lab: Lab) -> "Models":
        """Set them all at once, and try each: nothing else tells that one cannot be reached."""
        with self.client(lab) as client:
            _done(client, "take its models", partial(client.set_models, self.models), _OF_THE_SET)
            self._refuse_others(client)
            wait(
                "FastGPT to have its models in use",
                lambda: Waiting(f"without {lost}") if (lost := self._lost(client)) else True,
                clock=client.clock,
                deadline=ACTIVE_SECONDS,
                advice=_OF_THE_SET,
                every=10.0,
                tolerate=(Unreachable, Refused),
            )
            for name in self.tried:
                ask = partial(client.test_model, name)
                _done(client, f"be answered by model {name}", ask, _OF_A_MODEL)
        return self

    def read(self, lab: Lab) -> "Models":
        """Those that it has in use: what is stored and not used, a default answers for."""
        with self.client(lab) as client:
            found, used = client.models(), client.init_data().active
        return replace(self, models=[each for each in found if _is_used(each, used)])

    def _lost(self, client: FastGptClient) -> str:
        """Those that are not in use."""
        used = client.init_data().active
        lost = (each for each in self.models if not _is_used(each, used))
        return ", ".join(f"{each['metadata']['type']} model {each['model']}" for each in lost)

    def _refuse_others(self, client: FastGptClient) -> None:
        """What it made something else of would be set anew by each `pulumi up`."""
        found = client.models()
        if found == list(self.models):
            return
        kept = {each["model"]: each for each in found}
        odd = [each["model"] for each in self.models if kept.get(each["model"]) != each]
        said = f"FastGPT kept something else of {', '.join(odd) or 'their order'}"
        raise Refused(SERVICE, "set its models", said)


def _is_used(model: Mapping[str, Any], used: Mapping[str, str]) -> bool:
    """Whether a model is in use, as what it is; one that was put aside by hand need not be."""
    told = model["metadata"]
    return not told.get("isActive") or used.get(model["model"]) == told["type"]


def _done(client: FastGptClient, what: str, call: Callable[[], None], advice: str) -> None:
    """Called until it is not refused: a restart of what FastGPT asks takes a while."""

    def look() -> bool:
        call()
        return True

    wait(
        f"FastGPT to {what}",
        look,
        clock=client.clock,
        deadline=TEST_SECONDS,
        advice=advice,
        every=10.0,
        tolerate=(Unreachable, Refused),
    )


class FastGptModels(LabResource, thing=Models, token="fastgpt:Models"):
    """The models of FastGPT, `models` as `provisioning.fastgpt_models` has them, secret.

    Nothing takes them away: they go with FastGPT's data.
    """

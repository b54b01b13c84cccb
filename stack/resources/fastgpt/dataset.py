"""A knowledge base."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from provisioning.clients.errors import Conflict
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.fastgpt.rows import Dataset as Row
from stack.resources.base import LabResource
from stack.resources.declaration import IDENTITY, Lab
from stack.resources.fastgpt.named import Kept
from stack.resources.fastgpt.session import SERVICE


@dataclass(frozen=True, kw_only=True)
class Dataset(Kept[Row]):
    """Upserts one dataset by its exact name."""

    # The new one would otherwise find the old one by its name.
    delete_first: ClassVar[bool] = True

    vector_model: Annotated[str, IDENTITY]
    agent_model: str
    intro: str = ""

    def listed(self, client: FastGptClient) -> Sequence[Row]:
        return client.datasets()

    def detail(self, client: FastGptClient) -> Row:
        """As FastGPT shows it; a model that config.json has lost shows as another, no drift."""
        found, known = client.dataset(self.object_id), client.init_data()
        listed = {"vector_model": known.vector, "agent_model": known.llm}
        ours = {key: getattr(self, key) for key in listed}
        lost = {key: name for key, name in ours.items() if name not in listed[key]}
        return found.model_copy(update=lost)

    def make(self, client: FastGptClient) -> Row:
        """Make it; its intro is set by an update only."""
        models = {"vector_model": self.vector_model, "agent_model": self.agent_model}
        return self._set(client, client.create_dataset(self.name, **models))

    def set_right(self, client: FastGptClient, found: Row, changed: frozenset[str] | None) -> Row:
        """Adopt only what has our embedding model, which stays for good."""
        if changed is None:
            self.refuse_several(client)
            model = client.dataset(found.id).vector_model
            if model != self.vector_model:
                said = (
                    f"one of that name exists with embedding model {model}, not "
                    f"{self.vector_model}; delete or rename it in the web page"
                )
                raise Conflict(SERVICE, f"adopt dataset {self.name}", said)
        return self._set(client, found.id)

    def put_aside(self, client: FastGptClient, other: Row) -> None:
        """Give a namesake another name."""
        kept = client.dataset(other.id)
        name = self.other_name(client)
        client.update_dataset(other.id, name=name, agent_model=kept.agent_model, intro=kept.intro)

    def delete(self, lab: Lab) -> None:
        """With its documents."""
        with self.client(lab) as client:
            client.delete_dataset(self.object_id)

    def _set(self, client: FastGptClient, dataset_id: str) -> Row:
        kept = {"name": self.name, "agent_model": self.agent_model, "intro": self.intro}
        client.update_dataset(dataset_id, **kept)
        return Row.model_validate({"id": dataset_id, "vector_model": self.vector_model, **kept})


class FastGptDataset(LabResource, thing=Dataset, token="fastgpt:Dataset"):
    """A knowledge base: `vector_model`, which embeds, makes it; `agent_model` processes files."""

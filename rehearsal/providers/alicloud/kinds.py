"""Resource types as tables (`kinds.json`): which action creates, describes, changes and deletes,
and which of its parameters and answers are which properties.

As in the bridged provider, a diff compares what is wanted with what the state says *is*, so an
attribute that the API answers differently shows a change at every preview.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rehearsal.providers.alicloud.client import ApiError, Client, at, tags_in
from rehearsal.providers.base import Change, Failure, Kind, ProviderError, differs
from rehearsal.providers.values import Properties, Value

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Table:
    """What one type is. Names of properties left, of the API's right.

    Attributes:
        resource: its name in errors (`alicloud_vpc`).
        actions: to create, describe, modify and delete it.
        rows: where the describing answer has it in a list (`KeyPairs.KeyPair`).
        sends: inputs that creating it sends; modifying it sends `modifies` of them.
        shows: outputs, by their dotted path in the describing answer.
        constant: outputs that the lab cannot change.
        tag_type: the ResourceType of its tags, "" where it has none.
        keeps: inputs that the cloud does not tell back, or tells in another form.
        optional_computed: inputs whose removal from the program changes nothing.
        computed, force_new: as `Kind`'s.
    """

    resource: str
    product: str
    actions: tuple[str, str, str, str]
    id_parameter: str
    sends: dict[str, str]
    shows: dict[str, str]
    rows: str = ""
    tag_type: str = ""
    tagged_at_birth: bool = True
    modifies: frozenset[str] = _NONE
    constant: Properties = field(default_factory=dict)
    defaults: Properties = field(default_factory=dict)
    computed: frozenset[str] = _NONE
    force_new: frozenset[str] = _NONE
    keeps: frozenset[str] = _NONE
    optional_computed: frozenset[str] = _NONE


TABLES = TypeAdapter(dict[str, Table]).validate_json(
    Path(__file__).with_suffix(".json").read_bytes()
)


class ApiKind(Kind):
    """What the resource types share."""

    def __init__(self, client: Client, table: Table) -> None:
        self._client = client
        self.table = table
        # The base has them once for each class; here each table has its own.
        vars(self).update(computed=table.computed, force_new=table.force_new)

    # --- what a change means ----------------------------------------------------------------------

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Fill in the provider's own defaults."""
        filled = {name: value for name, value in self.table.defaults.items() if name not in new}
        return {**new, **filled, "__defaults": sorted(filled)}, []

    def diff(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        ignore: Sequence[str],
    ) -> Change:
        """What is wanted against what the state says is."""
        now = {
            name: value if name in self.table.keeps else old_outputs.get(name, value)
            for name, value in old_inputs.items()
        }
        for name in new_inputs.keys() - now.keys():
            if name in old_outputs and not differs(old_outputs[name], new_inputs[name]):
                now[name] = new_inputs[name]
        wanted = dict(new_inputs)
        for name in self.table.optional_computed & (now.keys() - wanted.keys()):
            wanted[name] = now[name]
        for name in wanted.keys() & now.keys():
            if self.suppresses(name, now[name], wanted[name]):
                wanted[name] = now[name]
        return self.compare(now, wanted, ignore)

    def suppresses(self, name: str, old: Value, new: Value) -> bool:
        """Whether the provider takes `new` for no change of `old`."""
        return False

    # --- what is done -----------------------------------------------------------------------------

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Create it, tag it, and look at it."""
        table = self.table
        tags = inputs.get("tags") or {}
        sent = self.order(inputs) | ({"tags": tags} if table.tagged_at_birth else {})
        id = self.named(self.call(table.actions[0], **sent), inputs)
        if table.tag_type and not table.tagged_at_birth:
            self.tag(table.tag_type, id, {}, tags)
        self.settle(id, inputs)
        return id, self._present(id, inputs)

    def order(self, inputs: Properties) -> dict[str, Any]:
        """The parameters that create it."""
        return {there: inputs.get(here) for here, there in self.table.sends.items()}

    def named(self, answer: Any, inputs: Properties) -> str:  # noqa: ANN401
        """The id of what was created."""
        return str(answer[self.table.id_parameter])

    def settle(self, id: str, inputs: Properties) -> None:
        """What a fresh one still needs."""

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        """As the cloud describes it. Without inputs (an import) they are what it would take."""
        found = self.describe(id)
        if found is None:
            return None, {}, {}
        now = self.outputs(id, found, {**outputs, **inputs})
        wanted = inputs or {name: now[name] for name in self.table.sends if now.get(name)}
        refreshed = {
            name: value
            if name in self.table.keeps or self.suppresses(name, now.get(name, value), value)
            else now.get(name, value)
            for name, value in wanted.items()
        }
        return id, refreshed, now

    def update(
        self,
        id: str,
        old_inputs: Properties,
        old_outputs: Properties,
        new_inputs: Properties,
        timeout: float,
    ) -> Properties:
        """Change what differs, tags by calls of their own."""
        changed = set(self.diff(id, old_inputs, old_outputs, new_inputs, ()).updates)
        if self.table.tag_type and "tags" in changed:
            before = old_outputs.get("tags") or {}
            self.tag(self.table.tag_type, id, before, new_inputs.get("tags") or {})
        self.modify(id, changed, new_inputs)
        return self._present(id, new_inputs)

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        """Change those of its inputs in place."""
        table = self.table
        sent = {table.sends[name]: inputs.get(name, "") for name in changed & table.modifies}
        if sent:
            self.call(table.actions[2], **{table.id_parameter: id}, **sent)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Delete it; one that has gone is no error."""
        try:
            self.call(self.table.actions[3], **self.target(id))
        except ApiError as error:
            if not error.gone:
                raise

    # --- the cloud --------------------------------------------------------------------------------

    def target(self, id: str) -> dict[str, Any]:
        """How deleting names it."""
        return {self.table.id_parameter: id}

    def call(self, action: str, **parameters: Any) -> Any:  # noqa: ANN401
        """The answer to an action of the kind's product."""
        return self._client.call(self.table.resource, self.table.product, action, **parameters)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """The cloud's answer about it; None when it has gone."""
        try:
            answer = self.call(self.table.actions[1], **{self.table.id_parameter: id})
        except ApiError as error:
            if error.gone:
                return None
            raise
        if not self.table.rows:
            return answer
        found = at(answer, self.table.rows)
        return found[0] if found else None

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        """Its properties from the describing answer; `known` holds what the cloud does not tell."""
        table = self.table
        shown = {name: at(found, path) for name, path in table.shows.items()}
        kept = {name: known[name] for name in table.keeps if name in known}
        tags = {"tags": tags_in(found)} if table.tag_type else {}
        return {"id": id, **table.constant, **shown, **kept, **tags}

    def tag(self, type: str, id: str, old: Properties, new: Properties) -> None:
        """Give it the tags `new` instead of `old`."""
        if gone := sorted(old.keys() - new.keys()):
            self.call("UntagResources", ResourceType=type, ResourceId=[id], TagKey=gone)
        if fresh := {key: value for key, value in new.items() if old.get(key) != value}:
            self.call("TagResources", ResourceType=type, ResourceId=[id], tags=fresh)

    def _present(self, id: str, inputs: Properties) -> Properties:
        found = self.describe(id)
        if found is None:
            raise ProviderError(f"{id} does not exist any more; run `pulumi refresh`")
        return self.outputs(id, found, inputs)

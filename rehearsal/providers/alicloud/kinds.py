"""Resource types as tables (`kinds.json`): which action creates, describes, changes and deletes,
and which of its parameters and answers are which properties.

As in the bridged provider, a diff compares what is wanted with what the state says *is*, so an
attribute that the API answers differently shows a change at every preview.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rehearsal.providers.alicloud.client import Answer, ApiError, Client, at, tags_in
from rehearsal.providers.base import (
    Change,
    Failure,
    Kind,
    ProviderError,
    State,
    differs,
    unknown_inputs,
)
from rehearsal.providers.values import Properties, Value

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Table:
    """What one type is. Names of properties left, of the API's right.

    Attributes:
        resource: its name in errors (`alicloud_vpc`).
        also_asks: further actions that describe it.
        rows: where the describing answer has it in a list (`KeyPairs.KeyPair`).
        sends: inputs that creating it sends.
        modifies: action to the inputs that it changes.
        settles: inputs that a fresh one gets by changing it.
        takes: the other inputs that a lab gives; any more is refused.
        shows: outputs, by their dotted path in the describing answer.
        constant: outputs that the lab cannot change.
        tag_type: the ResourceType of its tags, "" where it has none.
        keeps: inputs that the cloud does not tell back.
        defaults: the provider's own; the cloud has no use for them.
        optional_computed: inputs whose removal from the program changes nothing.
        computed, force_new: as `Kind`'s.
    """

    resource: str
    product: str
    creates: str
    describes: str
    deletes: str
    id_parameter: str
    sends: dict[str, str]
    shows: dict[str, str]
    also_asks: tuple[str, ...] = ()
    rows: str = ""
    tag_type: str = ""
    modifies: dict[str, dict[str, str]] = field(default_factory=dict)
    settles: frozenset[str] = _NONE
    takes: frozenset[str] = _NONE
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
        """Fill in the provider's own defaults; what would be lost on the way is refused."""
        table = self.table
        failures = unknown_inputs(new, table.sends.keys() | table.settles | table.takes)
        filled = {name: value for name, value in table.defaults.items() if name not in new}
        return {**new, **filled, "__defaults": sorted(filled)}, failures

    def diff(self, old: State, new: Properties, ignore: Sequence[str]) -> Change:
        """What is wanted against what the state says is."""
        now = {
            name: value if name in self.table.keeps else old.outputs.get(name, value)
            for name, value in old.inputs.items()
        }
        for name in new.keys() - now.keys():
            if name in old.outputs and not differs(old.outputs[name], new[name]):
                now[name] = new[name]
        wanted = dict(new)
        for name in self.table.optional_computed & (now.keys() - wanted.keys()):
            wanted[name] = now[name]
        for name in wanted.keys() & now.keys():
            if self.suppresses(name, now[name], wanted[name]):
                wanted[name] = now[name]
        return self.compare(now, wanted, ignore)

    def suppresses(self, name: str, old: Value, new: Value) -> bool:
        """Whether the provider takes `new` for no change of `old`."""
        return name in self.table.defaults

    # --- what is done -----------------------------------------------------------------------------

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Create it, give it what creating does not, and look at it."""
        table = self.table
        sent = {there: inputs.get(here) for here, there in table.sends.items()}
        id = self.named(self.call(table.creates, **sent), inputs)
        self.modify(id, {name for name in table.settles if inputs.get(name)}, {}, inputs)
        return id, self._present(id, inputs)

    def named(self, answer: Answer, inputs: Properties) -> str:
        """The id of what was created."""
        return str(answer[self.table.id_parameter])

    def read(self, old: State) -> State | None:
        """As the cloud describes it. Without inputs (an import) they are what it would take."""
        found = self.describe(old.id)
        if found is None:
            return None
        now = self.outputs(old.id, found, {**old.outputs, **old.inputs})
        wanted = old.inputs or {name: now[name] for name in self.table.sends if now.get(name)}
        refreshed = {
            name: value
            if name in self.table.keeps or self.suppresses(name, now.get(name, value), value)
            else now.get(name, value)
            for name, value in wanted.items()
        }
        return State(old.id, refreshed, now)

    def update(self, old: State, new: Properties, timeout: float) -> Properties:
        self.modify(old.id, set(self.diff(old, new, ()).updates), old.outputs, new)
        return self._present(old.id, new)

    def modify(self, id: str, changed: set[str], old: Properties, new: Properties) -> None:
        """Change those of its inputs in place, tags by calls of their own."""
        if "tags" in changed:
            self.tag(self.table.tag_type, id, old.get("tags") or {}, new.get("tags") or {})
        for action, inputs in self.table.modifies.items():
            sent = {there: new.get(here, "") for here, there in inputs.items() if here in changed}
            if sent:
                self.call(action, **{self.table.id_parameter: id}, **sent)

    def delete(self, old: State, timeout: float) -> None:
        """Delete it; one that has gone is no error."""
        try:
            self.call(self.table.deletes, **self.target(old.id))
        except ApiError as error:
            if not error.gone:
                raise

    # --- the cloud --------------------------------------------------------------------------------

    def target(self, id: str) -> dict[str, Any]:
        """How deleting names it."""
        return {self.table.id_parameter: id}

    def call(self, action: str, **parameters: Any) -> Answer:  # noqa: ANN401
        return self._client.call(self.table.resource, self.table.product, action, **parameters)

    def describe(self, id: str) -> Answer | None:
        """The cloud's answer about it; None when it has gone."""
        named = {self.table.id_parameter: id}
        try:
            answer = self.call(self.table.describes, **named)
            rows = at(answer, self.table.rows) if self.table.rows else [answer]
            for action in self.table.also_asks if rows else ():
                rows[0] |= self.call(action, **named)
        except ApiError as error:
            if error.gone:
                return None
            raise
        return next(iter(rows), None)

    def outputs(self, id: str, found: Answer, known: Properties) -> Properties:
        """Its properties from the describing answer; `known` holds what the cloud does not tell."""
        table = self.table
        shown = {name: at(found, path) for name, path in table.shows.items()}
        kept = {name: known[name] for name in table.keeps if name in known}
        tags = {"tags": tags_in(found)} if table.tag_type else {}
        return {"id": id, **table.constant, **shown, **kept, **tags}

    def tag(self, type: str, id: str, old: Properties, new: Properties) -> None:
        """Give it the tags `new` instead of `old`."""
        if gone := sorted(old.keys() - new.keys()):
            untag = "UnTagResources" if self.table.product == "vpc" else "UntagResources"
            self.call(untag, ResourceType=type, ResourceId=[id], TagKey=gone)
        if fresh := {key: value for key, value in new.items() if old.get(key) != value}:
            self.call("TagResources", ResourceType=type, ResourceId=[id], tags=fresh)

    def _present(self, id: str, inputs: Properties) -> Properties:
        found = self.describe(id)
        if found is None:
            raise ProviderError(f"{id} does not exist any more; run `pulumi refresh`")
        return self.outputs(id, found, inputs)

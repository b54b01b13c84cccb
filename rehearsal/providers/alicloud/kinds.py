"""Resource types as tables: which action creates, describes, changes and deletes, and which of its
parameters and answers are which properties.

As in the bridged provider, a diff compares what is wanted with what the state says *is*, so an
attribute that the API answers differently shows a change at every preview.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rehearsal.providers.alicloud.client import ApiError, Client, at, tags_in
from rehearsal.providers.base import Change, Failure, Kind, ProviderError, differs
from rehearsal.providers.values import UNKNOWN, Properties, Value


class ApiKind(Kind):
    """What the resource types share. Names of properties left, of the API's right."""

    resource: ClassVar[str]
    """Its name in errors (`alicloud_vpc`)."""

    product: ClassVar[str]
    actions: ClassVar[tuple[str, str, str, str]]
    """To create, describe, modify and delete it."""

    id_parameter: ClassVar[str]
    rows: ClassVar[str] = ""
    """Where the describing answer has it in a list (`KeyPairs.KeyPair`)."""

    sends: ClassVar[dict[str, str]]
    """Inputs that creating it sends."""

    modifies: ClassVar[frozenset[str]] = frozenset()
    """Those of them that modifying it sends."""

    shows: ClassVar[dict[str, str]]
    """Outputs, by their dotted path in the describing answer."""

    constant: ClassVar[Properties] = {}
    """Outputs that the lab cannot change."""

    tag_type: ClassVar[str] = ""
    """The ResourceType of its tags, "" where it has none."""

    tagged_at_birth: ClassVar[bool] = True
    keeps: ClassVar[frozenset[str]] = frozenset()
    """Inputs that the cloud does not tell back, or tells in another form."""

    optional_computed: ClassVar[frozenset[str]] = frozenset()
    """Inputs whose removal from the program changes nothing."""

    defaults: ClassVar[Properties] = {}

    def __init__(self, client: Client) -> None:
        self._client = client

    # --- what a change means ----------------------------------------------------------------------

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """Fill in the provider's own defaults."""
        filled = {name: value for name, value in self.defaults.items() if name not in new}
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
            name: value if name in self.keeps else old_outputs.get(name, value)
            for name, value in old_inputs.items()
        }
        for name in new_inputs.keys() - now.keys():
            if name in old_outputs and not differs(old_outputs[name], new_inputs[name]):
                now[name] = new_inputs[name]
        wanted = dict(new_inputs)
        for name in self.optional_computed & (now.keys() - wanted.keys()):
            wanted[name] = now[name]
        for name in wanted.keys() & now.keys():
            if self.suppresses(name, now[name], wanted[name], new_inputs):
                wanted[name] = now[name]
        return self.compare(now, wanted, ignore)

    def suppresses(self, name: str, old: Value, new: Value, inputs: Properties) -> bool:
        """Whether the provider takes `new` for no change of `old`."""
        return False

    # --- what is done -----------------------------------------------------------------------------

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Create it, tag it, and look at it."""
        id = str(self.call(self.actions[0], **self.order(inputs))[self.id_parameter])
        self.settle(id, inputs)
        return id, self._present(id, inputs)

    def order(self, inputs: Properties) -> dict[str, Any]:
        """The parameters that create it."""
        sent = {there: inputs.get(here) for here, there in self.sends.items()}
        return {**sent, "tags": inputs.get("tags") if self.tagged_at_birth else None}

    def settle(self, id: str, inputs: Properties) -> None:
        """What a fresh one still needs."""
        if self.tag_type and not self.tagged_at_birth:
            self.tag(self.tag_type, id, {}, inputs.get("tags") or {})

    def read(
        self, id: str, inputs: Properties, outputs: Properties
    ) -> tuple[str | None, Properties, Properties]:
        """As the cloud describes it. Without inputs (an import) they are what it would take."""
        found = self.describe(id)
        if found is None:
            return None, {}, {}
        now = self.outputs(id, found, {**outputs, **inputs})
        wanted = inputs or {name: now[name] for name in self.sends if now.get(name)}
        return id, self._refreshed(wanted, now), now

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
        if self.tag_type and "tags" in changed:
            before = old_outputs.get("tags") or {}
            self.tag(self.tag_type, id, before, new_inputs.get("tags") or {})
        self.modify(id, changed, new_inputs)
        return self._present(id, new_inputs)

    def modify(self, id: str, changed: set[str], inputs: Properties) -> None:
        """Change those of its inputs in place."""
        sent = {self.sends[name]: inputs.get(name, "") for name in changed & self.modifies}
        if sent:
            self.call(self.actions[2], **{self.id_parameter: id}, **sent)

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Delete it; one that has gone is no error."""
        try:
            self.call(self.actions[3], **self.target(id))
        except ApiError as error:
            if not error.gone:
                raise

    # --- the cloud --------------------------------------------------------------------------------

    def target(self, id: str) -> dict[str, Any]:
        """How deleting names it."""
        return {self.id_parameter: id}

    def call(self, action: str, **parameters: Any) -> Any:  # noqa: ANN401
        """The answer to an action of the kind's product."""
        return self._client.call(self.resource, self.product, action, **parameters)

    def describe(self, id: str) -> Any | None:  # noqa: ANN401
        """The cloud's answer about it; None when it has gone."""
        try:
            answer = self.call(self.actions[1], **{self.id_parameter: id})
        except ApiError as error:
            if error.gone:
                return None
            raise
        if not self.rows:
            return answer
        found = at(answer, self.rows)
        return found[0] if found else None

    def outputs(self, id: str, found: Any, known: Properties) -> Properties:  # noqa: ANN401
        """Its properties from the describing answer; `known` holds what the cloud does not tell."""
        shown = {name: at(found, path) for name, path in self.shows.items()}
        kept = {name: known[name] for name in self.keeps if name in known}
        tags = {"tags": tags_in(found)} if self.tag_type else {}
        return {"id": id, **self.constant, **shown, **kept, **tags}

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

    def _refreshed(self, inputs: Properties, now: Properties) -> Properties:
        """The inputs that would lead to what is."""
        return {
            name: value
            if name in self.keeps or self.suppresses(name, now.get(name, value), value, inputs)
            else now.get(name, value)
            for name, value in inputs.items()
        }


def names(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


def not_one_of(inputs: Properties, name: str, known: Sequence[str]) -> list[Failure]:
    """The schema's refusal of a word that it does not know."""
    value = inputs.get(name)
    if value is None or value is UNKNOWN or value in known:
        return []
    return [(name, f"expected {name} to be one of {list(known)}, got {value}")]

"""FastGPT's models by its API (`docs/facts/fastgpt-current-measured.md §2`).

4.8.8 has no such calls: it reads a file.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from provisioning.clients.fastgpt.session import Session
from provisioning.clients.http import Json

MODEL = "/api/core/ai/model"
# An embedding that fails is tried twelve times before FastGPT tells.
TEST_SECONDS = 300.0

ModelRecord: TypeAlias = Mapping[str, Json]
"""`{"model", "metadata"}`."""


class Models(Session):
    """The calls about models. Never `update` or `updateDefault`: what they store differs."""

    def models(self) -> list[ModelRecord]:
        """The models that were set, with the keys that they hold."""
        found = json.loads(self._call("GET", f"{MODEL}/getConfigJson") or "[]")
        self._hide_keys(found)
        return list(found)

    def set_models(self, models: Sequence[ModelRecord]) -> None:
        """Have exactly these models in use; they count at once."""
        self._hide_keys(models)
        config = json.dumps(list(models), ensure_ascii=False)
        self._call("PUT", f"{MODEL}/updateWithJson", json={"config": config})

    def test_model(self, model: str) -> None:
        """One real call of a model; Refused with what upstream said."""
        self._call("GET", f"{MODEL}/test", params={"model": model}, seconds=TEST_SECONDS)

    def _hide_keys(self, models: Sequence[ModelRecord]) -> None:
        self._hide(*(str(each["metadata"].get("requestAuth") or "") for each in models))

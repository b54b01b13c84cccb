"""Why FastGPT's indexing stands still: which link of the chain to the model failed."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TypedDict

import pulumi
from typing_extensions import NotRequired

from provisioning.chunks import GROWN
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.http import ServiceError, Unauthorized
from provisioning.clients.oneapi import NoChannel, OneApiRelay, UpstreamFailed
from provisioning.clients.xinference import XinferenceClient
from stack.resources.declaration import Endpoint, Lab


class Chain(TypedDict):
    """Read-only ways to find out which link of the chain failed."""

    oneapi: Endpoint
    relay_key: pulumi.Input[str]
    xinference: NotRequired[Endpoint]


class Diagnosis:
    """Looks along the chain: OneAPI, then Xinference. That FastGPT has the model is `Ready`'s."""

    def __init__(self, lab: Lab, client: FastGptClient, chain: Chain) -> None:
        self._lab = lab
        self._client = client
        self._chain = chain

    def reason(self, dataset_id: str, unfinished: Mapping[str, str]) -> str:
        """Which link failed for the first document that tells; "" where none is found."""
        model = self._client.dataset(dataset_id).vector_model
        for name, collection_id in unfinished.items():
            found = self._client.collection(collection_id, dataset_id=dataset_id)
            longest = GROWN * found.chunk_size if found.training == "chunk" else 0
            if reason := self._reason_in_oneapi(model, longest):
                return f"{name}: {reason}"
        return ""

    def _reason_in_oneapi(self, model: str, longest: int) -> str:
        address = self._lab.address(self._chain["oneapi"])
        key = str(self._chain["relay_key"])
        try:
            with OneApiRelay(address, key, **self._lab.options) as relay:
                relay.probe("embedding", model)
                return _refusal_of_length(relay, model, longest) if longest else ""
        except NoChannel as error:
            return f"OneAPI has no channel for embedding model {model} ({error.answer})"
        except Unauthorized as error:
            return f"OneAPI does not accept FastGPT's key ({error.answer})"
        except UpstreamFailed as error:
            told = self._reason_in_xinference(model)
            return told or f"what serves {model} fails ({error.answer})"
        except ServiceError as error:
            return f"OneAPI: {error.answer}"

    def _reason_in_xinference(self, model: str) -> str:
        if "xinference" not in self._chain:
            return ""
        address = self._lab.address(self._chain["xinference"])
        with XinferenceClient(address, **self._lab.options) as client:
            state = client.state(model)
        serving = state.standing == "serving"
        return "" if serving else f"Xinference does not serve {model} ({state})"


def _refusal_of_length(relay: OneApiRelay, model: str, longest: int) -> str:
    """How a model that embeds a short text refuses one of `longest` characters; "" if not."""
    try:
        relay.embed(model, "字" * longest)
    except UpstreamFailed as error:
        if error.status != HTTPStatus.TOO_MANY_REQUESTS:
            return (
                f"{model} embeds a short text, but none of {longest} characters, which a chunk may "
                f"come to ({error.answer}); FastGPT tries such a chunk for ever. Lower chunkSize"
            )
    return ""

"""Why FastGPT's indexing stands still: which link of the chain to the model failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict

import pulumi

from provisioning.chunks import GROWN
from provisioning.clients.fastgpt import FastGptClient
from provisioning.clients.http import ServiceError, Unauthorized
from provisioning.clients.oneapi import NoChannel, OneApiRelay, UpstreamFailed
from provisioning.clients.xinference import XinferenceClient
from stack.resources.declaration import Endpoint, Lab


class Chain(TypedDict, total=False):
    """Read-only ways to find out which link of the chain failed; each may be left out."""

    oneapi: pulumi.Input[Endpoint]
    relay_key: pulumi.Input[str]
    xinference: pulumi.Input[Endpoint]


class Diagnosis:
    """Looks along the chain: FastGPT's config, the document, OneAPI, Xinference."""

    def __init__(self, lab: Lab, client: FastGptClient, chain: Chain | None) -> None:
        self._lab = lab
        self._client = client
        self._chain: Chain = chain or {}

    def reason(self, unfinished: Sequence[Mapping[str, str]]) -> str:
        """Which link failed for the first document that tells; "" where none is found."""
        known = self._client.init_data()
        for document in unfinished:
            dataset_id = document["dataset_id"]
            model = self._client.dataset(dataset_id).vector_model
            if model not in known.vector:
                return f"embedding model {model} is not in FastGPT's config.json"
            found = self._client.collection(document["collection_id"], dataset_id=dataset_id)
            if found.text_length == 0:
                return f"{document['name']}: no text was found in it (a scanned document?)"
            longest = GROWN * found.chunk_size if found.training == "chunk" else 0
            if reason := self._reason_in_chain(model, longest):
                return f"{document['name']}: {reason}"
        return ""

    def _reason_in_chain(self, model: str, longest: int) -> str:
        endpoint: Any = self._chain.get("oneapi")
        key = self._chain.get("relay_key")
        if not endpoint or not key:
            return self._reason_in_xinference(model, listed_only=True)
        try:
            with OneApiRelay(
                self._lab.address(endpoint),
                str(key),
                transport=self._lab.transport,
                clock=self._lab.clock,
            ) as relay:
                relay.probe("embedding", model)
                return _refusal_of_length(relay, model, longest) if longest else ""
        except NoChannel as error:
            return f"OneAPI has no channel for embedding model {model} ({error.answer})"
        except Unauthorized as error:
            return f"OneAPI does not accept FastGPT's key ({error.answer})"
        except UpstreamFailed as error:
            told = self._reason_in_xinference(model, listed_only=False)
            return told or f"what serves {model} fails ({error.answer})"
        except ServiceError as error:
            return f"OneAPI: {error.answer}"

    def _reason_in_xinference(self, model: str, *, listed_only: bool) -> str:
        endpoint: Any = self._chain.get("xinference")
        if not endpoint:
            return ""
        address = self._lab.address(endpoint)
        with XinferenceClient(
            address, transport=self._lab.transport, clock=self._lab.clock
        ) as client:
            state = client.state(model)
        if state.standing == "serving" or (listed_only and state.standing == "absent"):
            return ""
        return f"Xinference does not serve {model} ({state})"


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

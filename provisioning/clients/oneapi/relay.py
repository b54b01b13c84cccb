"""OneAPI's relay, `/v1`: it answers like OpenAI (`docs/facts/oneapi.md §7`)."""

import io
import wave
from collections.abc import Mapping
from functools import partial

import httpx
from typing_extensions import Unpack

from provisioning.clients.errors import NotFound, RateLimited, Refused, Unauthorized, Unexpected
from provisioning.clients.http import ErrorKind, Json, Options, Request, ServiceClient

RELAY_SECONDS = 180.0


class NoChannel(Refused):
    """No enabled channel of the caller's group lists the model."""


class UpstreamFailed(Refused):
    """What is behind a channel failed; `status` is its own where it answered (`connected`)."""

    def __init__(self, *said: str, status: int, connected: bool) -> None:
        super().__init__(*said)
        self.status = status
        self.connected = connected


_KINDS = {503: NoChannel, 401: Unauthorized, 404: NotFound, 429: RateLimited}


class OneApiRelay(ServiceClient):
    """OneAPI as the lab's users see it, by a relay token's `key`, with or without `sk-`.

    `channel_id`: the one channel to use, whatever it lists; only administrators may choose (`§2`).
    """

    service = "OneAPI relay"

    def __init__(
        self, base_url: str, key: str, *, channel_id: int | None = None, **options: Unpack[Options]
    ) -> None:
        options.setdefault("answer_seconds", RELAY_SECONDS)
        super().__init__(base_url, **options)
        bare = key.removeprefix("sk-")
        chosen = "" if channel_id is None else f"-{channel_id}"
        self._headers = {"Authorization": f"Bearer sk-{bare}{chosen}"}
        self._hide(bare)

    def chat(self, model: str, question: str, *, max_tokens: int = 16) -> str:
        """One short answer."""
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "max_tokens": max_tokens, "messages": messages}
        answer = self._json(self._post("/v1/chat/completions", json=body))
        return str(answer["choices"][0]["message"]["content"] or "")

    def embed(self, model: str, text: str) -> list[float]:
        """The vector of one text."""
        body = {"model": model, "input": text}
        answer = self._json(self._post("/v1/embeddings", json=body))
        return [float(number) for number in answer["data"][0]["embedding"]]

    def probe(self, kind: str, model: str) -> None:
        """One real, small request, until a usable answer; ValueError: OneAPI has no such kind."""
        spoken = {"model": model, "input": "Hi", "voice": "alloy"}
        probes = {
            "chat": lambda: self.chat(model, "Hi", max_tokens=2) is not None,
            "embedding": lambda: bool(self.embed(model, "Hi")),
            "speech": lambda: bool(self._post("/v1/audio/speech", json=spoken).content),
            "transcription": lambda: self._transcribe(model) is not None,
        }
        if kind not in probes:
            raise ValueError(f"OneAPI relays no {kind}; it relays {', '.join(probes)}")
        try:
            answered = probes[kind]()
        except (KeyError, IndexError, TypeError) as error:
            said = f"{model}: the answer lacks {error}"
            raise Unexpected(self.service, f"{kind} request", said) from None
        if not answered:
            raise Unexpected(self.service, f"{kind} request", f"{model}: an empty answer")

    def _transcribe(self, model: str) -> str:
        # Routed as `whisper-1`, whatever the name (docs/facts/oneapi.md §6).
        body = {"model": model, "response_format": "json"}
        sound = {"file": ("probe.wav", silence(), "audio/wav")}
        response = self._post("/v1/audio/transcriptions", data=body, files=sound)
        return str(self._json(response)["text"])

    def _post(self, path: str, **request: Unpack[Request]) -> httpx.Response:
        request |= {"headers": self._headers, "twice_is_harmless": True}
        response = self._send("POST", path, **request)
        error = _relay_error(response)
        if response.is_success and not error:
            return response
        status, unconnected = response.status_code, error.get("code") == "do_request_failed"
        said = f"HTTP {status} {error.get('message') or response.text or '(empty body)'}"
        kind: ErrorKind = _KINDS.get(status, Refused)
        if unconnected or _is_upstreams(error):
            kind = partial(UpstreamFailed, status=status, connected=not unconnected)
        raise self._error(kind, response, said)


def _is_upstreams(error: Mapping[str, Json]) -> bool:
    """Whether the provider said it: by the status, its wrong key looks like a token of ours."""
    own = str(error.get("type") or "one_api_error").startswith("one_api")
    # The one error of OneAPI's own that bears a type of OpenAI's.
    unknown_path = str(error.get("message") or "").startswith("Invalid URL")
    return error.get("code") == "bad_response_status_code" or not (own or unknown_path)


def silence() -> bytes:
    """A WAV file to transcribe: half a second at 16 kHz, mono, 16 bits."""
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 8000)
    return target.getvalue()


def _relay_error(response: httpx.Response) -> dict[str, Json]:
    try:
        body = response.json()
    except ValueError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}

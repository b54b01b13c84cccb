"""OneAPI's relay, `/v1`: it answers like OpenAI (`docs/facts/oneapi.md §7`).

Exceptions beside those of `provisioning.clients.http`:

* NoChannel (a Refused): no enabled channel lists the model
* UpstreamFailed (a Refused): the channel is there, but what is behind it failed; has `status`
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping

import httpx
from typing_extensions import Unpack

from provisioning.clients.http import (
    Json,
    NotFound,
    Options,
    RateLimited,
    Refused,
    ServiceClient,
    Unauthorized,
    Unexpected,
    call_of,
)

RELAY_SECONDS = 180.0


class NoChannel(Refused):
    """No enabled channel of the caller's group lists the model."""


class UpstreamFailed(Refused):
    """A channel was found, but the service behind it failed.

    Attributes:
        status: HTTP status of the relay's answer; the upstream's own where it answered at all.
        connected: whether the upstream answered.
    """

    def __init__(
        self, service: str, call: str, answer: str, *, status: int, connected: bool
    ) -> None:
        super().__init__(service, call, answer)
        self.status = status
        self.connected = connected


class OneApiRelay(ServiceClient):
    """OneAPI as the lab's users see it.

    Args:
        key: a relay token's key, with or without `sk-`.
        channel_id: the one channel to use, whatever it lists; None for one that lists the model,
            by chance where several do. Only keys of administrators may choose (`§2`).
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

    def models(self) -> list[str]:
        """Names that some channel lists; no proof that they route."""
        answer = self._json(self._checked("GET", "/v1/models"))
        return [str(item["id"]) for item in answer["data"]]

    def chat(self, model: str, question: str, *, max_tokens: int = 16) -> str:
        """One short answer."""
        answer = self._post(
            "/v1/chat/completions",
            {
                "model": model,
                "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": question}],
            },
        )
        return str(answer["choices"][0]["message"]["content"] or "")

    def embed(self, model: str, text: str) -> list[float]:
        """The vector of one text."""
        answer = self._post("/v1/embeddings", {"model": model, "input": text})
        return [float(number) for number in answer["data"][0]["embedding"]]

    def speak(self, model: str, text: str, voice: str = "alloy") -> bytes:
        """`text` as sound."""
        body = {"model": model, "input": text, "voice": voice}
        return self._checked("POST", "/v1/audio/speech", json=body).content

    def transcribe(self, model: str, sound: bytes) -> str:
        """What is said in a WAV file. Routed as `whisper-1`, whatever the name (`§6`)."""
        response = self._checked(
            "POST",
            "/v1/audio/transcriptions",
            data={"model": model, "response_format": "json"},
            files={"file": ("probe.wav", sound, "audio/wav")},
        )
        return str(self._json(response)["text"])

    def probe(self, kind: str, model: str) -> None:
        """One real, small request of this kind; returns when a usable answer came back.

        Raises:
            NoChannel, UpstreamFailed, Unauthorized, Refused, Unexpected, Unreachable
            ValueError: a kind that OneAPI does not relay.
        """
        probes = {
            "chat": lambda: self.chat(model, "Hi", max_tokens=2) is not None,
            "embedding": lambda: bool(self.embed(model, "Hi")),
            "speech": lambda: bool(self.speak(model, "Hi")),
            "transcription": lambda: self.transcribe(model, silence()) is not None,
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

    def _post(self, path: str, body: Mapping[str, Json]) -> Json:
        return self._json(self._checked("POST", path, json=dict(body)))

    def _checked(
        self,
        method: str,
        path: str,
        *,
        json: Json = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
    ) -> httpx.Response:
        response = self._send(
            method,
            path,
            headers=self._headers,
            json=json,
            data=data,
            files=files,
            twice_is_harmless=True,
        )
        error = _relay_error(response)
        if response.is_success and error is None:
            return response
        raise self._refusal(response, error or {})

    def _refusal(self, response: httpx.Response, error: Mapping[str, Json]) -> Refused:
        call = call_of(response)
        message = str(error.get("message") or response.text or "(empty body)")
        said = self._masked(f"HTTP {response.status_code} {message}")
        if _is_upstreams(error):
            return UpstreamFailed(
                self.service, call, said, status=response.status_code, connected=True
            )
        if error.get("code") == "do_request_failed":
            return UpstreamFailed(
                self.service, call, said, status=response.status_code, connected=False
            )
        if response.status_code == 503:
            return NoChannel(self.service, call, said)
        if response.status_code == 401:
            return Unauthorized(self.service, call, said)
        if response.status_code == 404:
            return NotFound(self.service, call, said)
        if response.status_code == 429:
            return RateLimited(self.service, call, said)
        return Refused(self.service, call, said)


def _is_upstreams(error: Mapping[str, Json]) -> bool:
    """Whether an error is what the model's provider said; OneAPI hands on its words and type.

    By the status alone, a provider's "wrong key" would look like a wrong token of ours.
    """
    own = str(error.get("type") or "one_api_error").startswith("one_api")
    # The one error of OneAPI's own that bears a type of OpenAI's.
    unknown_path = str(error.get("message") or "").startswith("Invalid URL")
    return error.get("code") == "bad_response_status_code" or not (own or unknown_path)


def silence(seconds: float = 0.5) -> bytes:
    """A short WAV file to transcribe."""
    rate = 16000
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"\0\0" * int(rate * seconds))
    return target.getvalue()


def _relay_error(response: httpx.Response) -> dict[str, Json] | None:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else None

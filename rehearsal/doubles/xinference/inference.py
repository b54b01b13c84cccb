"""What the models answer: chat, embeddings, rerank, audio (docs/facts/xinference.md §3)."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any

from rehearsal.doubles import language
from rehearsal.doubles.xinference.books import Model
from rehearsal.doubles.xinference.catalogue import Entry
from rehearsal.doubles.xinference.supervisor import Supervisor

Body = dict[str, Any]
_WAV_RATE = 16000
_SECONDS_PER_TOKEN = 0.1


class Inference:
    """Answers for READY models; a wrong kind of model is a 500, as of any engine's failure."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def chat(self, model: Model, body: Body) -> Body:
        """`POST /v1/chat/completions` without stream."""
        entry = self._of_type(model, "LLM", "chat")
        messages = body.get("messages") or []
        prompt = sum(language.count_tokens(language.text_of(m.get("content"))) for m in messages)
        room = model.context - prompt
        asked = body.get("max_tokens")
        if room <= 0 or (asked and asked > room):
            raise self._supervisor.failed(
                f"This model's maximum context length is {model.context} tokens. However, you "
                f"requested {prompt + (asked or 0)} tokens ({prompt} in the messages, "
                f"{asked or 0} in the completion). Please reduce the length of the messages or "
                "completion."
            )
        limit = min(asked or room, room)
        text = _thoughts(entry, model, body) + language.answer(messages)
        said = _cut(text, limit)
        tokens = language.count_tokens(said)
        return {
            "id": f"chat{uuid.uuid4()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model.uid,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said},
                    "finish_reason": "stop" if said == text else "length",
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": tokens,
                "total_tokens": prompt + tokens,
            },
        }

    def chunks(self, whole: Body, with_usage: bool) -> Iterator[Body]:
        """The same answer as a stream's chunks."""
        shared = {key: whole[key] for key in ("id", "created", "model")}
        shared["object"] = "chat.completion.chunk"
        choice = whole["choices"][0]
        text = choice["message"]["content"]
        pieces = [text[place : place + 8] for place in range(0, len(text), 8)]
        for place, piece in enumerate(pieces):
            delta = {"content": piece, **({"role": "assistant"} if place == 0 else {})}
            yield {**shared, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        last = {"index": 0, "delta": {"content": ""}, "finish_reason": choice["finish_reason"]}
        yield {**shared, "choices": [last]}
        if with_usage:
            yield {**shared, "choices": [], "usage": whole["usage"]}

    def embeddings(self, model: Model, body: Body) -> Body:
        """`POST /v1/embeddings`: too long an input is cut as the model would."""
        entry = self._of_type(model, "embedding", "creating embedding")
        texts = _texts(body["input"])
        cut = [_cut(text, entry.context) for text in texts]
        tokens = sum(language.count_tokens(text) for text in cut)
        return {
            "object": "list",
            "model": model.uid,
            "model_replica": model.replicas[0].uid,
            "data": [
                {
                    "index": index,
                    "object": "embedding",
                    "embedding": language.embed(text, entry.width),
                }
                for index, text in enumerate(cut)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def rerank(self, model: Model, body: Body) -> Body:
        """`POST /v1/rerank`: Cohere's shape, by falling score; `index` is the place asked with."""
        entry = self._of_type(model, "rerank", "reranking")
        query, documents = body["query"], body["documents"]
        scored = [
            (language.relevance(query, _cut(document, entry.context)), index)
            for index, document in enumerate(documents)
        ]
        best = sorted(scored, key=lambda row: (-row[0], row[1]))[: body.get("top_n")]
        keeps = bool(body.get("return_documents"))
        tokens = None
        if body.get("return_len"):
            tokens = {
                "input_tokens": sum(map(language.count_tokens, documents)),
                "output_tokens": 0,
            }
        return {
            "id": str(uuid.uuid4()),
            "results": [
                {
                    "index": index,
                    "relevance_score": score,
                    "document": {"text": documents[index]} if keeps else None,
                }
                for score, index in best
            ],
            "meta": {
                "api_version": None,
                "billed_units": None,
                "tokens": tokens,
                "warnings": None,
            },
        }

    def speech(self, model: Model, body: Body) -> bytes:
        """`POST /v1/audio/speech`: a silent WAV as long as the text takes, with the text inside."""
        self._able(model, "text2audio", "text-to-speech")
        text = str(body["input"])
        samples = int(language.count_tokens(text) * _SECONDS_PER_TOKEN * _WAV_RATE)
        spoken = text.encode() + b"\0" * (1 + len(text.encode()) % 2)
        spoken += b"\0" * (len(spoken) % 2)
        words = b"INFOICMT" + struct.pack("<I", len(spoken)) + spoken
        form = struct.pack("<HHIIHH", 1, 1, _WAV_RATE, _WAV_RATE * 2, 2, 16)
        parts = b"fmt " + struct.pack("<I", len(form)) + form
        parts += b"LIST" + struct.pack("<I", len(words)) + words
        parts += b"data" + struct.pack("<I", samples * 2) + b"\0" * (samples * 2)
        return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts

    def transcribe(self, model: Model, audio: bytes) -> Body:
        """`POST /v1/audio/transcriptions`: hears what `speech` put into its WAV, else silence."""
        self._able(model, "audio2text", "transcription")
        place = audio.find(b"INFOICMT")
        if place < 0:
            return {"text": ""}
        (length,) = struct.unpack_from("<I", audio, place + 8)
        return {"text": audio[place + 12 : place + 12 + length].rstrip(b"\0").decode()}

    def _of_type(self, model: Model, type_: str, purpose: str) -> Entry:
        assert model.entry is not None
        if model.entry.type != type_:
            raise self._wrong(model, purpose)
        return model.entry

    def _able(self, model: Model, ability: str, purpose: str) -> None:
        assert model.entry is not None
        if ability not in model.entry.abilities:
            raise self._wrong(model, purpose)

    def _wrong(self, model: Model, purpose: str) -> Exception:
        if purpose == "chat" and self._supervisor.release.successor:
            text = "The chat completion request failed. Check the server logs for details."
            return self._supervisor.failed(text)
        assert model.entry is not None
        if model.entry.type == "embedding":
            text = "'SentenceTransformerEmbeddingModel' object has no attribute 'model_spec'"
            return self._supervisor.failed(text)
        return self._supervisor.failed(f"Model {model.uid} is not for {purpose}.")


def _thoughts(entry: Entry, model: Model, body: Body) -> str:
    """The text that a reasoning model puts before its answer."""
    asked = body.get("chat_template_kwargs") or {}
    told = asked.get("enable_thinking", model.arguments.get("enable_thinking", True))
    if entry.thinks == "always" or (entry.thinks == "unless told not to" and told is not False):
        return "<think>\nThe question is about the given text, so I look there.\n</think>\n\n"
    return ""


def _texts(given: Any) -> list[str]:  # noqa: ANN401 - as OpenAI's `input`
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [" ".join(map(str, given))]
    return [each if isinstance(each, str) else " ".join(map(str, each)) for each in given]


def _cut(text: str, tokens: int) -> str:
    if language.count_tokens(text) <= tokens:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if language.count_tokens(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low]

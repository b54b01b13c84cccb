"""What the models answer: chat, embeddings, rerank, audio (docs/facts/xinference.md §3).

A wrong kind of model is a 500, as is any engine's failure.
"""

from __future__ import annotations

import io
import uuid
import wave
from bisect import bisect_right
from typing import Any

from starlette.responses import Response

from rehearsal.doubles import language
from rehearsal.doubles.openai_form import answer_chat, usage
from rehearsal.doubles.xinference.books import ActorError, Model

Body = dict[str, Any]
_WAV_RATE = 8000
_BYTES_PER_TOKEN = _WAV_RATE // 10


def chat(model: Model, body: Body) -> Response:
    """`POST /v1/chat/completions`."""
    _check(model.entry.type == "LLM", model, "chat")
    messages, asked = body["messages"], body.get("max_tokens") or 0
    prompt = sum(language.count_tokens(language.text_of(m.get("content"))) for m in messages)
    room = model.context - prompt
    if room <= 0 or asked > room:
        raise ActorError(
            500,
            f"This model's maximum context length is {model.context} tokens. However, you "
            f"requested {prompt + asked} tokens ({prompt} in the messages, {asked} in the "
            "completion). Please reduce the length of the messages or completion.",
        )
    text = _thoughts(model, body) + language.answer(messages)
    said = _cut(text, asked or room)
    stream = bool(body.get("stream"))
    used = {} if stream else usage(prompt, language.count_tokens(said))
    reason = "stop" if said == text else "length"
    return answer_chat(model.uid, said, used, stream, reason)


def embeddings(model: Model, body: Body) -> Body:
    """`POST /v1/embeddings`: too long an input is cut as the model would."""
    _check(model.entry.type == "embedding", model, "creating embedding")
    entry, given = model.entry, body["input"]
    given = [given] if isinstance(given, str) else given
    texts = [_cut(text, entry.context) for text in given]
    rows = [
        {"index": index, "object": "embedding", "embedding": language.embed(text, entry.width)}
        for index, text in enumerate(texts)
    ]
    used = sum(map(language.count_tokens, texts))
    return {
        "object": "list",
        "model": model.uid,
        "model_replica": model.replicas[0].uid,
        "data": rows,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def rerank(model: Model, body: Body) -> Body:
    """`POST /v1/rerank`: Cohere's shape, by falling score; `index` is the place asked with."""
    _check(model.entry.type == "rerank", model, "reranking")
    texts = [_cut(document, model.entry.context) for document in body["documents"]]
    scores = [language.relevance(body["query"], text) for text in texts]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return {
        "id": str(uuid.uuid4()),
        "results": [
            {"index": index, "relevance_score": scores[index], "document": None} for index in order
        ],
        "meta": dict.fromkeys(("api_version", "billed_units", "tokens", "warnings")),
    }


def speech(model: Model, body: Body) -> bytes:
    """`POST /v1/audio/speech`: a WAV as long as the text takes, its samples spell the text."""
    _check("text2audio" in model.entry.abilities, model, "text-to-speech")
    text = str(body["input"])
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(_WAV_RATE)
        spelt = text.encode()
        sound.writeframes(spelt.ljust(language.count_tokens(text) * _BYTES_PER_TOKEN, b"\0"))
    return target.getvalue()


def transcribe(model: Model, audio: bytes) -> Body:
    """`POST /v1/audio/transcriptions`: hears what `speech` spelt, else silence."""
    _check("audio2text" in model.entry.abilities, model, "transcription")
    try:
        with wave.open(io.BytesIO(audio)) as sound:
            frames = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        raise ActorError(500, f"Soundfile is either not in the correct format: {error}") from error
    return {"text": frames.strip(b"\0").decode(errors="ignore")}


def _check(able: bool, model: Model, purpose: str) -> None:
    if not able and model.entry.type == "embedding":
        text = "'SentenceTransformerEmbeddingModel' object has no attribute 'model_spec'"
        raise ActorError(500, text)
    if not able:
        raise ActorError(500, f"Model {model.uid} is not for {purpose}.")


def _thoughts(model: Model, body: Body) -> str:
    """The text that a reasoning model puts before its answer."""
    asked = body.get("chat_template_kwargs") or {}
    told = asked.get("enable_thinking", model.payload.get("enable_thinking", True))
    thinks = model.entry.thinks
    if thinks == "always" or (thinks == "unless told not to" and told is not False):
        return "<think>\nThe question is about the given text, so I look there.\n</think>\n\n"
    return ""


def _cut(text: str, tokens: int) -> str:
    lengths = range(1, len(text) + 1)
    return text[: bisect_right(lengths, tokens, key=lambda n: language.count_tokens(text[:n]))]

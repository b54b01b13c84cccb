"""What the models answer: chat, embeddings, rerank, audio (docs/facts/xinference.md §3).

A wrong kind of model is a 500, as is any engine's failure.
"""

import uuid
from bisect import bisect_right
from typing import Any

from starlette.responses import JSONResponse, Response

from rehearsal.doubles import language
from rehearsal.doubles.openai_form import answer_chat, usage
from rehearsal.doubles.xinference.books import ActorError, Model

Body = dict[str, Any]


def chat(model: Model, body: Body) -> Response:
    """`POST /v1/chat/completions`."""
    _check(model.entry.type == "LLM", model, "chat")
    messages, asked = body["messages"], body.get("max_tokens") or 0
    prompt = sum(language.count_tokens(language.text_of(m.get("content"))) for m in messages)
    context, room = model.context, model.context - prompt
    if room <= 0 or asked > room:
        wanted = prompt + asked
        raise ActorError("context", context=context, wanted=wanted, prompt=prompt, asked=asked)
    text = language.answer(messages)
    if model.entry.thinks(model.payload.get("enable_thinking")):
        text = f"<think>\nThe question is about the given text.\n</think>\n\n{text}"
    said = _cut(text, asked or room)
    stream = bool(body.get("stream"))
    used = {} if stream else usage(prompt, language.count_tokens(said))
    return answer_chat(model.uid, said, used, stream, "stop" if said == text else "length")


def embeddings(model: Model, body: Body) -> Response:
    """`POST /v1/embeddings`: too long an input is cut as the model would."""
    _check(model.entry.type == "embedding", model, "creating embedding")
    entry, given = model.entry, body["input"]
    texts = [_cut(text, entry.context) for text in ([given] if isinstance(given, str) else given)]
    rows = [
        {"index": index, "object": "embedding", "embedding": language.embed(text, entry.width)}
        for index, text in enumerate(texts)
    ]
    used = usage(sum(map(language.count_tokens, texts)), 0)
    return JSONResponse({"object": "list", "model": model.uid, "data": rows, "usage": used})


def rerank(model: Model, body: Body) -> Response:
    """`POST /v1/rerank`: Cohere's shape, by falling score; `index` is the place asked with."""
    _check(model.entry.type == "rerank", model, "reranking")
    texts = [_cut(document, model.entry.context) for document in body["documents"]]
    scores = [language.relevance(body["query"], text) for text in texts]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    rows = [{"index": index, "relevance_score": scores[index], "document": None} for index in order]
    return JSONResponse({"id": str(uuid.uuid4()), "results": rows, "meta": {"tokens": None}})


def speech(model: Model, _body: Body) -> Response:
    """`POST /v1/audio/speech`."""
    _check("text2audio" in model.entry.abilities, model, "text-to-speech")
    return Response(b"RIFF", media_type="audio/wav")


def transcriptions(model: Model, _body: Body) -> Response:
    """`POST /v1/audio/transcriptions`: hears nothing."""
    _check("audio2text" in model.entry.abilities, model, "transcription")
    return JSONResponse({"text": ""})


def _check(able: bool, model: Model, purpose: str) -> None:
    if not able:
        kind = "wrong embedding" if model.entry.type == "embedding" else "wrong model"
        raise ActorError(kind, uid=model.uid, purpose=purpose)


def _cut(text: str, tokens: int) -> str:
    lengths = range(1, len(text) + 1)
    return text[: bisect_right(lengths, tokens, key=lambda n: language.count_tokens(text[:n]))]

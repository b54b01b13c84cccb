"""OneAPI and the reranker, over HTTP (docs/facts/fastgpt.md §1, §2)."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from rehearsal.doubles.fastgpt.envelope import Document, Problem

DIMENSIONS = 1536


class Upstream:
    """The OpenAI protocol at `base_url`, to which paths are only appended: it must end in /v1."""

    def __init__(self, base_url: str, key: str, edition: str = "seeds") -> None:
        self._base_url, self._key = base_url, key
        self._is_current = edition == "current"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(timeout=httpx.Timeout(480, connect=10), trust_env=False)

    def embedding(self, model: Document, text: str) -> list[float]:
        """The vector of one text, padded with zeros or cut to 1536 numbers; its error is logged."""
        body = {**model.get("defaultConfig", {}), "model": model["model"], "input": [text]}
        if self._is_current:
            body |= {"encoding_format": "float"}
        try:
            answer = self._post("/embeddings", json=body).json()
        except Problem as error:
            told = {"model": model["model"], "error": error.message}
            failed = f"Embedding request failed: {json.dumps(told, ensure_ascii=False)}"
            print(failed if self._is_current else f"Embedding Error {error.message}", flush=True)
            raise
        vector = [float(value) for value in answer["data"][0]["embedding"]]
        return (vector + [0.0] * DIMENSIONS)[:DIMENSIONS]

    def chat(self, body: Document) -> str:
        answer = self._post("/chat/completions", json={**body, "stream": False}).json()
        return answer["choices"][0]["message"].get("content") or ""

    def chat_stream(self, body: Document) -> Iterator[str]:
        url, asked = self._base_url + "/chat/completions", {**body, "stream": True}
        try:
            with self._http.stream("POST", url, json=asked, headers=self._headers) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refused(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line[6:]).get("choices") or [{}]
                        yield (choices[0].get("delta") or {}).get("content") or ""
        except httpx.HTTPError as error:
            raise Problem("Connection error.") from error

    def rerank(self, model: Document, query: str, documents: list[str]) -> list[tuple[int, float]]:
        """Index and relevance of the documents, asked from the reranker itself, not OneAPI."""
        url, key = model.get("requestUrl", ""), model.get("requestAuth", "")
        if self._is_current:
            # Without one of its own, the gateway's key goes to the reranker's host.
            url, key = url or f"{self._base_url}/rerank", key or self._key
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": model["model"], "query": query, "documents": documents}
        answer = self._http.post(url, json=body, headers=headers, timeout=30)
        if answer.is_error:
            raise _refused(answer)
        return [(row["index"], row["relevance_score"]) for row in answer.json()["results"]]

    def speech(self, model: Document, text: str) -> bytes:
        voice = (model.get("voices") or [{"value": ""}])[0]["value"]
        asked = {"model": model["model"], "input": text, "voice": voice}
        return self._post("/audio/speech", json=asked).content

    def transcription(self, model: Document, sound: bytes) -> str:
        files, told = {"file": ("test.mp3", sound)}, {"model": model["model"]}
        return str(self._post("/audio/transcriptions", files=files, data=told).json()["text"])

    def _post(self, path: str, **given: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes it
        try:
            answer = self._http.post(self._base_url + path, headers=self._headers, **given)
        except httpx.HTTPError as error:
            raise Problem("Connection error.") from error
        if answer.is_error:
            raise _refused(answer)
        return answer


def _refused(answer: httpx.Response) -> Problem:
    """The upstream's own words, if there were any."""
    try:
        error = answer.json()["error"]
        problem = Problem(str(error["message"]))
        problem.upstream_status = answer.status_code
    except (ValueError, KeyError, TypeError):
        return Problem(f"{answer.status_code} status code (no body)")
    # `checkInvalidChunkAndLock`: the queue never tries such a chunk again.
    problem.is_final = error.get("type") == "invalid_request_error" or error.get("code") == 500
    return problem

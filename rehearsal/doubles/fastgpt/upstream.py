"""OneAPI and the reranker, over HTTP, with the container's own key (docs/facts/fastgpt.md §1,
§2)."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from rehearsal.doubles.fastgpt.envelope import Json, Problem

DIMENSIONS = 1536
TIMEOUT = httpx.Timeout(480.0, connect=10.0)
RERANK_SECONDS = 30.0
_NO_EMBEDDING = "Embedding API Error"
_NO_ANSWER = "core.chat.Chat API is error or undefined"


class UpstreamError(Problem):
    """An answer that is an error; callers are told the upstream's own words, if there were any.

    Attributes:
        logged: what the OpenAI client makes of it.
        type, upstream_code: those of the upstream's error.
    """

    def __init__(
        self, logged: str, *, told: str | None = None, type_: str = "", code: Json = None
    ) -> None:
        super().__init__(logged if told is None else told)
        self.logged = logged
        self.type = type_
        self.upstream_code = code

    def streamed(self) -> str:
        """What a stream tells of it: JavaScript writes a missing code out."""
        if self.message == self.logged:
            return self.message
        return f"{self.upstream_code or 'undefined'} {self.message}"


class Upstream:
    """The OpenAI protocol at `base_url`, to which paths are only appended: it must end in /v1."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(timeout=TIMEOUT, trust_env=False)

    def embedding(self, model: dict[str, Any], text: str, *, storing: bool) -> list[float]:
        """The vector of one text, padded with zeros or cut to 1536 numbers.

        Raises:
            UpstreamError: refused, unreachable, or no embedding in the answer; the log tells it.
        """
        extra = model.get("dbConfig" if storing else "queryConfig") or {}
        body = {**(model.get("defaultConfig") or {}), **extra}
        body |= {"model": model.get("model"), "input": [text]}
        try:
            answer = self._post("/embeddings", body)
            vector = [float(value) for value in answer["data"][0]["embedding"]]
        except (UpstreamError, KeyError, IndexError, TypeError) as error:
            said = error if isinstance(error, UpstreamError) else UpstreamError(_NO_EMBEDDING)
            print("Embedding Error", said.logged, flush=True)
            raise said from error
        if len(vector) > DIMENSIONS:
            print(f"The current vector dimension is {len(vector)}; cut to {DIMENSIONS}", flush=True)
        return (vector + [0.0] * DIMENSIONS)[:DIMENSIONS]

    def chat(self, body: dict[str, Any]) -> str:
        """A whole answer.

        Raises:
            UpstreamError: refused, unreachable, or no message in the answer.
        """
        answer = self._post("/chat/completions", {**body, "stream": False})
        try:
            return answer["choices"][0]["message"].get("content") or ""
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UpstreamError(_NO_ANSWER) from error

    def chat_stream(self, body: dict[str, Any]) -> Iterator[str]:
        """The answer piece by piece; raises as `chat` does."""
        url = self._base_url + "/chat/completions"
        try:
            with self._http.stream(
                "POST", url, json={**body, "stream": True}, headers=self._headers
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refused(answer)
                for line in answer.iter_lines():
                    if line.startswith("data:") and line[5:].strip() != "[DONE]":
                        choices = json.loads(line[5:]).get("choices") or [{}]
                        yield (choices[0].get("delta") or {}).get("content") or ""
        except httpx.HTTPError as error:
            raise UpstreamError("Connection error.") from error

    def rerank(
        self, model: dict[str, Any], query: str, documents: list[str]
    ) -> list[tuple[int, float]]:
        """Index and relevance of the documents, asked from the reranker directly, not from OneAPI.

        Raises:
            UpstreamError: no address, refused, or an answer of another shape.
        """
        headers = {"Authorization": f"Bearer {model.get('requestAuth')}"}
        body = {"model": model.get("model"), "query": query, "documents": documents}
        try:
            answer = self._http.post(
                str(model.get("requestUrl")), json=body, headers=headers, timeout=RERANK_SECONDS
            )
            answer.raise_for_status()
            return [(row["index"], row["relevance_score"]) for row in answer.json()["results"]]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise UpstreamError(f"rerank error: {error}") from error

    def _post(self, path: str, body: dict[str, Any]) -> Json:
        try:
            answer = self._http.post(self._base_url + path, json=body, headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamError("Connection error.") from error
        if answer.is_error:
            raise _refused(answer)
        try:
            return answer.json()
        except ValueError:
            return answer.text


def _refused(answer: httpx.Response) -> UpstreamError:
    try:
        error = answer.json()["error"]
        return UpstreamError(
            f"{answer.status_code} {error.get('message')}",
            told=error.get("message"),
            type_=error.get("type", ""),
            code=error.get("code"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return UpstreamError(f"{answer.status_code} status code (no body)")

"""Looking at a lab from outside, and meddling with it, by plain HTTP.

None of this goes through the program's own clients: what they get wrong would be wrong here too.
Contracts: docs/facts/oneapi.md 4 and 6, docs/facts/xinference.md 3 and 4, docs/facts/fastgpt.md 6,
docs/facts/fastgpt-current-measured.md 5.
"""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

_SECONDS = 60.0
_CONVERSATION = [
    {"role": "system", "content": "A destroyed lab costs nothing any more."},
    {"role": "user", "content": "What does a destroyed lab cost?"},
]
_EDITED = "edited-by-hand"


class ProbeFailed(Exception):
    """The lab did not answer as a lab does; the text says what was asked and what came."""


class Probe:
    """A visitor with the lab's outputs. Close it, or use it as a context manager."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs
        self._http = httpx.Client(timeout=_SECONDS, trust_env=False)

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def models(self, kind: str, served_by: str = "") -> list[str]:
        """Names of the models of a kind that the lab says it serves, or that such a one serves."""
        told = [model for model in self._outputs.get("models") or [] if model["kind"] == kind]
        return [m["name"] for m in told if served_by in ("", m["servedBy"])]

    def chat(self, model: str) -> dict[str, Any]:
        """`{model, answer, tokens}` of a chat completion through OneAPI."""
        body = {"model": model, "messages": _CONVERSATION}
        answer = self._relay("/v1/chat/completions", body)
        text = answer["choices"][0]["message"]["content"]
        if not text.strip():
            raise ProbeFailed(f"{model} answered with nothing")
        tokens = answer.get("usage", {}).get("total_tokens")
        return {"model": model, "answer": text, "tokens": tokens}

    def embedding(self, model: str) -> dict[str, Any]:
        """`{model, dimensions}` of an embedding through OneAPI."""
        answer = self._relay("/v1/embeddings", {"model": model, "input": ["a private lab"]})
        vector = answer["data"][0]["embedding"]
        if not vector or not any(vector):
            raise ProbeFailed(f"{model} gave an empty vector")
        return {"model": model, "dimensions": len(vector)}

    def rerank(self, model: str) -> dict[str, Any]:
        """`{model, best, score}` of a rerank at Xinference itself; the fitting text must win."""
        documents = ["Bananas are yellow.", "`pulumi destroy` ends the lab and its bill."]
        query = {"model": model, "query": "How do I end the bill?", "documents": documents}
        results = self.xinference("POST", "/v1/rerank", json=query)["results"]
        best = max(results, key=lambda result: result["relevance_score"])
        if best["index"] != 1:
            raise ProbeFailed(f"{model} prefers {documents[best['index']]!r} to the fitting text")
        return {"model": model, "best": best["index"], "score": best["relevance_score"]}

    def ask(self, link: str, question: str) -> dict[str, Any]:
        """`{question, answer, citations}` as a visitor of a share link gets them."""
        share = parse_qs(urlsplit(link).query).get("shareId", [""])[0]
        visitor: dict[str, Any] = {"shareId": share, "outLinkUid": "rehearsal-visitor"}
        if self._outputs.get("fastgptEdition") == "current":
            visitor = {"outLinkAuthData": visitor}
        body = {
            **visitor,
            "chatId": uuid.uuid4().hex[:24],
            "stream": False,
            "detail": True,
            "variables": {},
            "messages": [{"role": "user", "content": question}],
        }
        url = f"{self._outputs['fastgptUrl']}/api/v1/chat/completions"
        answer = self._json("POST", url, json=body)
        if failed := answer.get("error"):  # 4.16 answers 200 all the same
            raise ProbeFailed(f"{link} answered with an error: {failed}")
        nodes = answer.get("responseData") or []
        quotes = [quote for node in nodes for quote in node.get("quoteList") or []]
        text = _text(answer["choices"][0]["message"]["content"])
        citations = [{"source": q.get("sourceName"), "text": q.get("q", "")} for q in quotes]
        return {"question": question, "answer": text, "citations": citations}

    def running(self) -> list[str]:
        """Uids of the models that Xinference runs."""
        found = self.xinference("GET", "/v1/models")
        return [str(item["id"]) for item in found["data"]]

    def terminate(self, uid: str) -> None:
        """Stop a model behind the lab's back."""
        self.xinference("DELETE", f"/v1/models/{uid}")

    def channels(self) -> dict[str, str]:
        """Channel name to its comma list of models."""
        return {row["name"]: row["models"] for row in self._channel_rows()}

    def edit_channel(self, name: str) -> None:
        """Give a channel another model, as by hand in OneAPI's page."""
        row = next(row for row in self._channel_rows() if row["name"] == name)
        self._admin("PUT", "/api/channel/", json={"id": row["id"], "models": _EDITED})

    def _channel_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for page in range(100):
            found = self._admin("GET", f"/api/channel/?p={page}")
            if not found:
                break
            rows += found
        return rows

    def _relay(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._outputs['fastgptToken']}"}
        url = f"{self._outputs['oneapiUrl']}{path}"
        found: dict[str, Any] = self._json("POST", url, json=body, headers=headers)
        return found

    def xinference(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401
        """What Xinference answers to who has its key."""
        key = {"Authorization": f"Bearer {self._outputs['xinferenceKey']}"}
        url = f"{self._outputs['xinferenceUrl']}{path}"
        return self._json(method, url, headers=key, **options)

    def _admin(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401
        headers = {"Authorization": str(self._outputs["oneapiAccessToken"])}
        url = f"{self._outputs['oneapiUrl']}{path}"
        answer = self._json(method, url, headers=headers, **options)
        if not answer.get("success"):
            raise ProbeFailed(f"{method} {path}: OneAPI answered {answer.get('message')!r}")
        return answer.get("data")

    def _json(self, method: str, url: str, **options: Any) -> Any:  # noqa: ANN401
        try:
            answer = self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            raise ProbeFailed(f"{method} {url}: {type(error).__name__} {error}") from error
        if answer.is_error:
            raise ProbeFailed(f"{method} {url}: HTTP {answer.status_code} {answer.text[:500]}")
        return answer.json()


def _text(content: str | list[dict[str, Any]]) -> str:
    """An answer is a text, or a list of parts with one in it."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", {}).get("content", "") for part in content)

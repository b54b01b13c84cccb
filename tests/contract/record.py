"""`make record SERVICE=fastgpt URL=...`: tell a recorded story again and keep what comes back.

The story is that of 4.8.8; the answers go beside it, into a folder named after the version
that answered. FastGPT has to be set up as the recording says: with `config.json` of its folder, its
gateway at this program's port 3000 and its reranker at 9997 (both at the address UPSTREAM), which
answer as the rehearsed models do. Its password is RECORD_PASSWORD, or asked for.

A recording is a folder of JSON files, one for each request: what was sent, as whom, and what came
back. What each run makes anew (ids, keys, session tokens) has names there: `<id 1>` is the first id
that an answer showed, and later requests use it by that name. So the same files are the story that
is told, the answers that are expected, and a record without secrets. What cannot be alike in two
runs is masked by the rules here, never by case.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from tests.contract.fastgpt_subject import sha256
from tests.contract.upstream import Upstream
from tests.waiting import until

Json: TypeAlias = Any
RECORDINGS = Path(__file__).parent / "recordings"
REAL = RECORDINGS / "fastgpt-4.8.8"
"""The recording whose story is told; that of 4.16.0 is replayed by `tests/contract/replay.py`."""
FILES = "files"
UPSTREAM = "upstream.json"
SETTLE_SECONDS = 60.0
LISTS_OF_EVERYTHING = ("/api/core/dataset/list", "/api/core/app/list")
QUEUE = "/api/core/dataset/training/getDatasetTrainingQueue"
HEADERS = ("content-type", "set-cookie")
CALLERS = {
    "nobody": {},
    "root": {"token": "<token 1>"},
    "key": {"Authorization": "Bearer <key 1>"},
}
ROUNDED = 5
"""Decimals of a score: PostgreSQL keeps vectors in single precision."""
MASKED_FIELDS = {
    "duration",
    "runningTime",
    "tokens",  # counted with the vocabulary of the real tokenizer
    "encoding",  # guessed from a file's bytes
    "relatedImgId",
    "dataId",
}
MASKED_TEXTS = {
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    "<key tail>": re.compile(r"\*{6}[A-Za-z0-9]{4}"),
}
KINDS = {
    "token": re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    "key": re.compile(r"fastgpt-[A-Za-z0-9]{52,65}"),
    "id": re.compile(r"(?<![\w-])[a-z0-9]{24}(?![\w-])"),
}
_NAME = re.compile(r"<[a-z]+(?: [a-z0-9]+)*>")


class Unable(Exception):
    """A sentence on why nothing was recorded."""


class Names:
    """The names of what a run makes anew; `given` ones stand for something from the start."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._values = dict(given)
        self._names = {value: name for name, value in given.items()}
        self._literals: set[str] = set()

    def keep(self, request: Json) -> None:
        """Take what looks made anew but stands in the story itself for what it is."""
        text = json.dumps(request, ensure_ascii=False)
        for pattern in KINDS.values():
            self._literals |= set(pattern.findall(text)) - set(self._names)

    def fill(self, value: Json) -> Json:
        """`value` with what its names stand for; Unable where nothing of a name has been shown."""
        return _in_texts(value, lambda text: _NAME.sub(self._value, text))

    def hide(self, value: Json) -> Json:
        """`value` with names for what was made anew; new ones are numbered as they come."""
        for kind, pattern in KINDS.items():
            value = _in_texts(value, partial(pattern.sub, partial(self._name, kind)))
        return value

    def _value(self, found: re.Match[str]) -> str:
        name = found[0]
        if name not in self._values and name[1:].split(" ")[0] in KINDS:
            raise Unable(f"no answer has shown {name}")
        return self._values.get(name, name)

    def _name(self, kind: str, found: re.Match[str]) -> str:
        value = found[0]
        if value in self._literals:
            return value
        if value not in self._names:
            number = 1 + sum(known.startswith(f"<{kind} ") for known in self._values)
            self._names[value] = f"<{kind} {number}>"
            self._values[self._names[value]] = value
        return self._names[value]


def _in_texts(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, dict):
        return {key: _in_texts(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_texts(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


@dataclass
class Telling:
    """One telling of a story to a running FastGPT."""

    names: Names
    http: httpx.Client

    def ask(self, request: Json) -> Json:
        """The masked answer to a recorded request."""
        self.names.keep(request)
        answers: list[httpx.Response] = []

        def settled() -> bool:
            answers[:] = [self._send(self.names.fill(request))]
            return request["path"] != QUEUE or _is_empty(_body(answers[0]))

        last_seen = lambda: [answer.text[:500] for answer in answers]  # noqa: E731
        until(settled, f"{request['path']} to settle", last_seen, SETTLE_SECONDS)
        (answer,) = answers
        kept = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        body = comparable(request, _body(answer))
        whole = {"status": answer.status_code, "headers": kept, "body": body}
        return self.names.hide(_masked(whole))

    def _send(self, request: Json) -> httpx.Response:
        given = {name: request[name] for name in ("params", "json") if name in request}
        if "form" in request:
            given["data"] = request["form"]
        if "file" in request:
            file = request["file"]
            content = (REAL / FILES / file["content"]).read_bytes()
            given["files"] = {"file": (file["name"], content, file["type"])}
        headers = self.names.fill(CALLERS[request["as"]])
        # Who asks is said by the request alone, not by a cookie of an earlier answer.
        self.http.cookies.clear()
        return self.http.request(request["method"], request["path"], headers=headers, **given)


def _body(answer: httpx.Response) -> Json:
    try:
        return json.loads(answer.content)
    except ValueError:
        return answer.text


def _is_empty(body: Json) -> bool:
    """Whether the training queue has run empty, or what tells of it is no queue."""
    data = body.get("data") if isinstance(body, dict) else None
    return not isinstance(data, dict) or not any(data.values())


def comparable(request: Json, body: Json) -> Json:
    """An answer's body before it is masked."""
    if isinstance(body, str) and body.startswith("event: "):
        return [_prepared(event) for event in _events(body)]
    if request["path"] in LISTS_OF_EVERYTHING and isinstance(body.get("data"), list):
        # The first row is the story's; a real service may have more from before.
        body = {**body, "data": body["data"][:1]}
    data = body.get("data") if isinstance(body, dict) else None
    if isinstance(data, dict) and data.get("searchMode") == "fullTextRecall":
        # In which order a text index finds is its own business.
        found = sorted(data["list"], key=lambda item: item["chunkIndex"])
        body = {**body, "data": {**data, "list": found}}
    return _prepared(body)


def _events(stream: str) -> list[Json]:
    events = []
    for block in stream.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        text = lines["data"]
        data = text if text == "[DONE]" else json.loads(text)
        events.append({"event": lines.get("event", ""), "data": data})
    return events


def _prepared(value: Json) -> Json:
    if isinstance(value, dict):
        if isinstance(value.get("score"), list):
            value = {**value, "score": _scores(value["score"])}
        return {key: _prepared(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_prepared(each) for each in value]
    return round(value, ROUNDED) if isinstance(value, float) else value


def _scores(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what the text index makes of a passage, and what is reckoned from that."""
    if all(score["type"] != "fullText" for score in scores):
        return scores
    unlike = {"fullText": {"value": "<any>", "index": "<any>"}, "rrf": {"value": "<any>"}}
    return [{**score, **unlike.get(score["type"], {})} for score in scores]


def _masked(value: Json) -> Json:
    if isinstance(value, dict):
        hidden = dict.fromkeys(MASKED_FIELDS & set(value), "<any>")
        return {key: hidden.get(key) or _masked(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if isinstance(value, str):
        for name, pattern in MASKED_TEXTS.items():
            value = pattern.sub(name, value)
    return value


def record_fastgpt(url: str, password: str, upstream: Upstream, into: Path) -> Path:
    """The new recording of the FastGPT at `url`, all of it or nothing. Raises Unable: what answers
    there is no FastGPT of this kind, or the story broke off."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        try:
            answer = http.get("/api/common/system/getInitData")
            version = answer.json()["data"]["systemVersion"]
        except httpx.TransportError as error:
            raise Unable(f"nothing answers at {url}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise Unable(f"{url} is no FastGPT: it answers {answer.text[:200]!r}") from error
        upstream.forget()
        steps = _told(http, password)
    folder = into / f"fastgpt-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, step in steps.items():
        _write(folder / f"{name}.json", step)
    _write(folder / UPSTREAM, _asked(upstream))
    if folder != REAL:
        shutil.copytree(REAL / FILES, folder / FILES, dirs_exist_ok=True)
        shutil.copy(REAL / "config.json", folder)
    return folder


def _told(http: httpx.Client, password: str) -> dict[str, Json]:
    """The story's requests by name, and the answers to them."""
    given = {"<password>": sha256(password), "<wrong password>": sha256("wrong")}
    telling = Telling(Names(given), http)
    steps = {}
    for path in sorted(REAL.glob("[0-9]*.json")):
        request = json.loads(path.read_text(encoding="utf-8"))["request"]
        try:
            steps[path.stem] = {"request": request, "answer": telling.ask(request)}
        except (Unable, AssertionError, httpx.TransportError) as error:
            hint = "is the password right, and the service set up as the recording says?"
            raise Unable(f"the story broke off at {path.stem}: {error}; {hint}") from error
    return steps


def _asked(upstream: Upstream) -> list[Json]:
    """What the upstream was asked, in order; texts are embedded several at a time, so their order
    within a row of them is chance."""
    told = [
        {"path": one.path, "authorization": one.headers.get("authorization"), "body": one.body}
        for one in list(upstream.asked)
    ]
    ordered: list[Json] = []
    for path, group in groupby(told, itemgetter("path")):
        rows = list(group)
        if path == "/v1/embeddings":
            rows.sort(key=lambda row: row["body"]["input"])
        ordered += rows
    return ordered


def _write(path: Path, value: Json) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def main(service: str, url: str) -> None:
    """Record `service` at `url`, or say in one sentence why not."""
    try:
        if service != "fastgpt":
            raise Unable(f"SERVICE={service} cannot be recorded; only fastgpt can")
        if not url.startswith(("http://", "https://")):
            raise Unable(f"URL={url} is no address; give one such as http://127.0.0.1:3000")
        password = os.environ.get("RECORD_PASSWORD") or getpass.getpass("root's password: ")
        upstream = Upstream(os.environ.get("UPSTREAM") or "127.0.0.1", (3000, 9997))
        folder = record_fastgpt(url.rstrip("/"), password, upstream, RECORDINGS)
        print(f"recorded into {folder}")
    except Unable as error:
        sys.exit(f"record: {error}")


if __name__ == "__main__":
    main(os.environ.get("SERVICE", ""), os.environ.get("URL", ""))

"""Tells a double of the current FastGPT what the real 4.16.0 was told, and compares the answers.

The recordings are of several sessions with one set-up, so the order of the story is a table
(`tests/cases/fastgpt_current_replay.yaml`), and an id has one name in all of them. What a step
shows in the place of a recorded id is what later steps send for it.
"""

import contextlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from pypdf import PdfWriter

from tests.contract.record import FILES, REAL, RECORDINGS
from tests.contract.upstream import Asked, Upstream
from tests.waiting import until

Json = Any
Restart = Callable[[dict[str, str]], httpx.Client]
CURRENT = RECORDINGS / "fastgpt-4.16.0"
RERANKER = "127.0.0.1:18080"
_NAMED = re.compile(rf"a0{{6,}}\d+|share0{{6,}}\d+|<[A-Z][A-Z0-9_]+>|{re.escape(RERANKER)}")
# The same type is asked for, not the same value: what a run makes anew, and what is counted with
# other tokens or measured with other clocks.
_ANY = """
updateTime createTime time expireAt lockTime deleteTime duration durationSeconds runningTime
tokens embeddingTokens inputTokens outputTokens reRankInputTokens contextTotalLen
id _id teamId tmbId appId datasetId collectionId versionId billId userId nodeVersion
fileId sourceId relatedImgId shareId apiKey token systemVersion
"""
# Lists whose rows depend on the models' vectors and on the splitter: their first rows are alike.
ROWS_BY_CHANCE = {"quoteList", "historyPreview", "vectors", "llmRequestIds"}


class Stub(Upstream):
    """The upstream of the recordings: it repeats the question and marks the first quote. An answer
    waits while `held` is not set."""

    def __init__(self, *arguments: Any) -> None:
        self.held = threading.Event()
        self.held.set()
        super().__init__(*arguments)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        status, told = super().answer(asked)
        if asked.path == "/v1/chat/completions" and status == 200:
            messages = asked.body["messages"]
            quotes = re.findall(r'^  "id": "(\w+)"', messages[0]["content"], re.M)
            mark = f"[{quotes[0]}](CITE)" if quotes else "(no quotes)"
            said = f"STUB answer to: {messages[-1]['content']} {mark}"
            told["choices"][0]["message"]["content"] = said
            assert self.held.wait(60), "the answer was held back for a minute"
        return status, told


class Replay:
    """One telling; `values` is what the double has for a recorded name, and `restart` starts it
    again with more environment."""

    def __init__(
        self, http: httpx.Client, stub: Stub, values: dict[str, str], restart: Restart | None = None
    ) -> None:
        self.values = dict(values)
        self._http, self._stub, self._restart = http, stub, restart

    def tell(self, step: Json) -> list[str]:
        """Do one row of the table; how the answer differs from the recorded one, if it plays."""
        if isinstance(step, str):
            step = {"play": step}
        self._stub.forget()
        for model, (status, message) in step.get("refuse", {}).items():
            self._stub.refuse(model, status, message=message)
        if "play" in step:
            with self._busy(step):
                return self._played(step)
        if "alias" in step:
            self.values |= {name(new): self.values[name(old)] for new, old in step["alias"].items()}
        elif "restart" in step:
            assert self._restart, "this telling has nothing to start again"
            self._http = self._restart(step["restart"])
        elif "upload" in step:
            path = "/api/core/dataset/collection/create/localFile"
            headers = {"cookie": self._filled("fastgpt_token=<SESSION>")}
            answer = self._http.post(path, headers=headers, **self._form(step))
            self.values[name(step["upload"])] = answer.json()["data"]["collectionId"]
        else:
            answer = self._send(recorded(step["call"])["request"], step)
            assert answer.status_code == 200, answer.text
            if "learn" in step:
                self.values[step["learn"]] = answer.json()["data"]
        return []

    @contextlib.contextmanager
    def _busy(self, step: Json) -> Iterator[None]:
        """While the same question is being answered, if the row asks for it."""
        if not step.get("busy"):
            yield
            return
        self._stub.held.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(self._send, recorded(step["play"])["request"], step)
            until(lambda: self._stub.bodies("/v1/chat/completions"), "the first question to arrive")
            try:
                yield
            finally:
                self._stub.held.set()
                first.result()

    def _played(self, step: Json) -> list[str]:
        found: list[str] = []

        def settled() -> bool:
            found[:] = self._differences(step)
            return not found

        if step.get("until"):
            with contextlib.suppress(AssertionError):
                until(settled, step["play"], limit=20)
        else:
            settled()
        return found

    def _differences(self, step: Json) -> list[str]:
        told = recorded(step["play"])
        answer = self._send(told["request"], step)
        status = told["answer"]["status"]
        found = [] if answer.status_code == status else [f"HTTP {answer.status_code}, not {status}"]
        expected, got = _told(told["answer"]["body"]), _told(_parsed(answer))
        if _is_cut(expected):
            # The recording ends within its last event.
            got = got[: len(expected) - 1]
            expected = expected[:-1]
        self._any = {*_ANY.split()} | {*step.get("any", ())}
        self._rows = {*step.get("rows", ())}
        found += self._compare("", expected, got, is_row=False)
        return [*found, f"answered: {answer.text[:300]}"] if found else []

    def _send(self, request: Json, step: Json) -> httpx.Response:
        headers = {key: self._filled(value) for key, value in request["headers"].items()}
        headers.pop("content-type", None)
        if "as" in step:
            headers["cookie"] = f"fastgpt_token={step['as']}"
        if "key" in step:
            headers["authorization"] = "Bearer " + self._filled(step["key"])
        path, given = request["path"], {}
        for old, new in step.get("swap", {}).items():
            path = path.replace(old, new)
        if "file" in step:
            given = self._form(step)
        elif request["body"] is not None:
            text = json.dumps({**request["body"], **step.get("body", {})})
            for old, new in step.get("swap", {}).items():
                text = text.replace(old, new)
            given = {"json": json.loads(self._filled(text))}
        for _ in range(step.get("times", 1)):
            # Who asks is said by the request alone, not by a cookie of an earlier answer.
            self._http.cookies.clear()
            answer = self._http.request(
                request["method"], self._filled(path), headers=headers, **given
            )
        return answer

    def _form(self, how: Json) -> dict[str, Any]:
        told = {"datasetId": self.values[name(how["dataset"])], **how.get("data", {})}
        return {"files": {"file": (how["file"], _content(how))}, "data": {"data": json.dumps(told)}}

    def _filled(self, text: str) -> str:
        return _NAMED.sub(lambda found: self.values.get(found[0], found[0]), text)

    def _compare(self, path: str, expected: Json, got: Json, *, is_row: bool) -> list[str]:
        key = re.sub(r"\[\d*\]$", "", path).rpartition(".")[2]
        if isinstance(expected, str) and isinstance(got, str):
            return self._texts(path, key, expected, got, is_row)
        if isinstance(expected, dict) and isinstance(got, dict):
            lacks, more = expected.keys() - got.keys(), got.keys() - expected.keys()
            found = [f"{path} lacks {sorted(lacks)}"] if lacks else []
            found += [f"{path} has {sorted(more)} more"] if more else []
            for each in expected.keys() & got.keys():
                pair = expected[each], got[each]
                found += self._compare(f"{path}.{each}", *pair, is_row=is_row)
            return found
        if isinstance(expected, list) and isinstance(got, list):
            if key in ROWS_BY_CHANCE:
                self._learn(expected, got)
                expected, got = _bare(expected), _bare(got)
            if key in self._rows:
                expected, got = _bare(expected), _bare(_alike(expected, got))
            expected, got = _ordered(expected), _ordered(got)
            found = [] if len(expected) == len(got) else [f"{path}: {len(expected)} != {len(got)}"]
            for place, pair in enumerate(zip(expected, got, strict=False)):
                found += self._compare(f"{path}[{place}]", *pair, is_row=True)
            return found
        if key in self._any and _bare(expected) == _bare(got):
            return []
        # To Python, 1 is True.
        is_equal = expected == got and isinstance(expected, bool) == isinstance(got, bool)
        return [] if is_equal else [f"{path}: {expected!r} != {got!r}"]

    def _texts(self, path: str, key: str, expected: str, got: str, is_row: bool) -> list[str]:
        if _NAMED.fullmatch(expected):
            known = self.values.get(expected)
            self.values[expected] = got
            changed = known not in (None, got) and not is_row and key != "code"
            return [f"{path}: {expected} was {known}, is {got}"] if changed else []
        if key in self._any or (key == "avatar" and expected.startswith("/imgs/avatar/")):
            return []
        # A name that is not known yet stands for any id.
        form = re.sub(r"a0{6,}\d+", r"\\w+", re.escape(self._filled(expected)))
        return [] if re.fullmatch(form, got) else [f"{path}: {expected!r} != {got!r}"]

    def _learn(self, expected: Json, got: Json) -> None:
        """The ids of the first rows, whichever they are."""
        for row, other in zip(expected[:1], got[:1], strict=False):
            for each in row.keys() & other.keys() if isinstance(row, dict) else ():
                if isinstance(row[each], str) and _NAMED.fullmatch(row[each]):
                    self.values[row[each]] = other[each]


def name(number: int) -> str:
    """The recorded name of an id."""
    return f"a{number:023}"


def recorded(step: str) -> Json:
    return json.loads((CURRENT / f"{step}.json").read_text(encoding="utf-8"))


def _is_cut(told: Json) -> bool:
    return isinstance(told, list) and bool(told) and told[-1][-1] == "<cut>"


def _content(how: Json) -> bytes:
    if "from" in how:
        return (REAL / FILES / how["from"]).read_bytes()
    text = how["content"]
    if how["file"] == "blank.pdf":
        return _blank_pdf()
    is_docx = how["file"].endswith(".docx")
    return _docx(text) if is_docx else text.encode(how.get("encoding", "utf-8"))


def _docx(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        rows = "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in text.split("\n"))
        space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        body = f'<w:document xmlns:w="{space}"><w:body>{rows}</w:body></w:document>'
        archive.writestr("word/document.xml", body)
    return file.getvalue()


def _blank_pdf() -> bytes:
    file, writer = io.BytesIO(), PdfWriter()
    writer.add_blank_page(200, 200)
    writer.write(file)
    return file.getvalue()


def _parsed(answer: httpx.Response) -> Json:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _ordered(rows: list[Json]) -> list[Json]:
    """By name, where all have one: what comes first is a matter of milliseconds."""
    if all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows):
        return sorted(rows, key=lambda row: str(row["name"]))
    return rows


def _told(body: Json) -> Json:
    """Of a stream its events, the pieces of an answer as one; of JSON in a text what it says."""
    if isinstance(body, str) and body.startswith(("event: ", "data: ")):
        return _events(body)
    if isinstance(body, dict) and isinstance(body.get("data"), str) and body["data"][:1] == "[":
        return {**body, "data": json.loads(body["data"])}
    return body


def _events(stream: str) -> list[Json]:
    events: list[Json] = []
    for block in stream.strip().split("\n\n"):
        event, _, text = block.rpartition("data: ")
        kind = event.removeprefix("event: ").strip()
        try:
            data = json.loads(text)
        except ValueError:
            data = text if text == "[DONE]" else "<cut>"
        content = data["choices"][0]["delta"].get("content") if _is_answer(data) else None
        if content is not None and events and events[-1][:2] == [kind, "says"]:
            events[-1][2] += content
        else:
            events.append([kind, "says", content] if content is not None else [kind, "", data])
    return events


def _is_answer(data: Json) -> bool:
    return isinstance(data, dict) and "choices" in data


def _alike(expected: list[Json], got: list[Json]) -> list[Json]:
    """The row that has the shape of the first expected one; all rows, if none has."""
    return [row for row in got if _bare(row) == _bare(expected[0])][:1] or got


def _bare(value: Json) -> Json:
    """The shape alone: keys and types, of a list its first row."""
    if isinstance(value, dict):
        kept = ("code", "statusText", "message")
        return {key: each if key in kept else _bare(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_bare(row) for row in value[:1]]
    return "number" if isinstance(value, (int, float)) else type(value).__name__

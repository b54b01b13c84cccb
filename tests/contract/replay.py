"""A story of requests that was recorded against a real service, to be told to its double.

A recording is a folder of numbered JSON files, one for each request: what was sent, as whom, and
what came back. What each run makes anew (ids, keys, session tokens) stands in them under names of
its own: `<id 1>` is the first id that an answer showed, and later requests use it by that name. So
the same files are the story that is told, the answers that are expected, and a record without
secrets. What cannot be alike in two runs is masked by rule; the rules are the service's.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from tests.contract.processes import wait_for
from tests.contract.recording import Masks

Json: TypeAlias = Any
RECORDINGS = Path(__file__).parent / "recordings"
FILES = "files"
SETTLE_SECONDS = 60.0
_NAME = re.compile(r"<[a-z]+(?: [a-z0-9]+)*>")


class Untold(Exception):
    """The story cannot go on: a request names what no answer has shown."""


class Names:
    """The names of what a run makes anew.

    Args:
        kinds: a pattern for each kind of thing that gets a number: `{"id": ...}`.
        given: names that stand for something from the start: `{"<password>": ...}`.
    """

    def __init__(self, kinds: Mapping[str, re.Pattern[str]], given: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._values = dict(given)
        self._names = {value: name for name, value in given.items()}
        self._literals: set[str] = set()

    def keep(self, request: Json) -> None:
        """Take what looks made anew but stands in the story itself for what it is."""
        text = json.dumps(request, ensure_ascii=False)
        for kind in self._kinds.values():
            self._literals |= set(kind.findall(text)) - set(self._names)

    def fill(self, value: Json) -> Json:
        """`value` with what its names stand for.

        Raises:
            Untold: nothing of that name has been shown.
        """
        return _in_texts(value, lambda text: _NAME.sub(self._value, text))

    def hide(self, value: Json) -> Json:
        """`value` with names for what was made anew; new ones are numbered as they come."""
        for kind, pattern in self._kinds.items():
            named = _in_texts(value, lambda text, p=pattern, k=kind: p.sub(self._namer(k), text))
            value = named
        return value

    def _value(self, found: re.Match[str]) -> str:
        name = found[0]
        if name not in self._values and name[1:].split(" ")[0] in self._kinds:
            raise Untold(f"no answer has shown {name}")
        return self._values.get(name, name)

    def _namer(self, kind: str) -> Callable[[re.Match[str]], str]:
        def name(found: re.Match[str]) -> str:
            value = found[0]
            if value in self._literals:
                return value
            if value not in self._names:
                number = 1 + sum(known.startswith(f"<{kind} ") for known in self._values)
                self._names[value] = f"<{kind} {number}>"
                self._values[self._names[value]] = value
            return self._names[value]

        return name


def _in_texts(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, dict):
        return {key: _in_texts(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_texts(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Service:
    """How stories are told to one kind of service.

    Attributes:
        masks: what may differ between two runs wherever it stands.
        kinds: see `Names`.
        prepare: an answer's body, given the request, before it is masked: the service's own rules.
        settled: whether an answer is final, given the path; else the request is sent again.
        callers: headers for each `as` of a request, with names in them.
    """

    masks: Masks
    kinds: Mapping[str, re.Pattern[str]]
    prepare: Callable[[Json, Json], Json]
    settled: Callable[[str, Json], bool]
    callers: Mapping[str, Mapping[str, str]]
    headers: tuple[str, ...] = ("content-type", "set-cookie")


@dataclass
class Telling:
    """One telling of a story to a running service."""

    service: Service
    names: Names
    http: httpx.Client
    files: Path

    def ask(self, request: Json) -> Json:
        """The masked answer to a recorded request."""
        self.names.keep(request)
        answers: list[httpx.Response] = []

        def settled() -> bool:
            answers[:] = [self._send(self.names.fill(request))]
            return self.service.settled(request["path"], _body(answers[0]))

        wait_for(
            settled,
            f"{request['path']} to settle",
            lambda: answers[0].text[:500] if answers else "nothing",
            SETTLE_SECONDS,
        )
        return self.masked(request, answers[0])

    def masked(self, request: Json, answer: httpx.Response) -> Json:
        """What of an answer is compared and kept."""
        prepared = self.service.prepare(self.names.fill(request), _body(answer))
        kept = {
            name: answer.headers[name] for name in self.service.headers if name in answer.headers
        }
        whole = {"status": answer.status_code, "headers": kept, "body": prepared}
        return self.names.hide(self.service.masks.clean(whole))

    def _send(self, request: Json) -> httpx.Response:
        given = {name: request[name] for name in ("params", "json") if name in request}
        if "form" in request:
            given["data"] = request["form"]
        if "file" in request:
            file = request["file"]
            content = (self.files / file["content"]).read_bytes()
            given["files"] = {"file": (file["name"], content, file["type"])}
        headers = self.names.fill(dict(self.service.callers[request["as"]]))
        # Who asks is said by the request alone, not by a cookie of an earlier answer.
        self.http.cookies.clear()
        return self.http.request(request["method"], request["path"], headers=headers, **given)


def _body(answer: httpx.Response) -> Json:
    try:
        return json.loads(answer.content)
    except ValueError:
        return answer.text


def story(folder: Path) -> dict[str, Json]:
    """The recorded requests of `folder` by name, in order, and their answers."""
    paths = sorted(folder.glob("[0-9]*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def write(path: Path, value: Json) -> None:
    """Keep `value` as the recordings are kept."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")

"""`make record SERVICE=fastgpt URL=...`: tell a recorded story again and keep what comes back.

The story is that of the newest recording; the answers go beside it, into a folder named after the
version that answered. FastGPT has to be set up as the recording says: with `config.json` of its
folder, its gateway at this program's port 3000 and its reranker at 9997 (both at the address
UPSTREAM), which answer as the rehearsed models do and note what they are asked.

The password is read from the environment (RECORD_PASSWORD) or from standard input; never from an
argument.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sys
from pathlib import Path

import httpx

from tests.contract.fastgpt_subject import sha256
from tests.contract.replay import FILES, REAL, RECORDINGS, Json, Names, Telling, Untold
from tests.contract.upstream import Upstream

UPSTREAM = "upstream.json"


class Unable(Exception):
    """A sentence on why nothing was recorded."""


def record_fastgpt(url: str, password: str, upstream: Upstream, into: Path) -> Path:
    """The new recording of the FastGPT at `url`, all of it or nothing.

    Raises:
        Unable: what answers there is no FastGPT of this kind, or the story broke off.
    """
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
        except (Untold, AssertionError, httpx.TransportError) as error:
            hint = "is the password right, and the service set up as the recording says?"
            raise Unable(f"the story broke off at {path.stem}: {error}; {hint}") from error
    return steps


def _asked(upstream: Upstream) -> list[Json]:
    """What the upstream was asked, in order; texts are embedded several at a time, so their order
    within a row of them is chance."""
    ordered: list[Json] = []
    for asked in list(upstream.asked):
        authorization = asked.headers.get("authorization")
        row = {"path": asked.path, "authorization": authorization, "body": asked.body}
        place = len(ordered)
        while place and _comes_before(row, ordered[place - 1]):
            place -= 1
        ordered.insert(place, row)
    return ordered


def _comes_before(row: Json, other: Json) -> bool:
    both_embed = row["path"] == other["path"] == "/v1/embeddings"
    return both_embed and bool(row["body"]["input"] < other["body"]["input"])


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
        upstream = Upstream(os.environ.get("UPSTREAM") or "127.0.0.1", (3000, 9997))
        folder = record_fastgpt(url.rstrip("/"), _password(), upstream, RECORDINGS)
        print(f"recorded into {folder}")
    except Unable as error:
        sys.exit(f"record: {error}")


def _password() -> str:
    found = os.environ.get("RECORD_PASSWORD")
    if not found and sys.stdin.isatty():
        found = getpass.getpass("root's password: ")
    found = found or sys.stdin.readline().rstrip("\n")
    if not found:
        raise Unable("root's password is missing; set RECORD_PASSWORD or type it in")
    return found


if __name__ == "__main__":
    main(os.environ.get("SERVICE", ""), os.environ.get("URL", ""))

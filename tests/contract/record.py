"""`make record SERVICE=fastgpt URL=...`: tell a recorded story again and keep what comes back.

The story is that of the newest recording of the service; the answers go beside it, into a folder
named after the version that answered. The service has to be set up as the recording says: with
`config.json` of its folder, its gateway at this program's port 3000 and its reranker at 9997 (both
at the address UPSTREAM), which answer as the rehearsed models do and note what they are asked.

The password is read from the environment (RECORD_PASSWORD) or from standard input; never from an
argument.
"""

import getpass
import os
import shutil
import sys
from pathlib import Path

import httpx

from tests.contract.fastgpt_recording import FASTGPT
from tests.contract.fastgpt_subject import Upstream, sha256
from tests.contract.replay import FILES, RECORDINGS, Json, Names, Telling, Untold, story, write

UPSTREAM = "upstream.json"
TIMEOUT = 60.0


class Unable(Exception):
    """A sentence on why nothing was recorded."""


def told_to(told: Path, url: str, password: str, upstream: Upstream) -> dict[str, Json]:
    """The answers of the service at `url` to the story in `told`, by name."""
    given = {"<password>": sha256(password), "<wrong password>": sha256("wrong")}
    upstream.reset()
    steps: dict[str, Json] = {}
    with httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False) as http:
        telling = Telling(FASTGPT, Names(FASTGPT.kinds, given), http, told / FILES)
        for name, step in story(told).items():
            try:
                answer = telling.ask(step["request"])
            except (Untold, AssertionError, httpx.TransportError) as error:
                hint = "is the password right, and the service set up as the recording says?"
                raise Unable(f"the story broke off at {name}: {error}; {hint}") from error
            steps[name] = {"request": step["request"], "answer": answer}
    return steps


def asked(upstream: Upstream) -> Json:
    """What the upstream was asked; requests of one kind that came in a row are put in order."""
    rows = [
        {"path": path, "authorization": headers.get("authorization"), "body": body}
        for path, headers, body in list(upstream.calls)
    ]
    return in_order(rows)


def in_order(rows: list[Json]) -> list[Json]:
    """Texts are embedded several at a time, so their order within a row of them is chance."""
    ordered: list[Json] = []
    for row in rows:
        place = len(ordered)
        while place and _comes_before(row, ordered[place - 1]):
            place -= 1
        ordered.insert(place, row)
    return ordered


def _comes_before(row: Json, other: Json) -> bool:
    both_embed = row["path"] == other["path"] == "/v1/embeddings"
    return both_embed and row["body"]["input"] < other["body"]["input"]


def record_fastgpt(url: str, password: str, upstream: Upstream, into: Path) -> Path:
    """The new recording of the FastGPT at `url`: every answer, and what the upstream was asked.

    Raises:
        Unable: nothing answers there, or no FastGPT of this kind; or the story broke off, and
            nothing was written.
    """
    try:
        answer = httpx.get(f"{url}/api/common/system/getInitData", timeout=TIMEOUT, trust_env=False)
        version = answer.json()["data"]["systemVersion"]
    except httpx.TransportError as error:
        raise Unable(f"nothing answers at {url}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unable(f"{url} is no FastGPT: it answers {answer.text[:200]!r}") from error
    folder = into / f"fastgpt-{version}"
    told = max(RECORDINGS.glob("fastgpt-*"), key=lambda path: path.name)
    steps = told_to(told, url, password, upstream)
    folder.mkdir(parents=True, exist_ok=True)
    for name, step in steps.items():
        write(folder / f"{name}.json", step)
    write(folder / UPSTREAM, asked(upstream))
    if folder != told:
        shutil.copytree(told / FILES, folder / FILES, dirs_exist_ok=True)
        shutil.copy(told / "config.json", folder)
    return folder


def main(service: str, url: str) -> None:
    """Record `service` at `url`, or say in one sentence why not."""
    try:
        if service != "fastgpt":
            raise Unable(f"SERVICE={service} cannot be recorded; the one that can is fastgpt")
        if not url.startswith(("http://", "https://")):
            raise Unable(f"URL={url} is no address; give one such as http://127.0.0.1:3000")
        upstream = Upstream(address=os.environ.get("UPSTREAM") or "127.0.0.1")
        with upstream.running():
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

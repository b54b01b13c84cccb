"""The page of a share link, in a headless browser where one is installed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fastgpt_subject import FastGpt, fastgpt, lab, running, until
from tests.contract.test_fastgpt_apps import QUESTION, app, dataset, share

__all__ = ["app", "dataset", "fastgpt", "lab", "running"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next((path for path in map(shutil.which, NAMES) if path), None)
PAGES = Path(__file__).parents[2] / "rehearsal/doubles/fastgpt"


class Browser:
    """One tab of a headless Chromium, over its debugging pipe: JSON messages that end in a zero."""

    def __init__(self, profile: Path) -> None:
        into, self._out = os.pipe()
        self._in, out_of = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        # The pipe is file descriptors 3 and 4; only a shell can put ours there.
        script = f'exec "$0" "$@" 3</proc/self/fd/{into} 4>/proc/self/fd/{out_of}'
        self._process = subprocess.Popen(
            ["sh", "-c", script, str(FOUND), *options, f"--user-data-dir={profile}"],
            pass_fds=(into, out_of),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(into)
        os.close(out_of)
        self._rest = b""
        self._count = 0
        self._session: str | None = None

    def start(self) -> None:
        """Open the tab."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Go to `url` and wait until it is there."""
        self._ask("Page.navigate", url=url)
        there = f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'"
        until(f"{url} to load", lambda: self.run(there))

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The text of each element that matches."""
        elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
        found: list[str] = self.run(f"{elements}.map((element) => element.textContent)")
        return found

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(30)
        os.close(self._out)
        os.close(self._in)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._in, 65536)
            assert piece, "the browser is gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if FOUND is None:
        pytest.skip("no Chromium or Chrome on PATH")
    made = Browser(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_the_share_page_asks_streams_and_cites(
    fastgpt: FastGpt, app: str, browser: Browser
) -> None:
    browser.open(f"{fastgpt.http.base_url}/chat/share?shareId={share(fastgpt, app)}")
    until("the welcome", lambda: browser.texts(".said.AI") == ["Hello"])
    assert browser.texts("#name") == ["app"]
    browser.run(f"document.getElementById('question').value = {json.dumps(QUESTION)}")
    browser.run("document.querySelector('#ask button').click()")
    until("the answer", lambda: browser.texts("[data-done]"))
    assert browser.texts(".said.Human") == [QUESTION]
    assert "opens at nine" in browser.run("document.querySelector('[data-done]').firstChild.data")
    assert browser.texts(".citation summary")[0].startswith("library.md #")
    assert "opens at nine" in "".join(browser.texts(".citation blockquote"))
    assert browser.texts(".error") == []


def test_a_conversation_is_there_again_after_a_reload(
    fastgpt: FastGpt, app: str, browser: Browser
) -> None:
    url = f"{fastgpt.http.base_url}/chat/share?shareId={share(fastgpt, app)}&chatId=page-1"
    browser.open(f"{url}&question=When%20does%20the%20library%20open?")
    until("the answer", lambda: browser.texts("[data-done]"))
    browser.open("about:blank")
    browser.open(url)
    until("the history", lambda: browser.texts(".said.Human") == [QUESTION])
    assert browser.texts("[data-done]") == [], "nothing was asked again"
    until("the citations", lambda: browser.texts(".said.AI .citation summary"))


def test_the_share_page_tells_what_is_wrong(fastgpt: FastGpt, browser: Browser) -> None:
    browser.open(f"{fastgpt.http.base_url}/chat/share?shareId=nope")
    until("the error", lambda: browser.texts(".said.error") == ["分享链接无效"])


def test_the_landing_page_lists_the_models(fastgpt: FastGpt, browser: Browser) -> None:
    browser.open(f"{fastgpt.http.base_url}/")
    until("the models", lambda: "m3e-base" in browser.texts("#models li"))


@pytest.mark.parametrize("name", ["share.html", "index.html"])
def test_the_pages_load_nothing_from_elsewhere(name: str) -> None:
    page = (PAGES / name).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=|https?://|@import|url\(""", page)

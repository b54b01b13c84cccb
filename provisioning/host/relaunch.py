"""Starts the lab's models at each start of Xinference, which before 2.12 forgets them.

Runs inside the Xinference container, beside the server, with nothing but the standard library. What
to start is in `models.json` next to this file: `{"side": [payload, ...], "chat": [...]}`, bodies of
POST /v1/models (`facts/xinference.md §2`). The chat models wait for the others: vLLM claims its
share of the card when it loads, and fails if less is left.
"""

from __future__ import annotations

import functools
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = Path(__file__).with_name("models.json")
SERVER = "http://127.0.0.1:9997"
GROUPS = ("side", "chat")
LAUNCHES = 3
"""As autostart does it in later versions: so often, so many seconds apart."""
PAUSE_SECONDS = 30.0
POLL_SECONDS = 2.0
GRACE_SECONDS = 60.0
"""For so long after its launch, an unknown model may still come."""
PATIENCE_SECONDS = 2 * 3600.0
ANSWER_SECONDS = 60.0


def main() -> int:
    """Start what is not there; 1 if something did not come."""
    _await("Xinference to answer", lambda: _ask("GET", "/status") is not None)
    # Read again for each group: settings may have changed while the first one loaded.
    came = [_start(_wanted(group)) for group in GROUPS]
    return 0 if all(came) else 1


def _start(payloads: list[dict[str, Any]]) -> bool:
    for payload in payloads:
        _launch(payload)
    served = [_follow(payload) for payload in payloads]
    return all(served)


def _follow(payload: dict[str, Any]) -> bool:
    """Whether the model serves in the end."""
    uid = str(payload["model_uid"])
    for launch in range(1, LAUNCHES + 1):
        believed_from = time.monotonic() + GRACE_SECONDS
        if _await(f"{uid} to load", functools.partial(_settled, uid, believed_from)) == "READY":
            _say(f"{uid} serves")
            return True
        _say(f"{uid} did not load (launch {launch} of {LAUNCHES})")
        if launch < LAUNCHES:
            time.sleep(PAUSE_SECONDS)
            _launch(payload)
    return False


def _launch(payload: dict[str, Any]) -> None:
    uid = str(payload["model_uid"])
    if any(status != "ERROR" for status in _statuses(uid)):
        return
    _say(f"starting {uid}")
    try:
        _ask("POST", "/v1/models?wait_ready=false", payload)
    except urllib.error.HTTPError as error:
        # `pulumi up` may have been faster, and then it is there already.
        _say(f"{uid}: {error.read(300).decode(errors='replace')}")


def _settled(uid: str, believed_from: float) -> str:
    """READY or ERROR; "" while it loads. A model begins as one that nobody knows."""
    statuses = _statuses(uid)
    if statuses and all(status == "READY" for status in statuses):
        return "READY"
    if "ERROR" in statuses:
        return "ERROR"
    return "ERROR" if not statuses and time.monotonic() > believed_from else ""


def _statuses(uid: str) -> list[str]:
    gone = ("TERMINATED", "TERMINATING")
    found = _ask("GET", f"/v1/models/{uid}/replicas") or []
    return [str(item["status"]) for item in found if item["status"] not in gone]


def _wanted(group: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(MODELS.read_text(encoding="utf-8")).get(group, [])
    return found


def _await(what: str, met: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever `met` found
    deadline = time.monotonic() + PATIENCE_SECONDS
    seen: object = None
    while time.monotonic() < deadline:
        try:
            seen = met()
        except OSError as error:
            seen = error
        else:
            if seen:
                return seen
        time.sleep(POLL_SECONDS)
    _say(f"waited in vain for {what}; last seen: {seen!r}; run `pulumi up --refresh`")
    return None


def _ask(method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(  # noqa: S310 - our own server
        SERVER + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


def _say(text: str) -> None:
    print(f"relaunch: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""What an operation that failed means for the lab, and what its operator can do about it.

`cloud_errors.json` holds it: the cloud's codes (`docs/facts/alicloud.md §8`), then texts of the
engine, of Docker and of SSH that name no remedy. In both the first that fits counts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

# As the provider prints it: `Code: Forbidden.RAM`, `ErrorCode: Forbidden.RAM`, in JSON, and of OSS
# `ErrorCode=AccessDenied`.
_CODE = re.compile(r'\b(?:Error)?Code"?[:=]\s*"?([A-Z][\w-]*(?:\.[\w-]+)*)')
_MESSAGE = re.compile(r"\bMessage:\s*(?:code: \d+,\s*)?(.*?)\s*(?:request id:.*)?$", re.M)
_REQUEST = re.compile(r'\brequest ?id"?:\s*"?([0-9A-F][0-9A-F-]{7,})', re.I)
_CALLS = re.compile(r'\bAuthAction"?:\s*"?(\w+:\w+)'), re.compile(r"(\w+) Failed!!!")
_TABLE: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads(
    Path(__file__).with_suffix(".json").read_bytes()
)
_TEXTS = [
    (re.compile(text, re.I | re.S), str(row["says"]))
    for row in _TABLE["texts"]
    for text in row["texts"]
]


def explain(text: str, stack: str = "<stack>") -> str:
    """A sentence or two about what a failed operation printed; "" where nothing is known of it.

    Of a cloud's error: its code, what it means here, which setting or permission, what to do. A
    code that is not known comes whole, with message and request id.

    Args:
        text: as the engine or a provider printed it, several lines or one.
        stack: named in the commands to type.
    """
    code, call = _found(text, _CODE), _found(text, *_CALLS) or "this"
    if code and (says := _of_code(code, call)):
        return f"{code}: {_filled(says, stack, call=call)}."
    for pattern, says in _TEXTS:
        if match := pattern.search(text):
            return f"{_filled(says, stack, **match.groupdict())}."
    request = _found(text, _REQUEST)
    return _unknown(code, call, _found(text, _MESSAGE), request) if code and request else ""


def _of_code(code: str, call: str) -> str:
    for row in _TABLE["cloud"]:
        if _fits(code, row["codes"]) and _fits(call, row.get("calls", "*")):
            return str(row["says"])
    return ""


def _unknown(code: str, call: str, message: str, request: str) -> str:
    said = f": {message.rstrip('.')}" if message else ""
    return (
        f"{code}{said}. The cloud refused {call}, and no remedy is known here; its support finds "
        f"the call by the request id {request}."
    )


def _filled(says: str, stack: str, **values: str) -> str:
    for name, value in values.items():
        says = says.replace(f"{{{name}}}", value)
    says = says.replace("<stack>", stack)
    return says[0].upper() + says[1:]


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _found(text: str, *patterns: re.Pattern[str]) -> str:
    matches = (pattern.search(text) for pattern in patterns)
    return next((match[1] for match in matches if match), "")

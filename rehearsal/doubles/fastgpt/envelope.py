"""FastGPT's answers: `{"code", "statusText", "message", "data"}` (docs/facts/fastgpt.md, head).

A known business error is an HTTP 200 with its code in the body. Any other error is an HTTP 500.
"""

import re
import time
import traceback
from typing import Any, TypeAlias

from starlette.responses import JSONResponse

Json: TypeAlias = Any
"""Whatever a client sent or a file held."""

KNOWN: dict[str, tuple[int, str]] = {
    "unAuthorization": (403, "凭证错误"),
    "unAuthApiKey": (514, "Api Key 不合法"),
    "unExistDataset": (501000, "core.dataset.error.unExistDataset"),
    "appUnExist": (502000, "应用不存在"),
    "unAuthChat": (504000, "没有权限操作此对话记录"),
    "linkUnInvalid": (501, "分享链接无效"),
    "outlinkUnExist": (505000, "分享链接不存在"),
    "openapiUnExist": (506000, "Api Key 不存在"),
    "openapiExceedLimit": (506002, "最多 10 组 API 密钥"),
    "inheritPermissionError": (507001, "inheritPermissionError"),
}


PERMISSION = {
    "value": 4294967295,
    "isOwner": True,
    "hasManagePer": True,
    "hasWritePer": True,
    "hasReadPer": True,
}
"""What root may do with what is its own."""

_ADDRESS = re.compile(r"(?<=://)\S+")


class Problem(Exception):
    """An error as FastGPT sends it: `code` in the body, `http` on the status line."""

    def __init__(self, message: str, code: int = 500, status_text: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status_text = status_text
        self.http = 200 if status_text else 500

    def body(self) -> dict[str, Any]:
        """The envelope."""
        return {
            "code": self.code,
            "statusText": self.status_text,
            "message": _ADDRESS.sub("xxx", self.message),
            "data": None,
        }


def known(name: str) -> Problem:
    """The business error `name`, sent with HTTP 200; a text that names none is an HTTP 500."""
    if name not in KNOWN:
        return Problem(name)
    code, message = KNOWN[name]
    return Problem(message, code, name)


def undefined(field: str) -> Problem:
    """What JavaScript says when `field` is read from something that is not there."""
    return Problem(f"Cannot read properties of undefined (reading '{field}')")


FAILURES = (Problem, KeyError, TypeError, AttributeError, ValueError, IndexError)
"""What a handler ends in: a problem, or what Python raises where JavaScript meets `undefined`."""


def crash(error: Exception) -> Problem:
    """What a caller is told: of a shape that nobody checked JavaScript's TypeError.

    The double's own traceback goes to the log, where a mistake of the double would show.
    """
    if isinstance(error, Problem):
        return error
    traceback.print_exception(error)
    if isinstance(error, KeyError):
        return undefined(str(error.args[0]))
    return Problem(f"TypeError: {error}")


def log(level: str, text: str) -> None:
    """One line of the log, as FastGPT's own `addLog` writes it (docs/facts/measured.md §1 F9)."""
    print(f"[{level}] {time.strftime('%Y-%m-%d %H:%M:%S')} {text} ", flush=True)


def done(data: Json = None) -> dict[str, Any]:
    """The envelope of a success."""
    return {"code": 200, "statusText": "", "message": "", "data": data}


class Answer(JSONResponse):
    """An answer as Next.js sends it."""

    media_type = "application/json; charset=utf-8"

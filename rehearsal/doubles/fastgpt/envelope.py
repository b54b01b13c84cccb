"""FastGPT's answers: `{"code", "statusText", "message", "data"}` (facts/fastgpt.md, head).

A known business error is an HTTP 200 with its code in the body. Any other error is an HTTP 500.
"""

from __future__ import annotations

import traceback
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""Whatever a client sent or a file held."""

UNCHECKED = (KeyError, TypeError, AttributeError, ValueError, IndexError)
"""What Python raises where JavaScript would meet `undefined`."""

KNOWN: dict[str, tuple[int, str]] = {
    "unAuthorization": (403, "凭证错误"),
    "insufficientQuota": (510, "账号余额不足"),
    "unAuthModel": (511, "无权使用该模型"),
    "unAuthFile": (513, "无权阅读该文件"),
    "unAuthApiKey": (514, "Api Key 不合法"),
    "tooManyRequest": (429, "Too many request"),
    "unAuthDataset": (501000, "无权操作该知识库"),
    "unAuthDatasetCollection": (501002, "无权操作该数据集"),
    "unAuthDatasetData": (501003, "无权操作该数据"),
    "appUnExist": (502000, "应用不存在"),
    "unAuthApp": (502001, "无权操作该应用"),
    "unAuthChat": (504000, "没有权限操作此对话记录"),
    "linkUnInvalid": (505001, "分享链接无效"),
    "outlinkUnExist": (505000, "分享链接不存在"),
    "openapiUnExist": (506000, "Api Key 不存在"),
    "inheritPermissionError": (507001, "inheritPermissionError"),
}


class Problem(Exception):
    """An error as FastGPT sends it: `code` in the body, `http` on the status line."""

    def __init__(
        self, message: str, code: int = 500, status_text: str = "", http: int = 500
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status_text = status_text
        self.http = http

    def body(self) -> dict[str, Any]:
        """The envelope."""
        return {
            "code": self.code,
            "statusText": self.status_text,
            "message": self.message,
            "data": None,
        }


def known(name: str) -> Problem:
    """The known business error `name`: sent with HTTP 200."""
    code, message = KNOWN[name]
    return Problem(message, code, name, http=200)


def undefined(field: str) -> Problem:
    """What JavaScript says when `field` is read from something that is not there."""
    return Problem(f"Cannot read properties of undefined (reading '{field}')")


def crash(error: Exception) -> Problem:
    """What a shape that nobody checked ends in: JavaScript's TypeError, told to the caller.

    The double's own traceback goes to the log, where a mistake of the double would show.
    """
    traceback.print_exception(error)
    if isinstance(error, KeyError):
        return undefined(str(error.args[0]))
    return Problem(f"TypeError: {error}")


def done(data: Json = None) -> dict[str, Any]:
    """The envelope of a success."""
    return {"code": 200, "statusText": "", "message": "", "data": data}

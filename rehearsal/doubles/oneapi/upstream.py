"""How OneAPI reaches the model servers behind its channels."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

import httpx

from rehearsal.doubles.oneapi.vendors import VendorError

OUTSIDE_PORT = "8080"


def send(
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes | Iterable[bytes],
    timeout: float | None = None,
) -> httpx.Response:
    """The upstream's answer, its body not yet read.

    In a rehearsed container `https` goes as plain HTTP to the emulated outside world, at port
    `REHEARSAL_OUTSIDE_PORT` (8080).

    Raises:
        VendorError: no connection; the text is Go's.
    """
    target = httpx.URL(url) if "://" in url else None
    if target is None or target.scheme not in ("http", "https"):
        raise _failed(method, url, 'unsupported protocol scheme ""')
    headers = {**headers, "Host": target.netloc.decode()}
    if target.scheme == "https" and os.environ.get("REHEARSAL_HOSTS"):
        outside = int(os.environ.get("REHEARSAL_OUTSIDE_PORT") or OUTSIDE_PORT)
        target = target.copy_with(scheme="http", port=outside)
    request = _CLIENT.build_request(method, target, headers=headers, content=body)
    request.extensions["timeout"] = httpx.Timeout(timeout).as_dict()
    try:
        return _CLIENT.send(request, stream=True)
    except httpx.TransportError as error:
        raise _failed(method, url, _reason(error, target)) from error


def read(answer: httpx.Response) -> bytes:
    """All of the answer's body; raises VendorError when the upstream breaks off."""
    try:
        return answer.read()
    except httpx.TransportError as error:
        raise VendorError("unexpected EOF", "read_response_body_failed") from error
    finally:
        answer.close()


def _failed(method: str, url: str, reason: str) -> VendorError:
    return VendorError(f'do request failed: {method.capitalize()} "{url}": {reason}')


def _reason(error: BaseException, target: httpx.URL) -> str:
    place = f"{target.host}:{target.port or 80}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return f"dial tcp: lookup {target.host}: no such host"
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return f"dial tcp {place}: connect: connection refused"
        cause = cause.__cause__ or cause.__context__
    return "EOF" if isinstance(error, httpx.RemoteProtocolError) else f"dial tcp {place}: {error}"


_CLIENT = httpx.Client(
    trust_env=False,
    timeout=None,
    limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
    headers={"User-Agent": "Go-http-client/1.1"},
)

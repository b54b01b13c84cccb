"""BusyBox `wget`: plain HTTP, exit code 1 on everything that is not a 2xx answer."""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from rehearsal import inside
from rehearsal.containers.tools.common import NotUnderstood, Options, complain

NAMES = {
    "-q": "quiet",
    "--quiet": "quiet",
    "-O": "output",
    "--output-document": "output",
    "-S": "show",
    "--server-response": "show",
    "--spider": "spider",
    "--header": "header",
    "--post-data": "post",
    "--post-file": "post-file",
    "-T": "timeout",
    "--timeout": "timeout",
    "-t": "tries",
    "--tries": "tries",
    "-U": "agent",
    "--user-agent": "agent",
    "-Y": "proxy",
    "-P": "folder",
    "-c": "continue",
    "--no-check-certificate": "insecure",
}
VALUED = {
    "output",
    "header",
    "post",
    "post-file",
    "timeout",
    "tries",
    "agent",
    "proxy",
    "folder",
}
DEFAULT_TIMEOUT = 900.0
MOST_REDIRECTS = 5


class _Failed(Exception):
    """Ends the download with BusyBox's words and exit code 1."""


def main(name: str, arguments: list[str]) -> int:
    """Fetch each URL."""
    options = Options(arguments, NAMES, VALUED, set())
    if not options.operands:
        complain(
            "BusyBox v1.36.1 multi-call binary.\n\nUsage: wget [-cqS] [--spider] [-O FILE] URL"
        )
        return 1
    try:
        for url in options.operands:
            _fetch(url, options)
    except _Failed as failed:
        complain(f"wget: {failed}")
        return 1
    return 0


def _fetch(url: str, options: Options) -> None:
    for _ in range(MOST_REDIRECTS + 1):
        connection, answer = _ask(url, options)
        if options.has("show"):
            _show(answer)
        if answer.status in (301, 302, 303, 307, 308) and answer.getheader("Location"):
            url = urljoin(url, str(answer.getheader("Location")))
            connection.close()
            continue
        if not 200 <= answer.status < 300:
            reason = f"HTTP/1.1 {answer.status} {answer.reason}"
            raise _Failed(f"server returned error: {reason}")
        _keep(answer, url, options)
        connection.close()
        return
    raise _Failed("too many redirections")


def _ask(url: str, options: Options) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http":
        raise NotUnderstood(f"the address {url}: the rehearsal has no TLS")
    host, port = parts.hostname or "", parts.port or 80
    timeout = float(options.get("timeout") or DEFAULT_TIMEOUT)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        address = inside.resolve(host)
    except socket.gaierror as error:
        raise _Failed(f"bad address '{host}'") from error
    if not options.has("quiet"):
        complain(f"Connecting to {parts.netloc} ({address}:{port})")
    try:
        connection.sock = socket.create_connection((address, port), timeout)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        body = _body(options)
        method = "POST" if body is not None else ("HEAD" if options.has("spider") else "GET")
        connection.request(method, path, body=body, headers=_headers(parts.netloc, options, body))
        return connection, connection.getresponse()
    except TimeoutError as error:
        raise _Failed("download timed out") from error
    except ConnectionRefusedError as error:
        text = f"can't connect to remote host ({address}): Connection refused"
        raise _Failed(text) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"error getting response: {error}") from error


def _headers(host: str, options: Options, body: bytes | None) -> dict[str, str]:
    headers = {"Host": host, "User-Agent": options.get("agent", "Wget"), "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    for line in options.all("header"):
        name, colon, value = line.partition(":")
        if not colon:
            raise NotUnderstood("a --header without a colon")
        headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()}
        headers[name] = value.strip()
    return headers


def _body(options: Options) -> bytes | None:
    if options.has("post-file"):
        inner = options.get("post-file")
        return (inside.path(inner) if inner.startswith("/") else Path(inner)).read_bytes()
    return options.get("post").encode() if options.has("post") else None


def _show(answer: http.client.HTTPResponse) -> None:
    complain(f"  HTTP/1.1 {answer.status} {answer.reason}")
    for name, value in answer.getheaders():
        complain(f"  {name}: {value}")


def _keep(answer: http.client.HTTPResponse, url: str, options: Options) -> None:
    if options.has("spider"):
        if not options.has("quiet"):
            complain("remote file exists")
        return
    try:
        content = answer.read()
    except TimeoutError as error:
        raise _Failed("download timed out") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failed("connection closed prematurely") from error
    target = options.get("output") or urlsplit(url).path.rpartition("/")[2] or "index.html"
    if target == "-":
        sys.stdout.buffer.write(content)
        return
    place = inside.path(target) if target.startswith("/") else Path(target)
    if not options.has("output") and place.exists():
        raise _Failed(f"can't open '{target}': File exists")
    place.write_bytes(content)

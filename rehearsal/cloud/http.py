"""The region's endpoint: HTTP and HTTPS on one port of 127.0.0.1."""

import json
import socket
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rehearsal.cloud import rpc
from rehearsal.cloud.account import Cloud

ACCESS_KEY = "LTAI5tRehearsalRehearsal"
SECRET_KEY = "rehearsal-rehearsal-rehearsal0"  # of nothing real: the signature is not checked
_TLS_HANDSHAKE = b"\x16"


@dataclass
class Endpoint:
    """A running endpoint; `port` is on 127.0.0.1."""

    port: int
    _server: ThreadingHTTPServer

    @property
    def address(self) -> str:
        """`HOST:PORT`, as the provider's `endpoints` want it."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it; calls under way are dropped."""
        self._server.shutdown()
        self._server.server_close()


def serve_region(cloud: Cloud, certificate: Path | None = None) -> Endpoint:
    """Offer `cloud` over HTTP, and over HTTPS where a `certificate` (PEM with its key) is given.

    The real plugin revokes rules over TLS whatever its settings say
    (docs/facts/alicloud-http.md), so both are answered on the same port.
    """
    server = _Server(cloud, certificate)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return Endpoint(server.server_address[1], server)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cloud: Cloud, certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.cloud = cloud
        self.tls: ssl.SSLContext | None = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """In the call's own thread: a client that says nothing holds up no other."""
        if self.tls is None or request.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Parameters are in the query, in the form, or in both; the action may be in a header."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        sent = parse_qsl(urlsplit(self.path).query, keep_blank_values=True)
        sent += parse_qsl(body, keep_blank_values=True)
        parameters = dict(sent)
        for name, header in (("Action", "x-acs-action"), ("Version", "x-acs-version")):
            parameters.setdefault(name, self.headers.get(header) or "")
        status, answer = rpc.answer(self.server.cloud, frozenset({ACCESS_KEY}), parameters)
        said = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        """What was asked is in the engine's own log."""

"""The rehearsed MySQL, PostgreSQL and MongoDB.

    python -m rehearsal.doubles.database mysql|postgres|mongo [the container's own command ...]

A server on the container's address at the usual port, and on the usual Unix socket. The protocol is
described in `rehearsal/doubles/database_client.py`, what the images do with their environment in
`database_images.py`, each server's rules in `database_kinds.py`.

On an empty data directory the official images first run a temporary server that only the container
itself can reach, create the users there, and start again. The double does the same, so a health
check over the socket turns healthy before anybody else can connect.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rehearsal import inside
from rehearsal.doubles.database_images import Image, StartRefused, image_for
from rehearsal.doubles.database_kinds import Kind, Mongo, Refusal, Session
from rehearsal.doubles.database_store import Store, Write

LAST_WRITES_SECONDS = 0.2
"""How long a server that is told to end writes out what it holds; killed meanwhile, it recovers."""

FIRST_BOOT_SECONDS = 0.3
"""How long a first boot's temporary server stands; `REHEARSAL_DATABASE_FIRST_BOOT` overrides."""


def main(arguments: list[str]) -> int:
    """Run one database until it is told to stop; the exit code the real image would have."""
    inside.enter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        image = image_for(arguments[0], arguments[1:], dict(os.environ))
        if image.is_empty():
            _first_boot(image)
        image.check_options()
    except StartRefused as refused:
        print(refused, file=sys.stderr, flush=True)
        return refused.exit_code
    kind = image.kind(image.open_store(), first_boot=False)
    recovery = image.lock()
    if recovery:
        print(recovery, file=sys.stderr, flush=True)
    try:
        _serve(image, kind)
    finally:
        time.sleep(LAST_WRITES_SECONDS)
        image.unlock()
    return 0


def _serve(image: Image, kind: Kind) -> None:
    with Server(kind, _at_socket(kind)) as local, Server(kind, _at_port(kind)) as public:
        threading.Thread(target=local.serve_forever, daemon=True).start()
        print(f"{image.ready_text}", file=sys.stderr, flush=True)
        public.serve_forever()


def _first_boot(image: Image) -> None:
    image.check_environment()
    store = image.open_store()
    kind = image.kind(store, first_boot=True)
    kind.create_users(store, image.secrets())
    with Server(kind, _at_socket(kind)) as local:
        threading.Thread(target=local.serve_forever, args=(0.02,), daemon=True).start()
        time.sleep(float(os.environ.get("REHEARSAL_DATABASE_FIRST_BOOT", FIRST_BOOT_SECONDS)))
        local.shutdown()
    image.mark_initialised()


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Answers one listening socket, a thread per connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, kind: Kind, listening: socket.socket) -> None:
        super().__init__(listening.getsockname(), _Handler)
        self.kind = kind
        self.listening = listening

    def fileno(self) -> int:
        """For the selector of `serve_forever`."""
        return self.listening.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one connection."""
        return self.listening.accept()

    def server_close(self) -> None:
        """Stop listening."""
        self.listening.close()


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        via_socket = self.server.listening.family == socket.AF_UNIX
        session = Session("" if via_socket else self.client_address[0], via_socket)
        for line in self.rfile:
            answer = _answer(self.server.kind, session, json.loads(line))
            try:
                self.wfile.write(answer)
            except OSError:
                return


_one_at_a_time = threading.Lock()


def _answer(kind: Kind, session: Session, request: dict[str, Any]) -> bytes:
    """Encoded under the lock: an answer may be the live data itself."""
    with _one_at_a_time:
        try:
            answer = {"ok": True, **_carry_out(kind, session, request)}
        except Refusal as refusal:
            answer = refusal.answer
        except (KeyError, TypeError) as error:
            answer = {"ok": False, "error": f"malformed request: {error!r}"}
        return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def _carry_out(kind: Kind, session: Session, request: dict[str, Any]) -> dict[str, Any]:
    op = request["op"]
    if op == "ping":
        return {}
    if op == "hello":
        return kind.hello()
    if op == "auth":
        kind.log_in(session, request)
        return {}
    kind.check(session, request)
    if op == "set_password":
        kind.set_password(session, request)
        return {}
    if op == "replset_initiate" and isinstance(kind, Mongo):
        kind.initiate(request.get("config"))
        return {}
    if op == "replset_status" and isinstance(kind, Mongo):
        return {"status": kind.status()}
    return _data(kind.store, session.database, request)


def _data(store: Store, database: str, request: dict[str, Any]) -> dict[str, Any]:
    op = request["op"]
    if op == "transaction":
        store.write([_write(database, each) for each in request["writes"]])
        return {}
    found = store.collection(database, request["collection"])
    if op == "get":
        return {"value": found.get(request["key"])}
    if op == "list":
        return {"items": found}
    if op == "put":
        store.write([_write(database, request)])
        return {}
    if op == "delete":
        present = request["key"] in found
        store.write([_write(database, request)])
        return {"deleted": present}
    raise Refusal(f"the rehearsed database does not know the operation {op!r}")


def _write(database: str, request: dict[str, Any]) -> Write:
    write: Write = {
        "database": database,
        "collection": request["collection"],
        "key": request["key"],
    }
    if request["op"] == "delete":
        return {**write, "gone": True}
    return {**write, "value": request["value"]}


def _at_port(kind: Kind) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((inside.address(), kind.port))
    listening.listen(128)
    return listening


def _at_socket(kind: Kind) -> socket.socket:
    """Bind through /proc: the path of a rehearsed container is longer than a socket's may be."""
    place = inside.path(kind.socket_path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    directory = os.open(place.parent, os.O_RDONLY)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(f"/proc/self/fd/{directory}/{Path(place).name}")
    finally:
        os.close(directory)
    listening.listen(128)
    return listening


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

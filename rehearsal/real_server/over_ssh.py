"""A real server's engine, as the docker provider reaches it: Docker's HTTP API over `ssh`."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import docker
import requests
from docker.errors import DockerException

from rehearsal.docker.engine import EngineError, Json, Unreachable

_SOCKET = "/var/run/docker.sock"
_DIAL_SECONDS = 60.0
_ANSWER_SECONDS = 600


class OverSsh:
    """The engine of `ssh://user@address:port`, through the operator's own `ssh` and its options.

    Answers and configurations are the Engine API's own, so they are only handed on. Nothing is
    dialled before the first call, and anew once the connection has broken.
    """

    def __init__(self, host: str, options: Sequence[str]) -> None:
        """`options` are words for `ssh`."""
        self._host, self._options = host, list(options)
        self._ssh: subprocess.Popen[bytes] | None = None
        self._client: docker.APIClient | None = None
        self._dialling = threading.Lock()

    def create_container(self, name: str, config: Json) -> str:
        """See `Engine`, as for all that follow."""
        return str(self._ask("POST", "/containers/create", config, name=name)["Id"])

    def connect_network(self, network: str, container: str, aliases: list[str]) -> None:
        """See `Engine`."""
        wanted = {"Container": container, "EndpointConfig": {"Aliases": aliases}}
        self._ask("POST", f"/networks/{network}/connect", wanted)

    def disconnect_network(self, network: str, container: str) -> None:
        """See `Engine`."""
        self._ask("POST", f"/networks/{network}/disconnect", {"Container": container})

    def put_file(self, container: str, path: str, content: bytes, mode: int) -> None:
        """See `Engine`."""
        file = tarfile.TarInfo(path.lstrip("/"))
        file.size, file.mode, file.mtime = len(content), mode, int(time.time())
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(file, io.BytesIO(content))
        self._ask("PUT", f"/containers/{container}/archive", packed.getvalue(), path="/")

    def start_container(self, container: str) -> None:
        """See `Engine`."""
        self._ask("POST", f"/containers/{container}/start")

    def stop_container(self, container: str, seconds: int) -> None:
        """See `Engine`."""
        self._ask("POST", f"/containers/{container}/stop", t=seconds)

    def remove_container(self, container: str, volumes: bool) -> None:
        """See `Engine`."""
        self._ask("DELETE", f"/containers/{container}", force=True, v=volumes)

    def update_container(self, container: str, config: Json) -> None:
        """See `Engine`."""
        self._ask("POST", f"/containers/{container}/update", config)

    def inspect_container(self, container: str) -> Json:
        """See `Engine`."""
        return self._ask("GET", f"/containers/{container}/json")

    def create_network(self, config: Json) -> str:
        """See `Engine`."""
        return str(self._ask("POST", "/networks/create", config)["Id"])

    def inspect_network(self, network: str) -> Json:
        """See `Engine`."""
        return self._ask("GET", f"/networks/{network}")

    def remove_network(self, network: str) -> None:
        """See `Engine`."""
        self._ask("DELETE", f"/networks/{network}")

    def create_volume(self, config: Json) -> Json:
        """See `Engine`."""
        return self._ask("POST", "/volumes/create", config)

    def inspect_volume(self, volume: str) -> Json:
        """See `Engine`."""
        return self._ask("GET", f"/volumes/{volume}")

    def remove_volume(self, volume: str) -> None:
        """See `Engine`."""
        self._ask("DELETE", f"/volumes/{volume}")

    def pull_image(self, reference: str) -> None:
        """See `Engine`."""
        told = self._ask("POST", "/images/create", fromImage=reference)
        # The status is 200 before anything is fetched: what went wrong is in the last line.
        if "error" in told:
            raise EngineError(str(told["error"]))

    def inspect_image(self, reference: str) -> Json:
        """See `Engine`."""
        return self._ask("GET", f"/images/{quote(reference)}/json")

    def remove_image(self, reference: str, force: bool) -> None:
        """See `Engine`."""
        self._ask("DELETE", f"/images/{quote(reference)}", force=force)

    def _ask(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        /,
        **query: Any,  # noqa: ANN401 - what requests takes
    ) -> Json:
        client = self._dialled()
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        words = {name: str(value) for name, value in query.items()}
        address = f"{client.base_url}/v{client.api_version}{path}"
        try:
            answer = client.request(method, address, params=words, timeout=_ANSWER_SECONDS, **given)
        except requests.RequestException as error:
            raise self._unreachable(str(error)) from error
        lines = answer.text.strip().splitlines()
        said = json.loads(lines[-1]) if lines else {}
        if answer.status_code >= 400:
            raise EngineError(str(said.get("message", answer.reason)), answer.status_code)
        return dict(said) if isinstance(said, dict) else {}

    def _dialled(self) -> docker.APIClient:
        with self._dialling:
            if self._client is None or self._ssh is None or self._ssh.poll() is not None:
                self._client = self._dial()
            return self._client

    def _dial(self) -> docker.APIClient:
        server = urlsplit(self._host)
        if server.scheme != "ssh" or not server.hostname:
            raise Unreachable(f"the rehearsal reaches Docker by ssh:// only, not {self._host!r}")
        folder = Path(tempfile.mkdtemp(prefix="docker-"))
        place, log = folder / "engine", folder / "ssh.log"
        words = ["ssh", *self._options, "-F", "none", "-o", "ExitOnForwardFailure=yes", "-N"]
        words += ["-L", f"{place}:{_SOCKET}", "-l", server.username or "root"]
        words += ["-p", str(server.port or 22), "--", server.hostname]
        with log.open("wb") as said:
            self._ssh = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        weakref.finalize(self, _end, self._ssh, folder)
        deadline = time.monotonic() + _DIAL_SECONDS
        last = "no answer"
        while self._ssh.poll() is None and time.monotonic() < deadline:
            if place.exists():
                try:
                    return docker.APIClient(f"unix://{place}", version="auto")
                except DockerException as error:
                    last = str(error)
            time.sleep(0.1)
        raise self._unreachable(log.read_text(errors="replace").strip() or last)

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(f"error during connect: Docker on {self._host}: {why}")


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)

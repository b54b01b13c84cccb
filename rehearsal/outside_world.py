"""The emulated model providers and web pages beyond the servers, as one process of the world."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rehearsal.children import PROJECT
from rehearsal.doubles.providers import HOSTS, PORT
from rehearsal.doubles.xinference.hub import DEFAULT_PACKAGE_INDEX
from rehearsal.guard import end_session
from rehearsal.processes import Lifeline, guarded
from rehearsal.reach import Reach, on_the_mainland, reach

_READY_SECONDS = 20.0
_BLOCKED = frozenset({"api.openai.com"})
_MODEL_HUBS = ("www.modelscope.cn", "modelscope.cn", "huggingface.co", "hf-mirror.com")
_PACKAGE_INDEXES = ("mirrors.aliyun.com", "pypi.tuna.tsinghua.edu.cn")


class OutsideWorld:
    """`rehearsal.doubles.providers`, listening at `address` for all its hosts."""

    def __init__(self, address: str, folder: Path, faults: Path, pages: Sequence[str] = ()) -> None:
        """Start it; `wait` for it before the first server needs it.

        Args:
            pages: hosts that have web pages, as the settings' links name them.
        """
        self._address = address
        self._pages = frozenset(pages)
        self._lifeline = Lifeline()
        self._log = folder / "outside.log"
        command = [sys.executable, "-m", "rehearsal.doubles.providers"]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(PROJECT),
            "REHEARSAL_ADDRESS": address,
            "REHEARSAL_FAULTS": str(faults),
            "REHEARSAL_LIFELINE": str(self._lifeline.reader),
            "REHEARSAL_PAGES": json.dumps(sorted(self._pages)),
            "REHEARSAL_ROOT": str(folder),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                guarded(command, self._lifeline),
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._lifeline.reader],
                start_new_session=True,
            )

    def hosts(self, region: str) -> dict[str, str]:
        """Host name to address, of what containers in `region` can reach."""
        providers = HOSTS.keys() - (_BLOCKED if on_the_mainland(region) else set())
        hubs = {
            host for host in (*_MODEL_HUBS, *_PACKAGE_INDEXES) if reach(host, region) is Reach.OK
        }
        reached = providers | hubs | self._pages | {DEFAULT_PACKAGE_INDEX}
        return dict.fromkeys(sorted(reached), self._address)

    @property
    def pid(self) -> int:
        """Its process; it is the world's own, not a server's."""
        return self._process.pid

    def wait(self) -> None:
        """Until it answers.

        Raises:
            OSError: it ended, or did not listen in time; its own words are in the text.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex((self._address, PORT)) == 0:
                    return
            time.sleep(0.02)
        said = self._log.read_text(errors="replace").strip()[-500:]
        raise OSError(f"the outside world does not listen at {self._address}:{PORT}: {said}")

    def close(self) -> None:
        """End it."""
        self._lifeline.close()
        end_session(self._process.pid)
        self._process.wait()

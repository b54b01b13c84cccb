"""A data centre for the emulated region in which nothing runs."""

from __future__ import annotations

import threading

from rehearsal.cloud import Instance

REGION = "cn-hangzhou"
PLAIN_IMAGE = "ubuntu_22_04_x64_20G_alibase_20241016.vhd"


class Recorder:
    """A data centre that remembers what was done to which server."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.changed = threading.Event()
        self._count = 0

    def fresh_address(self) -> str:
        self._count += 1
        return f"127.9.{self._count}.1"

    def switch_on(self, instance: Instance, address: str, authorized_key: str) -> None:
        self.done.append(("on", address))

    def switch_off(self, instance: Instance) -> None:
        self.done.append(("off", instance.id))

    def wipe(self, instance: Instance) -> None:
        self.done.append(("wipe", instance.id))
        self.changed.set()

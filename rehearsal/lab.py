"""A lab that is rehearsed: its world, its stack, and what it told about itself."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from provisioning.plan import plan
from provisioning.validation import read_settings
from rehearsal import real_plugin, stack_file
from rehearsal.addresses import SSH_PORT
from rehearsal.cloud.ram import README_REGION
from rehearsal.control import START_SECONDS, StartedWorld, World, read_world, start_world, worlds_in
from rehearsal.engine import Engine
from rehearsal.processes import PROJECT
from tools import oneapi_build
from tools.stack_file import CannotRead, config_of, read_stack

CURRENT = "current.json"
_KEPT_RUNS = 3
_REAL_SERVER_SECONDS = 300.0


class CannotRehearse(Exception):
    """The rehearsal cannot begin; the text says why and what to do."""


@dataclass
class Lab:
    """One rehearsal's lab. `outputs` has secrets and stays in memory."""

    folder: Path
    stack: str
    started: StartedWorld
    engine: Engine
    settings: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def world(self) -> World:
        return self.started.world

    def end(self) -> None:
        self.engine.close()
        self.started.stop()


def prepare(
    base: Path,
    stack: str,
    on_line: Callable[[str], None] = lambda line: None,
    changes: dict[str, Any] | None = None,
    world_options: Sequence[str] = (),
    real_server: bool = False,
) -> Lab:
    """A world, and a stack of this project in it, ready for the first `up`.

    The real OneAPI is built before, where it is not yet: minutes, once, told on standard error.

    Args:
        base: folder of all rehearsals (`.rehearsal`).
        stack: whose `Pulumi.<stack>.yaml` is rehearsed; it is read, never written.
        changes: settings (`ai-lab:leaseHours`) to use instead of the file's.
        real_server: on a real server, whose images are made now where they are not yet: minutes.

    Raises:
        CannotRehearse: the folder cannot be written, or the stack file not be read.
        SetupError: the real OneAPI cannot be built here.
    """
    oneapi_build.binary()
    folder = _fresh_folder(base)
    try:
        config = config_of(PROJECT / f"Pulumi.{stack}.yaml")
        key = _make_key(folder)
        rewritten = stack_file.rewrite({**config, **(changes or {})}, key, SSH_PORT)
    except CannotRead as error:
        raise CannotRehearse(str(error)) from error
    pages = [f"--page={host}" for host in stack_file.linked_hosts(rewritten.config)]
    where = rewritten.config.get("alicloud:region", README_REGION)
    options = [*pages, f"--region={where}", *world_options]
    if real_server:
        options += _real_server(stack)
    patience = _REAL_SERVER_SECONDS if real_server else START_SECONDS
    started = start_world(folder / "world", options, patience)
    try:
        engine = Engine(folder / "engine", PROJECT, stack, started.world.debug_providers, on_line)
        if real_plugin.wanted():
            real_plugin.use(engine, started.world)
        # Whoever else asks the account finds the emulated region by them: status, sweep.
        rewritten.config.update(real_plugin.config(started.world.region_port))
        engine.init(rewritten.config, rewritten.placeholders)
    except real_plugin.NoPlugin as error:
        started.stop()
        raise CannotRehearse(str(error)) from error
    except BaseException:
        started.stop()
        raise
    return Lab(folder, stack, started, engine, rewritten.config)


def _real_server(stack: str) -> list[str]:
    """Told to the world: what this stack pulls, for its mirror to have. Makes the images before.
    Raises CannotRehearse: no Docker engine, or settings that cannot be used; SetupError: an image
    cannot be made."""
    # Its packages are the tests' own, and no stage needs them.
    from rehearsal.real_server.engine import NoEngine
    from rehearsal.real_server.site import make_images

    file = read_stack(PROJECT, stack)
    settings, _ = read_settings(file.settings, file.secrets, PROJECT)
    if settings is None:
        raise CannotRehearse(f"Pulumi.{stack}.yaml cannot be used: see `make plan STACK={stack}`")
    try:
        make_images(lambda line: print(line, file=sys.stderr, flush=True))
    except NoEngine as error:
        raise CannotRehearse(str(error)) from error
    wanted = plan(settings).containers.items()
    return [f"--real-server={name}={container.image}" for name, container in wanted]


def keep(base: Path, lab: Lab) -> None:
    """Let the lab stand after this process; `current.json` tells where."""
    lab.started.stay()
    engine = lab.engine
    names = [name for name, value in engine.environment.items() if os.environ.get(name) != value]
    current = base / CURRENT
    current.touch(mode=0o600)
    told = {
        "folder": str(lab.folder),
        "stack": lab.stack,
        "config_file": str(engine.stack_file),
        "addresses": addresses(lab.outputs),
        "environment": {name: engine.environment[name] for name in sorted(names)},
    }
    current.write_text(json.dumps(told, indent=2))


def addresses(outputs: dict[str, Any]) -> dict[str, str]:
    """What of the outputs one can go to: URLs and the SSH command."""
    names = ("fastgptUrl", "oneapiUrl", "xinferenceUrl", "serverAddress", "sshCommand")
    found = {name: str(outputs[name]) for name in names if outputs.get(name)}
    links = outputs.get("shareLinks")
    if isinstance(links, dict):
        found |= {f"share link {name}": str(url) for name, url in links.items()}
    return found


def stop_all(base: Path) -> tuple[int, list[Path]]:
    """End every world that was kept under `base`; how many there were, and the folders of those
    that are left alone, because their rehearsal still runs."""
    kept = [world for world in worlds_in(base) if not world.rehearses]
    for world in kept:
        world.stop()
    (base / CURRENT).unlink(missing_ok=True)
    return len(kept), [world.folder.parent for world in worlds_in(base)]


def _fresh_folder(base: Path) -> Path:
    try:
        base.mkdir(parents=True, exist_ok=True)
        _forget_old(base)
        folder = base / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise CannotRehearse(
            f"{base} cannot be written ({error.strerror}): the rehearsal keeps its state there. "
            "Set REHEARSAL_DIR to a folder of your own and try again"
        ) from error
    return folder


def _forget_old(base: Path) -> None:
    runs = sorted(path for path in base.glob("*-*") if path.is_dir())
    for run in runs[:-_KEPT_RUNS]:
        if read_world(run / "world") is None:
            with contextlib.suppress(OSError):
                shutil.rmtree(run)


def _make_key(folder: Path) -> Path:
    path = folder / "id_rsa"
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048, comment="rehearsal")
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    path.with_name("id_rsa.pub").write_bytes(key.export_public_key())
    return path

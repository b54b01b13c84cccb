"""What all dynamic resources of the lab share (`docs/facts/engine.md`, "Dynamic resources in
Python").

Module paths and type tokens are state format: the engine finds the code by them. It stores a
provider with its attributes, so one keeps only its thing, and what `configure` sets after loading.

`read` and `delete` get the stored values, so a new way to a thing is taken in by an update that
calls nothing. Unreachable never means gone: only the service's own "not found" does.
"""

import functools
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import asyncssh
import httpx
import pulumi
from pulumi import dynamic
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.errors import DeadlineExceeded, ServiceError, Unauthorized, Unreachable
from provisioning.tunnel import ServerUnreachable
from stack.resources.declaration import IDENTITY, IGNORED, OUTPUT, REACH, SECRET, Lab, Thing, plain
from stack.resources.declaration import Props as Props

_ENGINE_SECONDS = 5.0


class LabProvider(Lab, dynamic.ResourceProvider):
    """Carries the engine's calls to a declared thing, and is the thing's way to its service."""

    def __init__(self, thing: type[Thing]) -> None:
        super().__init__()
        self.thing = thing

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        """Take the stack's config, and the operator's SSH identity from it."""
        self.config = req.config._props
        _end_with_the_engine()
        given = req.config.get("sshKeyFile")
        self.ssh_key_file = Path(str(given)).expanduser() if given else None
        # The SDK's server answers every error with its `traceback.format_exc()`
        # (`pulumi/dynamic/__main__.py`, 3.272), and knows no other way to fail.
        server = sys.modules["__main__"]
        if hasattr(server, "DynamicResourceProviderServicer"):
            server.traceback = SimpleNamespace(format_exc=_error_text)  # type: ignore[attr-defined]

    def check(self, _olds: Props, news: Props) -> dynamic.CheckResult:
        """Refuse bad inputs, at preview already where they are known: `Thing.check`."""
        known = {key: value for key, value in plain(news).items() if not unknown(value)}
        wrong = self.thing.check(plain(_olds or {}), known)
        return dynamic.CheckResult(news, [dynamic.CheckFailure(*each) for each in wrong])

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        """Compare the stored outputs with the new inputs."""
        old, new = self.thing.of(_olds), self.thing.of(_news)
        changed = new.changes(old)
        # In a preview some values are not known yet; what drifted shows without them.
        unsettled = {n: was for n, was in old.props().items() if unknown(getattr(new, n))}
        # Nobody looks at a server that is about to be another one.
        if "endpoint" not in unsettled:
            changed |= old.drift(self, replace(new, **unsettled))
        changed -= new.marked(IGNORED)
        replaces = sorted(changed & new.marked(IDENTITY))
        return dynamic.DiffResult(
            changes=bool(changed),
            replaces=replaces,
            delete_before_replace=new.delete_first and bool(replaces),
        )

    def create(self, props: Props) -> dynamic.CreateResult:
        made = self.thing.of(props).create(self)
        return dynamic.CreateResult(made.id, made.props())

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        """See `Thing.read`; it stays as the state knows it where nobody can look."""
        thing = self.thing.of(props)
        as_known = dynamic.ReadResult(id_, thing.props())
        endpoint = getattr(thing, "endpoint", None) or {}
        where = endpoint.get("host", self), endpoint.get("port"), self.transport
        # One wait is enough: a lab of a hundred documents would wait for an hour otherwise.
        if not _told.isdisjoint((where, where[:1])):
            return as_known
        try:
            seen = thing.read(self)
        except Unauthorized as error:
            # The resource that hands out the credential notices by itself and gets a new one.
            said = f"could not look: {error}; run `pulumi up --refresh` once more"
            warn_once(("refused", *where), said)
            return as_known
        except (Unreachable, DeadlineExceeded) as error:
            advice = "`pulumi up` says what is down, and starts it again where it was stopped"
            said = f"could not look: {error}. The state stays as it is; {advice}"
            warn_once(where[:1] if isinstance(error, ServerUnreachable) else where, said)
            return as_known
        return dynamic.ReadResult(id_, seen.props()) if seen else dynamic.ReadResult(None, {})

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        """See `Thing.update`; a new way to the same thing is only written down."""
        old, new = self.thing.of(_olds), self.thing.of(_news)
        changed = new.changes(old) | old.drift(self, new)
        new = replace(new, **{name: getattr(old, name) for name in new.marked(OUTPUT)})
        if not changed <= new.marked(REACH) | new.marked(IGNORED):
            new = new.update(self, old, changed)
        return dynamic.UpdateResult(new.props())

    def delete(self, _id: str, _props: Props) -> None:
        self.thing.of(_props).delete(self)


class LabResource(dynamic.Resource):
    """Base of the resources: `class OneApiToken(LabResource, thing=Token, token="oneapi:Token")`.

    The arguments are the thing's inputs. A thing with a `name` has the resource's, unless given.
    """

    thing: ClassVar[type[Thing]]

    def __init_subclass__(cls, *, thing: type[Thing], token: str) -> None:
        service, _, name = token.partition(":")
        super().__init_subclass__(module=f"ailab/{service}", name=name)
        cls.thing, cls.__doc__ = thing, cls.__doc__ or thing.__doc__

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: pulumi.Input[Any] | None,
    ) -> None:
        if "name" in {field.name for field in fields(self.thing)}:
            inputs.setdefault("name", resource_name)
        secrets = sorted(self.thing.marked(SECRET))
        hidden = pulumi.ResourceOptions(additional_secret_outputs=secrets)
        merged = pulumi.ResourceOptions.merge(opts, hidden)
        # The SDK wraps pickle's own method anew for each resource, and after some 970 of them the
        # call through all the wraps is too deep for Python.
        pickler: Any = pickle._Pickler
        unwrapped = pickler._batch_setitems
        super().__init__(LabProvider(self.thing), resource_name, self.thing.inputs(inputs), merged)
        pickler._batch_setitems = unwrapped
        for name in self.thing.marked(SECRET) & self.thing.marked(OUTPUT):
            # The engine marks it as well; a test with mocks would see it in plain.
            setattr(self, name, pulumi.Output.secret(getattr(self, name)))


# What a warning was about: the process lives as long as the run, and is called in several threads.
_told: set[tuple[object, ...]] = set()
_telling = threading.Lock()


def warn_once(about: tuple[object, ...], text: str) -> None:
    """A warning of `pulumi up`, unless there was one about the same in this run."""
    with _telling:
        if about in _told:
            return
        _told.add(about)
    pulumi.log.warn(text)


_CLIENTS = "provisioning.clients."
# What reading an answer ends in that has not the shape it should have.
_MISREAD = (AttributeError, LookupError, TypeError, ValueError)


@functools.cache
def _end_with_the_engine() -> None:
    """End this process when its engine has gone: one that was killed leaves it waiting for hours.

    The engine hands its own address over as the process's argument (`pulumi/dynamic/__main__.py`).
    """
    host, _, port = (sys.argv[1:] or [""])[0].rpartition(":")
    if host and port.isdigit():
        threading.Thread(target=_follow, args=((host, int(port)),), daemon=True).start()


def _follow(engine: tuple[str, int]) -> None:
    while True:
        try:
            socket.create_connection(engine, _ENGINE_SECONDS).close()
        except ConnectionRefusedError:
            os._exit(1)
        except OSError:  # busy: it is there
            pass
        time.sleep(_ENGINE_SECONDS)


def _error_text() -> str:
    """What the operator is told of the error in hand: a stack only of a fault of our own."""
    error = sys.exc_info()[1]
    if isinstance(error, ServiceError):
        return str(error)
    if isinstance(error, (OSError, httpx.HTTPError, asyncssh.Error)):
        said = f"{type(error).__name__}: {error}".rstrip(". ")
        return f"{said}. It could not be read or reached; `pulumi up` tries it again"
    *_, (frame, line) = traceback.walk_tb(error.__traceback__) if error else [(None, 0)]
    module = str(frame.f_globals.get("__name__")) if frame else ""
    if module.startswith(_CLIENTS) and isinstance(error, _MISREAD):
        service = module.removeprefix(_CLIENTS).partition(".")[0]
        return (
            f"{service} answered what this lab cannot read "
            f"({type(error).__name__} in {module}, line {line}). "
            f"Is its release one that the lab knows (images, xinferenceVersion)? `docker logs "
            f"{service}` on the server tells what it did"
        )
    return traceback.format_exc()


def unknown(value: object) -> bool:
    """Whether a value, or any part of it, is known only after the update.

    In a preview the SDK hands providers `Unknown` objects, not the wire's own sign for them.
    """
    if isinstance(value, Mapping):
        return any(unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(unknown(item) for item in value)
    return isinstance(value, pulumi.output.Unknown) or bool(value == UNKNOWN)


def say(name: str) -> Callable[[str], None]:
    """A progress callback that writes to the log of `pulumi up`, with `name` in front."""
    return lambda text: pulumi.log.info(f"{name}: {text}")

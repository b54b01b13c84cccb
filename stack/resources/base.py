"""What all dynamic resources of the lab share (`docs/facts/engine.md`, "Dynamic resources in
Python").

A provider class is part of the state format: the engine stores its module path and finds the code
by it, so neither path nor type token may ever change (pinned in tests/unit/test_resources_base.py).
An instance is stored with all its attributes; nothing may be kept on it except what `configure`
sets, which runs after loading.

Rules that hold for every one of them:

* What only tells *how to get there* (`endpoint`, tokens, passwords) is taken in by an update that
  calls nothing remote: `read` and `delete` get the stored values, so these must never be stale.
* Unreachable never means gone: only the service's own "not found" does. In a refresh it is said
  once, and the state stays as it is.
* The operator's SSH identity comes from the stack's config, never from an input.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)
from pulumi.runtime.rpc import UNKNOWN

from provisioning.clients.http import (
    SYSTEM_CLOCK,
    Clock,
    DeadlineExceeded,
    ServiceError,
    Unauthorized,
    Unreachable,
)
from provisioning.tunnel import ServerUnreachable, SshServer, open_tunnel
from stack.resources.declaration import IDENTITY, IGNORED, OUTPUT, REACH, SECRET, Thing
from stack.resources.declaration import Endpoint as Endpoint
from stack.resources.declaration import Login as Login
from stack.resources.declaration import Props as Props

SSH_KEY_SETTING = "sshKeyFile"


class LabProvider(ResourceProvider):
    """Base of the providers. Subclasses fill in `make`, `look`, `change`, `remove`, `complaints`.

    Class attributes:
        reach: inputs that only tell how to get there.
        identity: inputs whose change makes it another thing: replaced, not updated.
        ignored: inputs whose change means nothing (a file's path, where its content is the same).
        delete_first: whether the old one must have left before the new one comes.
    """

    reach: ClassVar[frozenset[str]] = frozenset({"endpoint"})
    identity: ClassVar[frozenset[str]] = frozenset()
    ignored: ClassVar[frozenset[str]] = frozenset()
    delete_first: ClassVar[bool] = False

    # Set by `configure`; class defaults keep them out of the stored instance.
    ssh_key_file: Path | None = None
    clock: Clock = SYSTEM_CLOCK
    transport: httpx.BaseTransport | None = None

    def make(self, props: Props) -> tuple[str, Props]:
        """Create or adopt it. Returns the id and all outputs."""
        raise NotImplementedError

    def look(self, props: Props) -> Props | None:
        """The outputs as the service shows them now; None when the service says it is gone."""
        return props

    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """Bring it to `news`; `changed` is never only about the way there. Returns all outputs."""
        raise NotImplementedError

    def remove(self, props: Props) -> None:
        """Take it away; done already is done."""

    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """What is wrong with the inputs, as (input, reason); `news` holds only known values."""
        yield from ()

    def drifted(self, olds: Props, news: Props) -> frozenset[str]:  # noqa: ARG002
        """Outputs that show that the service no longer holds what was asked for."""
        return frozenset()

    def differing(self, olds: Props, news: Props) -> frozenset[str]:
        """Inputs whose value differs from what the state (or the last refresh) says."""
        return changed_inputs(olds, news)

    # -- what the engine calls ------------------------------------------------------------------

    def configure(self, req: ConfigureRequest) -> None:
        """Take the operator's SSH identity from the stack's config."""
        _speak_plainly()
        given = req.config.get(SSH_KEY_SETTING)
        self.ssh_key_file = Path(str(given)).expanduser() if given else None

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Refuse bad inputs, at preview already where they are known."""
        known = {key: value for key, value in plain(news).items() if not unknown(value)}
        failures = [CheckFailure(name, reason) for name, reason in self.complaints(known)]
        return CheckResult(news, failures)

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Compare the stored outputs with the new inputs."""
        olds, news = plain(_olds), plain(_news)
        # In a preview some values are not known yet; what drifted shows without them.
        settled = {key: olds.get(key) if unknown(item) else item for key, item in news.items()}
        changed = self.differing(olds, news)
        # Nobody looks at a server that is about to be another one.
        if not unknown(news.get("endpoint")):
            changed |= self.drifted(olds, settled)
        changed -= self.ignored
        replaces = sorted(changed & self.identity)
        return DiffResult(
            changes=bool(changed),
            replaces=replaces,
            delete_before_replace=self.delete_first and bool(replaces),
        )

    def create(self, props: Props) -> CreateResult:
        """See `make`."""
        made, outs = self.make(plain(props))
        return CreateResult(made, outs)

    def read(self, id_: str, props: Props) -> ReadResult:
        """See `look`."""
        outs = self._looked(plain(props))
        return ReadResult(None, {}) if outs is None else ReadResult(id_, outs)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """See `change`; a new way to the same thing is only written down."""
        olds, news = plain(_olds), plain(_news)
        changed = self.differing(olds, news) | self.drifted(olds, news)
        if changed <= self.reach | self.ignored:
            return UpdateResult({**olds, **news})
        return UpdateResult(self.change(olds, news, changed))

    def delete(self, _id: str, _props: Props) -> None:
        """See `remove`."""
        self.remove(plain(_props))

    # -- helpers --------------------------------------------------------------------------------

    def _looked(self, props: Props) -> Props | None:
        """What `look` sees; `props` as they are where nobody can look."""
        where = self._place_of(props)
        if not _silent.isdisjoint((where, where[:1])):
            return props
        try:
            return self.look(dict(props))
        except Unauthorized as error:
            # The resource that hands out the credential notices by itself and gets a new one.
            warn_once(where, f"could not look: {error}; run `pulumi up --refresh` once more")
        except (Unreachable, DeadlineExceeded) as error:
            # One wait is enough: a lab of a hundred documents would wait for an hour otherwise.
            silent = where[:1] if isinstance(error, ServerUnreachable) else where
            _silent.add(silent)
            advice = "`pulumi up` says what is down, and starts it again where it was stopped"
            warn_once(silent, f"could not look: {error}. The state stays as it is; {advice}")
        return props

    def _place_of(self, props: Props) -> tuple[object, ...]:
        endpoint = props.get("endpoint") or {}
        return endpoint.get("host", self), endpoint.get("port"), self.transport

    def server(self, endpoint: Mapping[str, Any]) -> SshServer:
        """The SSH server behind `endpoint`, with the operator's identity."""
        return SshServer(
            host=str(endpoint["host"]),
            port=int(endpoint["ssh_port"]),
            user=str(endpoint["user"]),
            host_key=str(endpoint["host_key"]),
            key_file=self.ssh_key_file,
        )

    def address(self, endpoint: Mapping[str, Any]) -> str:
        """The local base URL of the service behind `endpoint`, through the one SSH connection."""
        if self.transport is not None:
            return f"http://{endpoint['host']}:{endpoint['port']}"
        return open_tunnel(self.server(endpoint), int(endpoint["port"]))


class ThingProvider(LabProvider):
    """Carries the engine's calls to a declared thing, and is the thing's way to its service."""

    def __init__(self, thing: type[Thing]) -> None:
        super().__init__()
        self.thing = thing

    @property
    def reach(self) -> frozenset[str]:  # type: ignore[override]
        """See `REACH`."""
        return self.thing.marked(REACH)

    @property
    def identity(self) -> frozenset[str]:  # type: ignore[override]
        """See `IDENTITY`."""
        return self.thing.marked(IDENTITY)

    @property
    def ignored(self) -> frozenset[str]:  # type: ignore[override]
        """See `IGNORED`."""
        return self.thing.marked(IGNORED)

    @property
    def delete_first(self) -> bool:  # type: ignore[override]
        """See `Thing.delete_first`."""
        return self.thing.delete_first

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """See `Thing.check`."""
        known = {key: value for key, value in plain(news).items() if not unknown(value)}
        wrong = self.thing.check(plain(_olds or {}), known)
        return CheckResult(news, [CheckFailure(name, reason) for name, reason in wrong])

    def make(self, props: Props) -> tuple[str, Props]:
        """See `Thing.create`."""
        made = self.thing.of(props).create(self)
        return made.id, made.props()

    def look(self, props: Props) -> Props | None:
        """See `Thing.read`."""
        seen = self.thing.of(props).read(self)
        return None if seen is None else seen.props()

    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        """See `Thing.update`."""
        outputs = {key: olds[key] for key in self.thing.marked(OUTPUT) if key in olds}
        new = self.thing.of({**outputs, **news})
        return new.update(self, self.thing.of(olds), changed).props()

    def remove(self, props: Props) -> None:
        """See `Thing.delete`."""
        self.thing.of(props).delete(self)

    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        """See `Thing.drift`."""
        return self.thing.of(olds).drift(self, self.thing.of(news))

    def differing(self, olds: Props, news: Props) -> frozenset[str]:
        """See `Thing.changes`."""
        return self.thing.of(news).changes(self.thing.of(olds)) - self.thing.marked(OUTPUT)


class LabResource(Resource):
    """Base of the resources: `class OneApiToken(LabResource, thing=Token, token="oneapi:Token")`.

    Arguments of the constructor are the thing's inputs, by name; a thing that has a `name` is
    called as the resource is, unless one is given.
    """

    thing: ClassVar[type[Thing]]

    def __init_subclass__(cls, *, thing: type[Thing], token: str) -> None:
        service, _, name = token.partition(":")
        super().__init_subclass__(module=f"ailab/{service}", name=name)
        cls.thing = thing

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
        super().__init__(
            ThingProvider(self.thing), resource_name, self.thing.inputs(inputs), merged
        )
        for name in self.thing.marked(SECRET) & self.thing.marked(OUTPUT):
            # The engine marks it as well; a test with mocks would see it in plain.
            setattr(self, name, pulumi.Output.secret(getattr(self, name)))


# What did not answer a look of this run, and what was said of it: the process lives as long as the
# run, and its calls come in several threads.
_silent: set[tuple[object, ...]] = set()
_told: set[tuple[object, ...]] = set()
_telling = threading.Lock()


def warn_once(about: tuple[object, ...], text: str) -> None:
    """A warning of `pulumi up`, unless there was one about the same in this run."""
    with _telling:
        if about in _told:
            return
        _told.add(about)
    pulumi.log.warn(text)


def _speak_plainly() -> None:
    """Let errors of a service reach the operator as their own sentence.

    The SDK's server answers every error with its `traceback.format_exc()`
    (`pulumi/dynamic/__main__.py`, 3.272), and knows no other way to fail.
    """
    server = sys.modules["__main__"]
    if hasattr(server, "DynamicResourceProviderServicer"):
        server.traceback = SimpleNamespace(format_exc=error_text)  # type: ignore[attr-defined]


def error_text() -> str:
    """What the operator is told of the exception being handled: a stack only of our own faults."""
    error = sys.exc_info()[1]
    return str(error) if isinstance(error, ServiceError) else traceback.format_exc()


def changed_inputs(olds: Mapping[str, Any], news: Mapping[str, Any]) -> frozenset[str]:
    """The inputs in `news` that differ from `olds`; a missing one is the same as None."""
    return frozenset(key for key in news if news[key] != olds.get(key))


def plain(props: Mapping[str, Any]) -> Props:
    """Properties without the engine's own keys, and whole numbers as int.

    The wire knows only floats; Xinference refuses a size of 14.0 (`docs/facts/xinference.md §2`).
    """
    return {key: _plain(value) for key, value in props.items() if not key.startswith("__")}


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def unknown(value: object) -> bool:
    """Whether a value, or any part of it, is known only after the update.

    In a preview the SDK hands providers `Unknown` objects, not the wire's own sign for them.
    """
    if isinstance(value, Mapping):
        return any(unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(unknown(item) for item in value)
    return isinstance(value, pulumi.output.Unknown) or bool(value == UNKNOWN)


def secret_outputs(opts: pulumi.ResourceOptions | None, *outputs: str) -> pulumi.ResourceOptions:
    """`opts`, with these outputs encrypted in the state as well."""
    return pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(additional_secret_outputs=list(outputs))
    )


def say(name: str) -> Callable[[str], None]:
    """A progress callback that writes to the log of `pulumi up`, with `name` in front."""
    return lambda text: pulumi.log.info(f"{name}: {text}")

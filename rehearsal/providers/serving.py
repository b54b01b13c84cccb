"""The gRPC side of an attached provider: everything about it that is not about a package.

`PULUMI_DEBUG_PROVIDERS=alicloud:PORT,...` makes the engine use a provider that already runs
(docs/facts/engine.md, "Attaching providers"). `serve()` starts one for a `Package`.
"""

import functools
import json
import threading
import time
import traceback
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import grpc  # type: ignore[import-untyped]
from google.protobuf import any_pb2, empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from rehearsal.providers.base import (
    INTERNAL_KEYS,
    Change,
    InitFailed,
    Kind,
    Package,
    Provider,
    ProviderError,
    differs,
)
from rehearsal.providers.values import Value, from_struct, to_struct

_NO_LIMIT = 400 * 1024 * 1024
_CALLS_AT_A_TIME = 64

_Message: TypeAlias = Any
_Context: TypeAlias = grpc.ServicerContext
_Method: TypeAlias = Callable[["_Servicer", _Message, _Context], _Message]


@dataclass(frozen=True)
class Call:
    """One finished call, for those who look where the time goes."""

    package: str
    method: str
    subject: str
    seconds: float
    error: str | None = None


@dataclass
class Served:
    """A running provider. `port` is on 127.0.0.1."""

    port: int
    _server: Any = field(repr=False)

    def stop(self) -> None:
        """End it; calls under way are dropped."""
        self._server.stop(grace=None).wait()


def serve(package: Package, on_call: Callable[[Call], None] | None = None) -> Served:
    """Offer `package` to engines on a free port of 127.0.0.1."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=_CALLS_AT_A_TIME),
        options=[
            ("grpc.max_receive_message_length", _NO_LIMIT),
            ("grpc.max_send_message_length", _NO_LIMIT),
            ("grpc.so_reuseport", 0),
        ],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(
        _Servicer(package, on_call or (lambda _: None)), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return Served(port, server)


def _answered(method: _Method) -> _Method:
    """Note the call, and word what it raises."""
    name = method.__name__

    @functools.wraps(method)
    def call(self: "_Servicer", request: _Message, context: _Context) -> _Message:
        started, reason = time.monotonic(), None
        shown = f"Preview {name.lower()}" if getattr(request, "preview", False) else name
        subject = getattr(request, "urn", "") or getattr(request, "tok", "") or self.name
        try:
            return method(self, request, context)
        except Exception as error:
            reason = str(error)
            _fail(context, error)
        finally:
            seconds = time.monotonic() - started
            self.on_call(Call(self.name, shown, subject, seconds, reason))

    return call


class _Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Translates calls. One engine connection is one provider resource: `peer` tells them apart."""

    def __init__(self, package: Package, on_call: Callable[[Call], None]) -> None:
        self._package, self.name, self.on_call = package, package.name, on_call
        self._providers: dict[str, Provider] = {}
        self._latest: Provider | None = None
        self._lock = threading.Lock()

    def Attach(self, request: _Message, context: _Context) -> _Message:
        return empty_pb2.Empty()

    def Handshake(self, request: _Message, context: _Context) -> _Message:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=False)

    def GetPluginInfo(self, request: _Message, context: _Context) -> _Message:
        return plugin_pb2.PluginInfo(version=self._package.version)

    def CheckConfig(self, request: _Message, context: _Context) -> _Message:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: _Message, context: _Context) -> _Message:
        old, new = from_struct(request.old_inputs), from_struct(request.news)
        names = (old.keys() | new.keys()) - INTERNAL_KEYS - {"version"}
        changed = sorted(name for name in names if differs(old.get(name), new.get(name)))
        return _diff_response(Change(updates=changed))

    @_answered
    def Configure(self, request: _Message, context: _Context) -> _Message:
        config = {name: _decoded(value) for name, value in from_struct(request.args).items()}
        provider = self._package.configure(config)
        with self._lock:
            self._providers[context.peer()] = self._latest = provider
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True)

    @_answered
    def Check(self, request: _Message, context: _Context) -> _Message:
        kind = self._kind(request.urn, context)
        inputs, failures = kind.check(from_struct(request.olds), from_struct(request.news))
        told = [provider_pb2.CheckFailure(property=name, reason=why) for name, why in failures]
        return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=told)

    @_answered
    def Diff(self, request: _Message, context: _Context) -> _Message:
        change = self._kind(request.urn, context).diff(
            request.id,
            from_struct(request.old_inputs),
            from_struct(request.olds),
            from_struct(request.news),
            list(request.ignoreChanges),
        )
        return _diff_response(change)

    @_answered
    def Create(self, request: _Message, context: _Context) -> _Message:
        kind, inputs = self._kind(request.urn, context), from_struct(request.properties)
        if request.preview:
            id, outputs = "", kind.planned(inputs, None)
        else:
            id, outputs = kind.create(inputs, request.timeout)
        return provider_pb2.CreateResponse(id=id, properties=to_struct(outputs))

    @_answered
    def Read(self, request: _Message, context: _Context) -> _Message:
        id, inputs, outputs = self._kind(request.urn, context).read(
            request.id, from_struct(request.inputs), from_struct(request.properties)
        )
        if id is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=id, inputs=to_struct(inputs), properties=to_struct(outputs)
        )

    @_answered
    def Update(self, request: _Message, context: _Context) -> _Message:
        kind = self._kind(request.urn, context)
        before, wanted = from_struct(request.olds), from_struct(request.news)
        if request.preview:
            outputs = kind.planned(wanted, before)
        else:
            inputs = from_struct(request.old_inputs)
            outputs = kind.update(request.id, inputs, before, wanted, request.timeout)
        return provider_pb2.UpdateResponse(properties=to_struct(outputs))

    @_answered
    def Delete(self, request: _Message, context: _Context) -> _Message:
        inputs, outputs = from_struct(request.old_inputs), from_struct(request.properties)
        self._kind(request.urn, context).delete(request.id, inputs, outputs, request.timeout)
        return empty_pb2.Empty()

    @_answered
    def Invoke(self, request: _Message, context: _Context) -> _Message:
        found = self._provider(context).invoke(request.tok, from_struct(request.args))
        # `return` is a keyword of Python, so the field can only be named as text.
        return provider_pb2.InvokeResponse(**{"return": to_struct(found)})

    def Cancel(self, request: _Message, context: _Context) -> _Message:
        with self._lock:
            provider = self._providers.get(context.peer())
        if provider is not None:
            provider.cancel()
        return empty_pb2.Empty()

    def _provider(self, context: grpc.ServicerContext) -> Provider:
        with self._lock:
            # gRPC may renew a connection, with a new peer; the engine configures only once.
            provider = self._providers.get(context.peer(), self._latest)
        if provider is None:
            raise ProviderError(f"{self._package.name} was used before it was configured")
        return provider

    def _kind(self, urn: str, context: grpc.ServicerContext) -> Kind:
        kind = self._provider(context).kind(_token(urn))
        kind.name = urn.split("::")[-1]
        return kind


def _fail(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    if isinstance(error, InitFailed):
        context.set_trailing_metadata((("grpc-status-details-bin", _init_failed(error)),))
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    if isinstance(error, ProviderError):
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    context.abort(grpc.StatusCode.INTERNAL, f"the rehearsal itself failed:\n{trace}")
    raise AssertionError("abort() always raises")


def _init_failed(error: InitFailed) -> bytes:
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=error.id,
            inputs=to_struct(error.inputs),
            properties=to_struct(error.outputs),
            reasons=[str(error)],
        )
    )
    code: int = grpc.StatusCode.UNKNOWN.value[0]
    status = status_pb2.Status(code=code, message=str(error), details=[detail])
    encoded: bytes = status.SerializeToString()
    return encoded


def _diff_response(change: Change) -> provider_pb2.DiffResponse:
    kinds = provider_pb2.DiffResponse
    return kinds(
        changes=kinds.DIFF_SOME if change.changes else kinds.DIFF_NONE,
        diffs=[*change.updates, *change.replaces],
        replaces=list(change.replaces),
        deleteBeforeReplace=change.delete_before_replace,
    )


def _decoded(value: Value) -> Value:
    """Nested settings of a provider arrive as JSON text (docs/facts/provider-states.json)."""
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _token(urn: str) -> str:
    """`alicloud:vpc/network:Network` of `urn:pulumi:stack::project::parent$type::name`."""
    return urn.split("::")[2].split("$")[-1]

"""What the operator is told where something fails: a sentence after the engine's own text, and no
stack."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

import pulumi
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, resource_pb2
from pulumi.runtime.settings import get_engine, monitor_supports_feature

from provisioning.clients.errors import ServiceError
from provisioning.cloud_errors import explain
from provisioning.problems import PlanError
from provisioning.vocabulary import VocabularyError
from stack.market import MarketError

# "The operator has been told" to the language host: any other exit ends in a traceback or in "an
# unhandled error occurred".
_ALL_SAID = 32

# Errors whose text is a sentence already.
_SENTENCES = (MarketError, PlanError, ServiceError, VocabularyError)
# The SDK's errors have no kind of their own.
_REFUSED_QUESTION = "returned an error:"


def end(text: str) -> NoReturn:
    """End the program with `text` as its error, and nothing else; in coroutines too."""
    pulumi.log.error(text)
    sys.exit(_ALL_SAID)


def end_quietly() -> None:
    """Let nobody read a stack because something failed that is no fault of the program.

    Not where a resource failed: the engine then interrupts the program, and has told that already.
    Not where the cloud refused a question, or something is not as the program needs it: what is
    known of that takes the stack's place. The SDK ends a program by its first error wherever that
    came up, and tells it in one place: `pulumi.log.error`, with the error in hand
    (`pulumi-language-python-exec`).
    """
    if pulumi.log.error is _log_error:
        return
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            before(kind, error, stack)

    sys.excepthook = told
    pulumi.log.error = _log_error


_sdk_error = pulumi.log.error


def _log_error(msg: str, *args: Any, **named: Any) -> None:  # noqa: ANN401
    error = sys.exc_info()[1] if "Traceback (most recent call last)" in msg else None
    while error:
        if said := _sentence(error):
            msg = said
            break
        error = error.__cause__
    _sdk_error(msg, *args, **named)


def _sentence(error: BaseException) -> str:
    """What to say of an error in place of its stack; "" where it is a fault of the program."""
    if isinstance(error, _SENTENCES):
        return str(error)
    if _REFUSED_QUESTION not in str(error):
        return ""
    return explain(str(error), pulumi.get_stack()) or str(error)


Look = Callable[[str], str]
"""From a resource's name to what else is known of its failure, a sentence or ""."""

_LOOKS: dict[str, Look] = {}


def look_after_failure(kind: str, look: Look) -> None:
    """Have `look` asked when a resource of this type failed (`docker:index/container:Container`);
    what it says is told in place of `explain`'s sentence."""
    _LOOKS[kind] = look


def explain_failures() -> None:
    """Put `explain`'s sentence to each resource that cannot be made or changed, once for a cause.

    Call it before the first resource. It needs an engine that knows error hooks; with another, as
    in tests with mocks, nothing is said. What `pulumi destroy` deletes has no program, and so no
    hooks: `make destroy` says it there (`tools/cloud.py`).
    """
    known = monitor_supports_feature(resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS)
    engine = get_engine()
    if not known or not isinstance(engine, engine_pb2_grpc.EngineStub):
        return
    said: set[str] = set()

    def failed(args: pulumi.ErrorHookArgs) -> bool:
        sentence = _looked(args) or explain("".join(args.errors[:1]), pulumi.get_stack())
        if sentence and sentence not in said:
            said.add(sentence)
            # `pulumi.log.error(..., resource)` waits for the URN of what is never made.
            engine.Log(
                engine_pb2.LogRequest(severity=engine_pb2.ERROR, message=sentence, urn=args.urn)
            )
        return False

    binding = pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook("explain", failed)])
    hooked = pulumi.ResourceOptions(hooks=binding)

    def hook(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        if not isinstance(args.resource, pulumi.CustomResource):
            return None
        merged = pulumi.ResourceOptions.merge(args.opts, hooked)
        return pulumi.ResourceTransformationResult(args.props, merged)

    pulumi.runtime.register_stack_transformation(hook)


def _looked(args: pulumi.ErrorHookArgs) -> str:
    look = _LOOKS.get(args.type)
    try:
        return look(args.name) if look else ""
    except Exception:
        # Whatever it is, what failed before it is to be told.
        return ""

"""What Xinference is told: one launch per model, and its container's environment.

Payloads: `docs/facts/xinference.md §2 and §4`. A key that Xinference does not know becomes an
argument of the engine, so only what the engine understands is sent.
"""

import shlex
from collections.abc import Iterable
from typing import Any

from provisioning.catalogue import MODEL_TYPES, Model, in_xinference
from provisioning.regions import Region
from provisioning.versions import DEFAULT_XINFERENCE, XinferenceRelease, xinference_release

XINFERENCE_HOME = "/root/.xinference"
"""The folder to keep on a volume: models, engines, autostart (`docs/facts/xinference.md §1`)."""

SIDE_ENGINE = "sentence_transformers"
"""What loads embeddings and rerankers for which the settings name no engine."""

STALL_MINUTES = 20
"""A download that does not move for so long hangs; 2.12 tells its sixteenths only."""

PINNED = xinference_release(DEFAULT_XINFERENCE)
"""The release that is run where nothing else is said."""

_NEEDS_REMOTE_CODE = frozenset({"baichuan-2-chat", "baichuan-chat"})


def launch_payload(
    model: Model, region: Region, release: XinferenceRelease = PINNED
) -> dict[str, Any]:
    """The body of POST /v1/models?wait_ready=false for one model of Xinference.

    The uid is the model's name: the same string that OneAPI routes and FastGPT asks for.
    """
    source, size = model.local, model.local.size_text
    # An image that brings its engines at the first launch brings none that nobody named
    # (docs/facts/measured.md §2 finding 4).
    side = model.kind in ("embedding", "rerank") and release.installs_engines
    given = {
        "model_engine": source.engine or (SIDE_ENGINE if side else None),
        "model_format": source.format,
        "model_size_in_billions": int(size) if size and size.isdigit() else size,
        "quantization": source.quantization,
        "replica": source.replicas if source.replicas > 1 else None,
        "n_gpu": source.gpus if model.kind == "chat" or source.gpus > 1 else None,
    }
    return {
        "model_uid": model.name,
        "model_name": model.upstream,
        "model_type": MODEL_TYPES[model.kind],
        "download_hub": download_hub(model, region),
        **{key: value for key, value in given.items() if value is not None},
        **({} if source.gpus else {"n_gpu": None}),  # null means the CPU
        **_engine_arguments(model),
        **source.engine_arguments,
    }


def download_hub(model: Model, region: Region) -> str:
    """The region's hub, unless the list has the model on the other one only."""
    source, listed = model.local, model.listed
    asked = (source.format, source.size_text, source.quantization)
    hubs = [hub for spec in (listed.matching(*asked) if listed else ()) for hub in spec.hubs]
    return region.model_hub if not hubs or region.model_hub in hubs else hubs[0]


def xinference_command(release: XinferenceRelease) -> tuple[str, ...]:
    """The container's command; the image has none (`docs/facts/xinference.md §1`).

    Repairs come first, one package each and nothing it depends on. A restart finds them in place
    and asks nobody; where the package index does not answer, the container ends and tries again.
    """
    serve = ("xinference-local", "-H", "0.0.0.0", "--port", "9997")  # noqa: S104
    if not release.repairs:
        return serve
    quietly = ("--quiet", "--root-user-action=ignore", "--disable-pip-version-check")
    mend = shlex.join(("pip", "install", "--no-deps", *quietly, *release.repairs))
    return ("sh", "-c", f"{mend} && exec {shlex.join(serve)}")


def xinference_environment(
    models: Iterable[Model], region: Region, release: XinferenceRelease
) -> dict[str, str]:
    """The container's (`docs/facts/xinference.md §1`). Caddy asks for its key, so it has no
    login of its own."""
    environment = {
        "XINFERENCE_HOME": XINFERENCE_HOME,
        "XINFERENCE_MODEL_SRC": region.model_hub,
        "XINFERENCE_DOWNLOAD_MAX_ATTEMPTS": "10",
        # Unset means a model that runs out of memory is recreated for ever.
        "XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT": "3",
        # Of looks, five seconds apart. The usual 5 end a server whose worker is slow to start, and
        # one more start is no faster (docs/facts/measured.md §2 finding 7).
        "XINFERENCE_HEALTH_CHECK_FAILURE_THRESHOLD": "60",
        "HF_ENDPOINT": region.hf_endpoint,
    }
    if release.auth_on_by_default:
        environment["XINFERENCE_AUTH_ADVANCED"] = "0"
    if region.pypi_mirror:
        environment |= {"PIP_INDEX_URL": region.pypi_mirror, "UV_INDEX_URL": region.pypi_mirror}
    if any(model.upstream in _NEEDS_REMOTE_CODE for model in in_xinference(models)):
        environment["XINFERENCE_TRUST_REMOTE_CODE"] = "1"
    return environment


def _engine_arguments(model: Model) -> dict[str, Any]:
    source, listed, traits = model.local, model.listed, model.local.traits
    arguments: dict[str, Any] = {}
    if traits.share and source.memory_share is not None:
        arguments[traits.share] = source.memory_share
    # An embedding on vllm reads what it was made for.
    if traits.context and (source.engine != "vllm" or model.kind == "chat"):
        arguments[traits.context] = model.context
    if listed and "hybrid" in listed.abilities:
        # Its answers would begin with <think> text that FastGPT shows to visitors.
        arguments["enable_thinking"] = False
    if model.upstream in _NEEDS_REMOTE_CODE:
        # Its tokenizer breaks with later ones (docs/facts/xinference.md §4); the remedy is
        # untested.
        arguments |= {"enable_virtual_env": True, "virtual_env_packages": ["transformers==4.33.3"]}
    return arguments

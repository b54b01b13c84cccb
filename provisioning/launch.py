"""What Xinference is told: one launch per model, and its container's environment.

Payloads: `facts/xinference.md §2 and §4`. A key that Xinference does not know becomes an argument
of the engine, so only what the engine understands is sent.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from provisioning.catalogue import Kind, Model, XinferenceSource, in_xinference
from provisioning.problems import Problem
from provisioning.regions import Region
from provisioning.versions import DEFAULT_XINFERENCE, XinferenceRelease, xinference_release

XINFERENCE_HOME = "/root/.xinference"
"""The one folder to keep on a volume: models, engines, autostart (`facts/xinference.md §1`)."""

_TYPES: dict[Kind, str] = {
    "chat": "LLM",
    "embedding": "embedding",
    "rerank": "rerank",
    "speech": "audio",
    "transcription": "audio",
}

# Models on Hugging Face only: (name, format). facts/xinference.md §4.
_ONLY_HUGGINGFACE = frozenset({("deepseek-r1-distill-qwen", "awq")})
_NEEDS_REMOTE_CODE = frozenset({"baichuan-2-chat", "baichuan-chat"})
# Their answers would begin with <think> text that FastGPT shows to visitors.
_THINKING_IS_OPTIONAL = frozenset({"qwen3"})

# What the catalogue of 4.1.0 offers: name -> (native context, format -> sizes).
_CATALOGUE: dict[str, tuple[int, dict[str, frozenset[str]]]] = {
    "qwen2.5-instruct": (
        32768,
        {
            "pytorch": frozenset({"0_5", "1_5", "3", "7", "14", "32", "72"}),
            "gptq": frozenset({"0_5", "1_5", "3", "7", "14", "32", "72"}),
            "awq": frozenset({"0_5", "1_5", "3", "7", "14", "32", "72"}),
            "ggufv2": frozenset({"0_5", "1_5", "3", "7", "14", "32", "72"}),
        },
    ),
    "baichuan-2-chat": (4096, {"pytorch": frozenset({"7", "13"})}),
    "llama-3.1-instruct": (
        131072,
        {
            "pytorch": frozenset({"8", "70", "405"}),
            "gptq": frozenset({"8", "70", "405"}),
            "awq": frozenset({"8", "70", "405"}),
            "ggufv2": frozenset({"8", "70"}),
        },
    ),
}
_NATIVE_CONTEXT = {
    "qwen3": 40960,
    "glm4-chat": 131072,
    "deepseek-r1-distill-qwen": 131072,
}

_RESERVED = frozenset(
    {
        "model_uid",
        "model_name",
        "model_type",
        "model_engine",
        "model_format",
        "model_size_in_billions",
        "quantization",
        "replica",
        "n_gpu",
        "wait_ready",
    }
)


_PINNED = xinference_release(DEFAULT_XINFERENCE)
# What loads embeddings and rerankers for which the settings name no engine.
_SIDE_ENGINE = "sentence_transformers"


def launch_payload(
    model: Model, region: Region, release: XinferenceRelease = _PINNED
) -> dict[str, Any]:
    """The body of POST /v1/models?wait_ready=false for one model.

    The uid is the model's name: the same string that OneAPI routes and FastGPT asks for.

    Raises:
        ValueError: the model is not Xinference's.
    """
    source = model.xinference
    if source is None:
        raise ValueError(f"{model.name} is not served by Xinference")
    payload: dict[str, Any] = {
        "model_uid": model.name,
        "model_name": source.model or model.name,
        "model_type": _TYPES[model.kind],
        "download_hub": _hub(model, source, region),
        **_default_engine(model, release),
        **_weights(source),
        **_placement(model, source),
        **_engine_arguments(model, source),
    }
    if (source.model or model.name) in _NEEDS_REMOTE_CODE:
        # Its tokenizer breaks with later ones (facts/xinference.md §4); the remedy is untested.
        payload |= {"enable_virtual_env": True, "virtual_env_packages": ["transformers==4.33.3"]}
    return payload | source.engine_arguments


def xinference_command(release: XinferenceRelease) -> tuple[str, ...]:
    """The container's command; the image has none (`facts/xinference.md §1`).

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
    """The container's environment (`facts/xinference.md §1`).

    The API has no login here: the port is for the operator's addresses and the lab's own network.
    """
    environment = {
        "XINFERENCE_HOME": XINFERENCE_HOME,
        "XINFERENCE_MODEL_SRC": region.model_hub,
        "XINFERENCE_DOWNLOAD_MAX_ATTEMPTS": "10",
        # Unset means a model that runs out of memory is recreated for ever.
        "XINFERENCE_MODEL_ACTOR_AUTO_RECOVER_LIMIT": "3",
        # Of looks, five seconds apart. The usual 5 end a server whose worker is slow to start, and
        # one more start is no faster (measured.md §2 finding 7).
        "XINFERENCE_HEALTH_CHECK_FAILURE_THRESHOLD": "60",
        "HF_ENDPOINT": region.hf_endpoint,
    }
    if release.auth_on_by_default:
        environment["XINFERENCE_AUTH_ADVANCED"] = "0"
    if region.pypi_mirror:
        environment |= {"PIP_INDEX_URL": region.pypi_mirror, "UV_INDEX_URL": region.pypi_mirror}
    if _remote_code(models):
        environment["XINFERENCE_TRUST_REMOTE_CODE"] = "1"
    return environment


def launch_problems(models: Sequence[Model]) -> list[Problem]:
    """What Xinference would refuse, or what would fail after the download."""
    problems: list[Problem] = []
    for index, model in enumerate(models):
        source = model.xinference
        if source is None:
            continue
        path = f"models[{index}]"
        problems += _name_problems(path, model)
        problems += _argument_problems(path, source)
        if model.kind == "chat":
            problems += _chat_problems(path, model, source)
    return problems


def release_problems(models: Sequence[Model], release: XinferenceRelease) -> list[Problem]:
    """What this release of Xinference would do badly, though another would not."""
    if release.installs_engines:
        return []
    return [
        Problem(
            f"models[{index}].xinference.engine",
            f"Xinference {release.version} would ask the package index at every launch, and lay "
            f"another torch over its image's, when {_SIDE_ENGINE} is named",
            "leave engine out: its image loads embeddings and rerankers with it anyway",
        )
        for index, model in enumerate(models)
        if model.xinference is not None and model.xinference.engine == _SIDE_ENGINE
    ]


def _remote_code(models: Iterable[Model]) -> bool:
    names = {
        (m.xinference.model if m.xinference else None) or m.name for m in in_xinference(models)
    }
    return bool(names & _NEEDS_REMOTE_CODE)


def _hub(model: Model, source: XinferenceSource, region: Region) -> str:
    only = (source.model or model.name, source.format) in _ONLY_HUGGINGFACE
    return "huggingface" if only else region.model_hub


def _default_engine(model: Model, release: XinferenceRelease) -> dict[str, str]:
    # An image that brings its engines at the first launch brings none that nobody named
    # (measured.md §2 finding 4).
    side = model.kind in ("embedding", "rerank")
    return {"model_engine": _SIDE_ENGINE} if side and release.installs_engines else {}


def _weights(source: XinferenceSource) -> dict[str, Any]:
    given = {
        "model_engine": source.engine,
        "model_format": source.format,
        "model_size_in_billions": _size(source.size),
        "quantization": source.quantization,
    }
    return {key: value for key, value in given.items() if value is not None}


def _size(size: int | str | None) -> int | str | None:
    # 7 and "7" are one size; a float is refused, so halves are written 0_5.
    if isinstance(size, str) and size.isdigit():
        return int(size)
    return size.replace(".", "_") if isinstance(size, str) else size


def _placement(model: Model, source: XinferenceSource) -> dict[str, Any]:
    placement: dict[str, Any] = {}
    if source.gpus == 0:
        placement["n_gpu"] = None  # null means the CPU
    elif model.kind == "chat" or source.gpus > 1:
        placement["n_gpu"] = source.gpus
    if source.replicas > 1:
        placement["replica"] = source.replicas
    return placement


def _engine_arguments(model: Model, source: XinferenceSource) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if source.engine == "vllm":
        if source.memory_share is not None:
            arguments["gpu_memory_utilization"] = source.memory_share
        if model.kind == "chat":
            arguments["max_model_len"] = model.context
    if source.engine == "sglang":
        arguments["context_length"] = model.context
        if source.memory_share is not None:
            arguments["mem_fraction_static"] = source.memory_share
    if source.engine == "llama.cpp":
        arguments["n_ctx"] = model.context
    if (source.model or model.name) in _THINKING_IS_OPTIONAL:
        arguments["enable_thinking"] = False
    return arguments


def _name_problems(path: str, model: Model) -> list[Problem]:
    if re.search(r"-rep\d+$", model.name):
        wrong = f"Xinference keeps names that end like {model.name!r} for its replicas"
        return [Problem(f"{path}.name", wrong, "choose another name")]
    if "/" in model.name:
        wrong = f"{model.name!r} stands in Xinference's addresses and cannot hold a slash"
        return [Problem(f"{path}.name", wrong, "choose another name and set xinference.model")]
    return []


def _argument_problems(path: str, source: XinferenceSource) -> list[Problem]:
    return [
        Problem(
            f"{path}.xinference.engineArguments.{key}",
            "this is no argument of the engine",
            "use the setting of its own under xinference:, or leave it out",
        )
        for key in sorted(_RESERVED & source.engine_arguments.keys())
    ]


def _chat_problems(path: str, model: Model, source: XinferenceSource) -> list[Problem]:
    path = f"{path}.xinference"
    if source.engine is None:
        right = "set engine: vllm, or transformers, llama.cpp, sglang"
        return [Problem(f"{path}.engine", f"the chat model {model.name} has no engine", right)]
    if source.engine in ("sentence_transformers", "flag"):
        wrong = f"{source.engine} cannot chat"
        return [Problem(f"{path}.engine", wrong, "use vllm, transformers, llama.cpp or sglang")]
    name = source.model or model.name
    problems: list[Problem] = []
    if source.format is None or source.size is None:
        problems.append(
            Problem(
                path,
                f"{model.name} leaves its format or size to Xinference, so its memory is not known",
                "set format and size, and quantization unless it is pytorch",
            )
        )
    problems += _format_problems(path, source)
    problems += _catalogue_problems(path, name, source)
    native = _CATALOGUE[name][0] if name in _CATALOGUE else _NATIVE_CONTEXT.get(name)
    if native is not None and model.context > native:
        wrong = f"{name} reads {native} tokens and {model.context} are asked for"
        problems.append(
            Problem(path.replace(".xinference", ".context"), wrong, f"set {native} or less")
        )
    return problems


def _format_problems(path: str, source: XinferenceSource) -> list[Problem]:
    if source.format == "mlx":
        return [Problem(f"{path}.format", "mlx runs on Apple's machines", "use awq or pytorch")]
    if (source.format == "ggufv2") != (source.engine == "llama.cpp") and source.format is not None:
        wrong = f"engine {source.engine} does not run format {source.format}"
        right = "llama.cpp runs ggufv2 and nothing else; vllm runs pytorch, awq, gptq, fp8"
        return [Problem(f"{path}.format", wrong, right)]
    if source.format in ("awq", "gptq", "ggufv2") and source.quantization is None:
        wrong = f"format {source.format} has several quantizations"
        right = 'name one, such as "Int4" (awq, gptq) or "q4_k_m" (ggufv2)'
        return [Problem(f"{path}.quantization", wrong, right)]
    return []


def _catalogue_problems(path: str, name: str, source: XinferenceSource) -> list[Problem]:
    if name == "baichuan-2-chat" and source.engine != "transformers":
        wrong = f"{name} does not run on {source.engine}"
        return [Problem(f"{path}.engine", wrong, "use engine: transformers")]
    formats = _CATALOGUE[name][1] if name in _CATALOGUE else None
    if formats is None or source.format is None:
        return []
    if source.format not in formats:
        wrong = f"{name} does not come as {source.format}"
        return [Problem(f"{path}.format", wrong, f"use {', '.join(sorted(formats))}")]
    sizes = formats[source.format]
    size = str(_size(source.size))
    if source.size is None or size in sizes:
        return []
    right = f"use {', '.join(sorted(sizes, key=lambda s: float(s.replace('_', '.'))))}"
    return [Problem(f"{path}.size", f"{name} has no size {size}", right)]

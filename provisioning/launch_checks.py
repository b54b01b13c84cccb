"""What Xinference would refuse, or what would fail or surprise after the download.

The truth is the vendor's list (`vendor.py`). It is the pinned release's: where another release is
chosen, what the list does not have is a warning, for that one may have it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from provisioning.catalogue import MODEL_TYPES, Kind, Model, XinferenceSource, vendor_model
from provisioning.launch import SIDE_ENGINE
from provisioning.memory import SHARING
from provisioning.problems import Problem
from provisioning.regions import Region
from provisioning.vendor import (
    VendorModel,
    VendorSpec,
    engine_arguments,
    release,
    vendor_models,
)
from provisioning.versions import XinferenceRelease

# What the engines' own code accepts of an LLM (match_json in Xinference's model/llm/*/core.py).
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "vllm": ("pytorch", "awq", "gptq", "fp8", "fp4", "bnb"),
    "sglang": ("pytorch", "awq", "gptq", "fp8", "bnb"),
    "transformers": ("pytorch", "awq", "gptq", "fp4", "bnb"),
    "llama.cpp": ("ggufv2",),
}
_AUDIO = {"speech": "text2audio", "transcription": "audio2text"}

# Arguments by which a setting of ours would be overruled: the memory is counted by that setting.
_SETTING_OF = {
    **dict.fromkeys(("gpu_memory_utilization", "mem_fraction_static"), "memoryShare"),
    **dict.fromkeys(("kv_cache_memory_bytes", "num_gpu_blocks_override"), "memoryShare"),
    **dict.fromkeys(("max_model_len", "context_length", "n_ctx"), "context"),
    **dict.fromkeys(("tensor_parallel_size", "tp_size", "n_gpu"), "gpus"),
    "model_name": "model",
    "model_engine": "engine",
    "model_format": "format",
    "model_size_in_billions": "size",
    "quantization": "quantization",
    "replica": "replicas",
}
# What Xinference is told by this program, or by its API elsewhere.
_RESERVED = frozenset({"model", "model_uid", "model_type", "wait_ready"})
_EVERY_ENGINE = frozenset({"enable_thinking", "reasoning_content"})
_LONGER_CONTEXT = frozenset({"rope_scaling", "hf_overrides"})
_ALL_DECLARED = "vllm"  # the only engine whose vendor declares every argument


def launch_problems(
    models: Sequence[Model], region: Region | None = None, runs: XinferenceRelease | None = None
) -> list[Problem]:
    """What is wrong with what Xinference is to serve.

    Args:
        region: decides the hub; None leaves hubs unjudged.
        runs: the release that is to run; the list's own if None.
    """
    problems: list[Problem] = []
    for index, model in enumerate(models):
        path = f"models[{index}]"
        problems += _without_effect(path, model)
        if model.xinference is None:
            continue
        problems += _name_problems(path, model)
        problems += _argument_problems(f"{path}.xinference.engineArguments", model.xinference)
        listed = [
            *_unknown_arguments(f"{path}.xinference.engineArguments", model.xinference),
            *_listed_problems(path, model, model.xinference, region),
        ]
        if runs is not None and runs.version != release():
            listed = [replace(problem, warning=True) for problem in listed]
        problems += listed
        if runs is not None and not runs.installs_engines:
            problems += _named_side_engine(f"{path}.xinference.engine", model.xinference, runs)
    return problems


def _without_effect(path: str, model: Model) -> Iterator[Problem]:
    """Settings that this kind of model has no use for."""
    for kind, settings in (
        ("embedding", {"dimensions": model.dimensions, "maxInput": model.max_input}),
        ("chat", {"vision": model.vision, "tools": model.tools}),
    ):
        for setting, value in settings.items():
            if value and model.kind != kind:
                wrong = f"it says something of a model of kind {kind}, and {model.name} is none"
                yield Problem(f"{path}.{setting}", wrong, "leave it out", warning=True)


def _name_problems(path: str, model: Model) -> Iterator[Problem]:
    if re.search(r"-rep\d+$", model.name):
        wrong = f"Xinference keeps names that end like {model.name!r} for its replicas"
        yield Problem(f"{path}.name", wrong, "choose another name")
    if "/" in model.name:
        wrong = f"{model.name!r} stands in Xinference's addresses and cannot hold a slash"
        near = " or ".join(_near(model.upstream, model.kind)) or "another one"
        yield Problem(f"{path}.name", wrong, f"name it {near}, as Xinference's list does")


def _named_side_engine(
    path: str, source: XinferenceSource, runs: XinferenceRelease
) -> Iterator[Problem]:
    if source.engine == SIDE_ENGINE:
        wrong = f"Xinference {runs.version} would ask the package index at every launch, and lay "
        wrong += f"another torch over its image's, when {SIDE_ENGINE} is named"
        right = "leave engine out: its image loads embeddings and rerankers with it anyway"
        yield Problem(path, wrong, right)


def _argument_problems(path: str, source: XinferenceSource) -> Iterator[Problem]:
    for key in sorted(source.engine_arguments):
        if setting := _SETTING_OF.get(key.replace("-", "_")):
            wrong = f"it would overrule the setting {setting}, by which the model is judged"
            yield Problem(f"{path}.{key}", wrong, f"set {setting} instead")
        elif key in _RESERVED:
            yield Problem(f"{path}.{key}", "this program sets it itself", "leave it out")


def _unknown_arguments(path: str, source: XinferenceSource) -> Iterator[Problem]:
    declared = engine_arguments(source.engine)
    known = (declared | engine_arguments("launch") | _EVERY_ENGINE) - _RESERVED
    for key in sorted(source.engine_arguments.keys() - known - _RESERVED):
        if key.replace("-", "_") not in _SETTING_OF:
            yield _unknown_argument(f"{path}.{key}", key, known, source.engine)


def _unknown_argument(path: str, key: str, known: Iterable[str], engine: str | None) -> Problem:
    near = difflib.get_close_matches(key.replace("-", "_"), known, n=1, cutoff=0.75)
    if near or engine == _ALL_DECLARED:
        wrong = f"{engine or 'Xinference'} has no argument {key!r}"
        right = f"did you mean {near[0]!r}?" if near else "leave it out, or see the engine's manual"
        return Problem(path, wrong, right)
    wrong = f"whether {engine or 'its engine'} has an argument {key!r} is not known beforehand"
    return Problem(path, wrong, "look it up: a wrong one fails at the launch", warning=True)


def _listed_problems(
    path: str, model: Model, source: XinferenceSource, region: Region | None
) -> Iterator[Problem]:
    listed = vendor_model(model)
    named_at = f"{path}.xinference.model" if source.model else f"{path}.name"
    if listed is None:
        if source.model or "/" not in model.name:  # that is said already
            yield _not_listed(named_at, model)
        return
    if model.kind == "chat":
        if "chat" not in listed.abilities:
            wrong = f"{listed.name} continues texts and cannot chat"
            yield Problem(named_at, wrong, _instead(listed, "chat"))
        yield from _chat_problems(path, model, source, listed)
    elif model.kind in _AUDIO and _AUDIO[model.kind] not in listed.abilities:
        wrong = f"{listed.name} is no model of kind {model.kind}"
        yield Problem(f"{path}.kind", wrong, f"it is one for {', '.join(listed.abilities)}")
    if model.kind == "embedding" and (model.max_input or 0) > listed.context:
        wrong = f"{listed.name} reads {listed.context} tokens and cuts off the rest"
        yield Problem(f"{path}.maxInput", wrong, f"set {listed.context} or less, or leave it out")
    found = list(_spec_problems(f"{path}.xinference", source, listed))
    yield from found
    if not found:
        yield from _engine_problems(f"{path}.xinference", source, listed)
        if region is not None:
            yield from _hub_problems(f"{path}.xinference", source, listed, region)


def _not_listed(path: str, model: Model) -> Problem:
    name = model.upstream
    for type_ in sorted({*MODEL_TYPES.values()} - {MODEL_TYPES[model.kind]}):
        if name in vendor_models(type_):
            wrong = f"{name} is listed as {type_}, which is not the kind {model.kind}"
            return Problem(path, wrong, "set the kind that it is")
    near = _near(name, model.kind)
    wrong = f"Xinference {release()} has no model {name!r} of kind {model.kind}"
    if near:
        return Problem(path, wrong, f"did you mean {' or '.join(near)}?")
    right = "choose from its list (`make models`), or serve it elsewhere and name it under remote:"
    return Problem(path, wrong, right)


def _near(name: str, kind: Kind) -> list[str]:
    """Names that look like it, also where a hub's name with owner, size or format was written."""
    known = vendor_models(MODEL_TYPES[kind]).values()
    by_lower = {m.name.lower(): m.name for m in known if kind != "chat" or "chat" in m.abilities}
    bare = name.lower().rpartition("/")[2]
    family = re.sub(r"-(\d+(\.\d+)?b|awq|gptq|int\d|gguf|fp8|hf)(?=-|$)", "", bare)
    for word in (bare, family):
        if word in by_lower:
            return [by_lower[word]]
        if near := difflib.get_close_matches(word, by_lower, n=2, cutoff=0.8):
            return [by_lower[found] for found in near]
    return []


def _chat_problems(
    path: str, model: Model, source: XinferenceSource, listed: VendorModel
) -> Iterator[Problem]:
    if source.engine is None:
        right = "set engine: vllm, or transformers, llama.cpp, sglang"
        yield Problem(
            f"{path}.xinference.engine", f"the chat model {model.name} has no engine", right
        )
    if source.format is None or source.size is None:
        wrong = f"{model.name} leaves its format or size to Xinference, so its memory is not known"
        right = "set format and size, and quantization unless it is pytorch"
        yield Problem(f"{path}.xinference", wrong, right)
    for ability, wanted in (("tools", model.tools), ("vision", model.vision)):
        if wanted and ability not in listed.abilities:
            wrong = f"{listed.name} has no ability {ability!r} in Xinference's list"
            right = f"leave {ability} out, or {_instead(listed, ability)}"
            yield Problem(f"{path}.{ability}", wrong, right)
    longer = source.engine_arguments.keys() & _LONGER_CONTEXT
    if model.context > listed.context and not longer:
        wrong = f"{listed.name} reads {listed.context} tokens and {model.context} are asked for"
        yield Problem(f"{path}.context", wrong, f"set {listed.context} or less")
    yield from _thinking_problems(f"{path}.xinference", source, listed)


def _instead(listed: VendorModel, ability: str) -> str:
    able = [m.name for m in vendor_models("LLM").values() if {ability, "chat"} <= {*m.abilities}]
    family = [name for name in able if name.startswith(f"{listed.name}-")]
    return f"use {difflib.get_close_matches(listed.name, family or able, n=1, cutoff=0.0)[0]}"


def _thinking_problems(
    path: str, source: XinferenceSource, listed: VendorModel
) -> Iterator[Problem]:
    told = source.engine_arguments
    if "reasoning" not in listed.abilities or told.get("reasoning_content"):
        return
    apart = "set engineArguments: {reasoning_content: true}, which keeps it out of the answer"
    if "hybrid" not in listed.abilities:
        wrong = f"{listed.name} always thinks first, and visitors would read its thoughts"
        yield Problem(path, wrong, f"{apart}, or choose a model that need not", warning=True)
    elif told.get("enable_thinking"):
        wrong = f"visitors would read the thoughts of {listed.name}"
        key = f"{path}.engineArguments.enable_thinking"
        yield Problem(key, wrong, f"leave it out, or {apart}", warning=True)


def _spec_problems(path: str, source: XinferenceSource, listed: VendorModel) -> Iterator[Problem]:
    """Format, size and quantization: the first of them that nothing in the list agrees with."""
    format_, size, quantization = source.format, source.size_text, source.quantization
    if not listed.matching(format_):
        why = ", which is Apple's" if format_ == "mlx" else ""
        wrong = f"{listed.name} does not come as {format_}{why}"
        yield Problem(f"{path}.format", wrong, f"use {_words(s.format for s in listed.specs)}")
    elif isinstance(source.size, float):
        wrong = f"{source.size} is a number to YAML, and Xinference takes none with a point"
        yield Problem(f"{path}.size", wrong, f'write size: "{size}"')
    elif not listed.matching(format_, size):
        yield _no_such_size(f"{path}.size", source, listed)
    elif not listed.matching(format_, size, quantization):
        wrong = f"{_named(listed, source)} has no quantization {quantization!r}"
        right = f"use {_words(_quantizations(listed.matching(format_, size)))}"
        yield Problem(f"{path}.quantization", wrong, right)
    elif quantization is None and format_ is not None:
        kinds = list(_quantizations(listed.matching(format_, size)))
        if "none" not in kinds:
            wrong = f"the format {format_} has a quantization that a launch must name"
            yield Problem(f"{path}.quantization", wrong, f"name one: {_words(kinds)}")


def _no_such_size(path: str, source: XinferenceSource, listed: VendorModel) -> Problem:
    sizes = dict.fromkeys(spec.size for spec in listed.matching(source.format))
    size = source.size_text or ""
    as_yaml = [
        listed_size for listed_size in sizes if listed_size.replace("_", "").lstrip("0") == size
    ]
    if as_yaml:
        wrong = f"{listed.name} has no size {size}, and YAML reads an unquoted {as_yaml[0]} as that"
        return Problem(path, wrong, f'write size: "{as_yaml[0]}"')
    as_format = f" as {source.format}" if source.format else ""
    ordered = sorted(filter(None, sizes), key=lambda text: float(text.replace("_", ".")))
    right = f"use {', '.join(ordered)}"
    others = _words(spec.format for spec in listed.matching(size=size))
    if others:
        right += f", or size {size} as {others}"
    return Problem(path, f"{listed.name}{as_format} has no size {size}", right)


def _engine_problems(path: str, source: XinferenceSource, listed: VendorModel) -> Iterator[Problem]:
    engine, format_ = source.engine, source.format
    if engine is None:
        return
    # llama.cpp runs whatever comes in its format.
    if engine != "llama.cpp" and listed.engines and engine not in listed.engines:
        wrong = f"Xinference's list has no {engine} for {listed.name}"
        engines = " or ".join(e for e in _FORMATS if e in listed.engines)
        right = f"use engine: {engines}" if listed.type == "LLM" else "leave engine out"
        yield Problem(f"{path}.engine", wrong, right)
    elif listed.type == "LLM" and engine not in _FORMATS:
        yield Problem(f"{path}.engine", f"{engine} cannot chat", f"use {_words(_FORMATS)}")
    elif format_ == "pytorch" and engine in SHARING and source.quantization not in (None, "none"):
        wrong = f"{engine} runs the format pytorch as it is, not as {source.quantization}"
        yield Problem(f"{path}.quantization", wrong, "leave it out, or choose another format")
    elif format_ is not None and engine in _FORMATS and format_ not in _FORMATS[engine]:
        runs = _words(e for e, formats in _FORMATS.items() if format_ in formats)
        wrong = f"engine {engine} does not run format {format_}"
        yield Problem(
            f"{path}.format", wrong, f"{runs} runs it, and {engine} {_words(_FORMATS[engine])}"
        )


def _hub_problems(
    path: str, source: XinferenceSource, listed: VendorModel, region: Region
) -> Iterator[Problem]:
    specs = listed.matching(source.format, source.size_text, source.quantization)
    if any(region.model_hub in spec.hubs for spec in specs):
        return
    hub = specs[0].hubs[0]
    where = f"through {region.hf_endpoint}" if hub == "huggingface" else "on the mainland"
    wrong = f"{_named(listed, source)} is not on {region.model_hub}, so it comes from {hub} {where}"
    right = "expect a slow download, or choose a format that the nearer hub has"
    yield Problem(path, wrong, right, warning=True)


def _named(listed: VendorModel, source: XinferenceSource) -> str:
    parts = (listed.name, source.size_text, source.format)
    return " ".join(part for part in parts if part)


def _quantizations(specs: Iterable[VendorSpec]) -> Iterator[str]:
    for spec in specs:
        yield from spec.quantizations


def _words(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))

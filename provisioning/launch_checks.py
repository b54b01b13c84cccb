"""What Xinference would refuse, or what would fail or surprise after the download.

The truth is the vendor's list (`vendor.py`). It is the pinned release's: where another release is
chosen, what the list does not have is a warning, for that one may have it.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic.alias_generators import to_camel

from provisioning.catalogue import MODEL_TYPES, Model, each_model
from provisioning.launch import PINNED, SIDE_ENGINE, download_hub
from provisioning.problems import Problem
from provisioning.regions import Region
from provisioning.tables import table
from provisioning.traits import ENGINES, Kind
from provisioning.vendor import VendorModel, billions_of, engine_arguments, release, vendor_models
from provisioning.versions import XinferenceRelease

_ABILITY: Mapping[Kind, str] = {"speech": "text2audio", "transcription": "audio2text"}
# Settings that only this kind of model has a use for.
_ONLY_FOR = {"dimensions": "embedding", "max_input": "embedding", "vision": "chat", "tools": "chat"}
# Arguments by which a setting of ours would be overruled: the memory is counted by that setting.
_SETTING_OF = table("overruling_arguments.json", dict[str, str])
# What Xinference is told by this program, or by its API elsewhere.
_RESERVED = frozenset({"model", "model_uid", "model_type", "wait_ready"})
_EVERY_ENGINE = frozenset({"enable_thinking", "reasoning_content"})
_LONGER_CONTEXT = frozenset({"rope_scaling", "hf_overrides"})
_ALL_DECLARED = "vllm"  # the only engine whose vendor declares every argument


def launch_problems(
    models: Sequence[Model], region: Region, runs: XinferenceRelease = PINNED
) -> list[Problem]:
    """What is wrong with the models that the release `runs` is to serve from the region's hub."""
    certain = runs.version == release()

    def check(model: Model) -> Iterator[Problem]:
        yield from _entry_problems(model, runs)
        if model.xinference is None:
            return
        yield from _argument_problems(model, certain)
        for problem in _listed_problems(model, region):
            yield replace(problem, warning=problem.warning or not certain)

    return list(each_model(models, check))


def _entry_problems(model: Model, runs: XinferenceRelease) -> Iterator[Problem]:
    """Whatever the list says."""
    for setting, kind in _ONLY_FOR.items():
        if getattr(model, setting) and model.kind != kind:
            wrong = f"it says something of a model of kind {kind}, and {model.name} is none"
            yield Problem(to_camel(setting), wrong, "leave it out", warning=True)
    if model.xinference is None:
        return
    if re.search(r"-rep\d+$", model.name):
        wrong = f"Xinference keeps names that end like {model.name!r} for its replicas"
        yield Problem("name", wrong, "choose another name")
    if "/" in model.name:
        wrong = f"{model.name!r} stands in Xinference's addresses and cannot hold a slash"
        near = _near(model) or "another one"
        yield Problem("name", wrong, f"name it {near}, as Xinference's list does")
    if model.local.engine == SIDE_ENGINE and not runs.installs_engines:
        wrong = f"Xinference {runs.version} would ask the package index at every launch, and lay "
        wrong += f"another torch over its image's, when {SIDE_ENGINE} is named"
        right = "leave engine out: its image loads embeddings and rerankers with it anyway"
        yield Problem("xinference.engine", wrong, right)


def _argument_problems(model: Model, certain: bool) -> Iterator[Problem]:
    """`certain`: the lists of arguments are of the release that is to run."""
    engine, given = model.local.engine, model.local.engine_arguments
    known = (engine_arguments(engine) | engine_arguments("launch") | _EVERY_ENGINE) - _RESERVED
    for key in sorted(given):
        path, plain = f"xinference.engineArguments.{key}", key.replace("-", "_")
        near = difflib.get_close_matches(plain, known, n=1, cutoff=0.75)
        if setting := _SETTING_OF.get(plain):
            wrong = f"it would overrule the setting {setting}, by which the model is judged"
            yield Problem(path, wrong, f"set {setting} instead")
        elif key in _RESERVED:
            yield Problem(path, "this program sets it itself", "leave it out")
        elif key in known:
            continue
        elif near or engine == _ALL_DECLARED:
            wrong = f"{engine or 'Xinference'} has no argument {key!r}"
            right = f"did you mean {near[0]!r}?" if near else "leave it out, or see its manual"
            yield Problem(path, wrong, right, warning=not certain)
        else:
            wrong = f"whether {engine or 'its engine'} has an argument {key!r} is not known here"
            yield Problem(path, wrong, "look it up: a wrong one fails at the launch", warning=True)


def _listed_problems(model: Model, region: Region) -> Iterator[Problem]:
    listed, named_at = model.listed, "xinference.model" if model.local.model else "name"
    if listed is None:
        if model.local.model or "/" not in model.name:  # that is said already
            yield _not_listed(model, named_at)
        return
    if _ABILITY.get(model.kind, "") not in ("", *listed.abilities):
        right = f"it is one for {', '.join(listed.abilities)}"
        yield Problem("kind", f"{listed.name} is no model of kind {model.kind}", right)
    if model.kind == "chat":
        if "chat" not in listed.abilities:
            wrong = f"{listed.name} continues texts and cannot chat"
            yield Problem(named_at, wrong, _instead(listed, "chat"))
        yield from _chat_problems(model, listed)
    if model.kind == "embedding" and (model.max_input or 0) > listed.context:
        wrong = f"{listed.name} reads {listed.context} tokens and cuts off the rest"
        yield Problem("maxInput", wrong, f"set {listed.context} or less, or leave it out")
    if found := list(_spec_problems(model, listed)):
        yield from found
        return
    yield from _engine_problems(model, listed)
    hub = download_hub(model, region)
    if hub != region.model_hub:
        where = f"through {region.hf_endpoint}" if hub == "huggingface" else "on the mainland"
        wrong = f"{_named(model, listed)} is not on {region.model_hub}, so it comes from {hub} "
        right = "expect a slow download, or choose a format that the nearer hub has"
        yield Problem("xinference", wrong + where, right, warning=True)


def _not_listed(model: Model, path: str) -> Problem:
    name, near = model.upstream, _near(model)
    for type_ in sorted({*MODEL_TYPES.values()} - {MODEL_TYPES[model.kind]}):
        if name in vendor_models(type_):
            wrong = f"{name} is listed as {type_}, which is not the kind {model.kind}"
            return Problem(path, wrong, "set the kind that it is")
    right = "choose from its list (`make models`), or serve it elsewhere and name it under remote:"
    wrong = f"Xinference {release()} has no model {name!r} of kind {model.kind}"
    return Problem(path, wrong, f"did you mean {near}?" if near else right)


def _near(model: Model) -> str:
    """Names that look like it, also where a hub's name with owner, size or format was written."""
    known = vendor_models(MODEL_TYPES[model.kind]).values()
    able = (m.name for m in known if model.kind != "chat" or "chat" in m.abilities)
    names = {name.lower(): name for name in able}
    bare = model.upstream.lower().rpartition("/")[2]
    family = re.sub(r"-(\d+(\.\d+)?b|awq|gptq|int\d|gguf|fp8|hf)(?=-|$)", "", bare)
    for word in (bare, family):
        if word in names:
            return names[word]
        if near := difflib.get_close_matches(word, names, n=2, cutoff=0.8):
            return " or ".join(names[found] for found in near)
    return ""


def _instead(listed: VendorModel, ability: str) -> str:
    able = [m.name for m in vendor_models("LLM").values() if {ability, "chat"} <= {*m.abilities}]
    family = [name for name in able if name.startswith(f"{listed.name}-")]
    return f"use {difflib.get_close_matches(listed.name, family or able, n=1, cutoff=0.0)[0]}"


def _chat_problems(model: Model, listed: VendorModel) -> Iterator[Problem]:
    source, told, name = model.local, model.local.engine_arguments, listed.name
    if source.engine is None:
        right = "set engine: vllm, or transformers, llama.cpp, sglang"
        yield Problem("xinference.engine", f"the chat model {model.name} has no engine", right)
    if source.format is None or source.size is None:
        wrong = f"{model.name} leaves its format or size to Xinference, so its memory is not known"
        right = "set format and size, and quantization unless it is pytorch"
        yield Problem("xinference", wrong, right)
    for ability, wanted in (("tools", model.tools), ("vision", model.vision)):
        if wanted and ability not in listed.abilities:
            wrong = f"{name} has no ability {ability!r} in Xinference's list"
            yield Problem(ability, wrong, f"leave {ability} out, or {_instead(listed, ability)}")
    if model.context > listed.context and not told.keys() & _LONGER_CONTEXT:
        wrong = f"{name} reads {listed.context} tokens and {model.context} are asked for"
        yield Problem("context", wrong, f"set {listed.context} or less")
    if "reasoning" not in listed.abilities or told.get("reasoning_content"):
        return
    apart = "set engineArguments: {reasoning_content: true}, which keeps it out of the answer"
    if "hybrid" not in listed.abilities:
        wrong = f"{name} always thinks first, and visitors would read its thoughts"
        right = f"{apart}, or choose a model that need not"
        yield Problem("xinference", wrong, right, warning=True)
    elif told.get("enable_thinking"):
        path, wrong = "enable_thinking", f"visitors would read the thoughts of {name}"
        right = f"leave it out, or {apart}"
        yield Problem(f"xinference.engineArguments.{path}", wrong, right, warning=True)


def _spec_problems(model: Model, listed: VendorModel) -> Iterator[Problem]:
    """Format, size and quantization: the first of them that nothing in the list agrees with."""
    source, name = model.local, listed.name
    format_, size, quantization = source.format, source.size_text, source.quantization
    sizes = {spec.size for spec in listed.matching(format_)} - {""}
    unquoted = next((own for own in sizes if own.replace("_", "").lstrip("0") == size), None)
    specs = listed.matching(format_, size)
    kinds = _words(quantization for spec in specs for quantization in spec.quantizations)
    if not listed.matching(format_):
        wrong = f"{name} does not come as {format_}"
        wrong += ", which is Apple's" if format_ == "mlx" else ""
        right = f"use {_words(spec.format for spec in listed.specs)}"
        yield Problem("xinference.format", wrong, right)
    elif isinstance(source.size, float):
        wrong = f"{source.size} is a number to YAML, and Xinference takes none with a point"
        yield Problem("xinference.size", wrong, f'write size: "{size}"')
    elif not specs and unquoted:
        wrong = f"{name} has no size {size}, and YAML reads an unquoted {unquoted} as that"
        yield Problem("xinference.size", wrong, f'write size: "{unquoted}"')
    elif not specs:
        wrong = f"{name}{f' as {format_}' if format_ else ''} has no size {size}"
        others = _words(spec.format for spec in listed.matching(size=size))
        right = f"use {', '.join(sorted(sizes, key=billions_of))}"
        right += f", or size {size} as {others}" if others else ""
        yield Problem("xinference.size", wrong, right)
    elif not listed.matching(format_, size, quantization):
        wrong = f"{_named(model, listed)} has no quantization {quantization!r}"
        yield Problem("xinference.quantization", wrong, f"use {kinds}")
    elif quantization is None and format_ is not None and "none" not in kinds.split(", "):
        wrong = f"the format {format_} has a quantization that a launch must name"
        yield Problem("xinference.quantization", wrong, f"name one: {kinds}")


def _engine_problems(model: Model, listed: VendorModel) -> Iterator[Problem]:
    engine, format_, quantization = model.local.engine, model.local.format, model.local.quantization
    traits = model.local.traits
    if engine is None:
        return
    # llama.cpp runs whatever comes in its format.
    if engine != "llama.cpp" and listed.engines and engine not in listed.engines:
        wrong = f"Xinference's list has no {engine} for {listed.name}"
        engines = " or ".join(e for e in ENGINES if e in listed.engines)
        right = f"use engine: {engines}" if listed.type == "LLM" else "leave engine out"
        yield Problem("xinference.engine", wrong, right)
    elif listed.type == "LLM" and engine not in ENGINES:
        yield Problem("xinference.engine", f"{engine} cannot chat", f"use {_words(ENGINES)}")
    elif format_ == "pytorch" and traits.share and quantization not in (None, "none"):
        wrong = f"{engine} runs the format pytorch as it is, not as {quantization}"
        yield Problem("xinference.quantization", wrong, "leave it out, or choose another format")
    elif format_ is not None and traits.formats and format_ not in traits.formats:
        runs = _words(name for name, other in ENGINES.items() if format_ in other.formats)
        right = f"{runs} runs it, and {engine} {_words(traits.formats)}"
        yield Problem("xinference.format", f"engine {engine} does not run format {format_}", right)


def _named(model: Model, listed: VendorModel) -> str:
    return " ".join(filter(None, (listed.name, model.local.size_text, model.local.format)))


def _words(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))

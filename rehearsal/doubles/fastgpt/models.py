"""The models of the current edition, kept in MongoDB (docs/facts/fastgpt-current.md §3).

A record is `{"model", "metadata"}`, in the order in which it was sent. What runs is the record over
the plugin's entry of that name.
"""

import json
from typing import TYPE_CHECKING, Any

from rehearsal.doubles.fastgpt.config import Config
from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, Document, Json, Problem, picked
from rehearsal.doubles.fastgpt.refusals import Invalid, check

if TYPE_CHECKING:
    from rehearsal.doubles.fastgpt.boot import Service

_LISTS: dict[str, str] = CURRENT["kinds"]
"""Kind of model to its list in `Config`."""
_DEFAULTS: dict[str, tuple[str, str]] = CURRENT["defaults"]
"""What `updateDefault` and `defaultModels` call a default, to its kind and the flag of it."""


def read_models(service: "Service") -> None:
    """Let the service know its models anew, the default of a kind (the last) first."""
    lists: dict[str, Any] = {name: [] for name in _LISTS.values()}
    for model in _running(service, with_secrets=True):
        if model["isActive"]:
            lists[_LISTS[model["type"]]].append(model)
    for models in lists.values():
        models.sort(key=lambda model: not model.get("isDefault"))
    service.config = Config(CURRENT["feConfigs"], {}, lists)


def public(service: "Service", value: Json) -> Json:
    """With the address at which a browser gets the logos."""
    given = service.environment
    base = f"{given.s3_external}/{given.public_bucket}"
    return json.loads(json.dumps(value).replace("$PUBLIC", base))


def active(service: "Service") -> Document:
    """What a session is told: the active models, and the default of each use."""
    models = [model for model in _running(service, with_secrets=False) if model["isActive"]]
    defaults: Document = {}
    for name, (kind, flag) in _DEFAULTS.items():
        of_kind = [model for model in models if model["type"] == kind]
        flagged = [model for model in of_kind if model.get(flag)]
        if chosen := flagged[-1:] or of_kind[:1]:
            defaults[name] = chosen[0]
    return {"activeModelList": models, "defaultModels": defaults}


def get_config_json(call: Call) -> str:
    """A JSON text, with the keys of the rerankers."""
    shown = [picked(record, "model", "metadata") for record in _records(call.service)]
    return json.dumps(shown, ensure_ascii=False, indent=2)


def update_with_json(call: Call) -> None:
    """Replace all. Of two with one name the last survives; unknown keys are dropped."""
    sent = json.loads(call.body["config"])
    _replace(call.service, [_normal(item["model"], item["metadata"]) for item in sent])


def update_default(call: Call) -> Document:
    """It sets the flags of the stored records anew; names without a record are ignored."""
    records = _records(call.service)
    for record in records:
        metadata = record["metadata"]
        for name, (kind, flag) in _DEFAULTS.items():
            if metadata["type"] == kind:
                metadata.pop(flag, None)
                if call.body.get(name) == record["model"]:
                    metadata[flag] = True
    _replace(call.service, records)
    return {}


def update_model(call: Call) -> None:
    """One record: what the plugin says of it, under what is stored, under what is sent."""
    name, records = call.body["model"], _records(call.service)
    stored = {record["model"]: record["metadata"] for record in records}
    whole = {**CURRENT["builtin"].get(name, {}), **stored.get(name, {}), **call.body["metadata"]}
    _replace(call.service, [*records, _normal(name, whole)])


def delete_model(call: Call) -> None:
    name = call.query.get("model")
    if name in CURRENT["builtin"]:
        raise Problem("System model cannot be deleted")
    _replace(call.service, [each for each in _records(call.service) if each["model"] != name])


def detail_model(call: Call) -> Document:
    return _named(call, with_secrets=True)


def list_model(call: Call) -> list[Document]:
    return _running(call.service, with_secrets=False)


def get_default_config(call: Call) -> Document:
    built_in = CURRENT["builtin"].get(call.query.get("model"))
    return {**built_in, "isCustom": False} if built_in else {}


def test(call: Call) -> Json:
    """One real call; its error is the upstream's."""
    model, upstream = _named(call, with_secrets=True), call.service.upstream
    if model["type"] == "llm":
        asked = [{"role": "user", "content": "hi"}]
        return "".join(upstream.chat_stream({"model": model["model"], "messages": asked}))
    if model["type"] == "embedding":
        return {"tokens": 0, "vectors": [upstream.embedding(model, "Hi")]}
    if model["type"] == "rerank":
        upstream.rerank(model, "Hi", ["Hi"])
    if model["type"] == "tts":
        upstream.speech(model, "Hi")
    if model["type"] == "stt":
        if call.service.environment.from_source:
            raise Problem("ENOENT: no such file or directory, open '/app/data/test.mp3'")
        return upstream.transcription(model, b"ID3")
    return None


def _named(call: Call, with_secrets: bool) -> Document:
    name = call.query.get("model")
    for model in _running(call.service, with_secrets):
        if name in (model["model"], model["name"]):
            return model
    raise Problem("Model not found")


def _records(service: "Service") -> list[Document]:
    return service.mongo.find("system_models")


def _replace(service: "Service", records: list[Document]) -> None:
    # Without the plugin no model is written, and the list in memory stays as it is.
    service.check_plugin()
    service.mongo.delete("system_models")
    for record in {record["model"]: record for record in records}.values():
        service.mongo.put("system_models", picked(record, "model", "metadata"))
    read_models(service)


def _normal(model: str, metadata: Document) -> Document:
    """A record with the keys that are known, in their order. Raises Invalid: one lacks."""
    needed = CURRENT["neededOfModels"]
    if issues := check(metadata, needed["all"] | needed.get(str(metadata.get("type")), {})):
        raise Invalid(issues)
    trimmed = {"model": model.strip(), "name": metadata["name"].strip()}
    kept = picked({**metadata, **trimmed}, *CURRENT["modelFields"])
    if "priceTiers" in kept:
        kept.pop("charsPointsPrice", None)
    return {"model": trimmed["model"], "metadata": kept}


def _running(service: "Service", with_secrets: bool) -> list[Document]:
    built_in = {name: {**model, "isActive": False} for name, model in CURRENT["builtin"].items()}
    stored = {record["model"]: record["metadata"] for record in _records(service)}
    found = []
    for name in [*stored, *(name for name in built_in if name not in stored)]:
        model = {**built_in.get(name, {}), **stored.get(name, {})}
        told: Document = {"isActive": False, "isCustom": name not in built_in}
        if name in built_in:
            told["avatar"] = f"$PUBLIC/system/plugin/models/{model['provider']}/logo"
        if model["type"] == "llm":
            told["priceTiers"] = CURRENT["free"]
        hidden = () if with_secrets else ("requestUrl", "requestAuth")
        shown = {key: value for key, value in {**told, **model}.items() if key not in hidden}
        found.append(shown)
    return list(public(service, found))

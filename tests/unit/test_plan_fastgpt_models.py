"""The models of FastGPT 4.16, as docs/facts/fastgpt-current.md §3 wants them."""

import json
from typing import Any

from provisioning.app_graph import FORMS, SEARCH_NODE, simple_app
from provisioning.catalogue import Model
from provisioning.channels import XINFERENCE_KEY
from provisioning.fastgpt_config import quote_max_token
from provisioning.fastgpt_models import model_set
from provisioning.knowledge import App
from rehearsal.doubles.fastgpt.models import _normal
from tests.unit.plans import model

CHAT = model(context=16384, title="Qwen 2.5", tools=True)
GLM = model("glm-4v", vision=True, remote={"provider": "zhipu"})
M3E = model("m3e-base", "embedding")
WIDE = model("wide", "embedding", dimensions=1024, maxInput=8192)
RERANK = model("bge-reranker-v2-m3", "rerank")
SPEAKS, HEARS = model("tts-1", "speech", voices=["alloy"]), model("whisper-1", "transcription")
ALL = (RERANK, GLM, WIDE, CHAT, M3E, SPEAKS, HEARS)


def told(*models: Model) -> dict[str, Any]:
    return {each["model"]: each["metadata"] for each in model_set(models)}


def test_the_first_of_each_kind_is_its_default_and_each_is_in_use() -> None:
    found = told(*ALL)
    assert list(found) == [entry.name for entry in ALL]
    defaults = {name for name, metadata in found.items() if metadata["isDefault"]}
    assert defaults == {entry.name for entry in ALL} - {CHAT.name, M3E.name}
    assert found["glm-4v"]["isDefaultDatasetTextModel"]
    assert not found[CHAT.name]["isDefaultDatasetTextModel"]
    assert all(metadata["isActive"] for metadata in found.values())


def test_a_model_can_do_what_the_catalogue_says() -> None:
    found = told(*ALL)
    qwen = {"type": "llm", "provider": "Qwen", "name": "Qwen 2.5", "maxContext": 16384}
    qwen |= {"maxResponse": 4096, "quoteMaxToken": quote_max_token(CHAT), "maxTemperature": 1.2}
    assert found[CHAT.name].items() >= {**qwen, "toolChoice": True, "vision": False}.items()
    assert found["glm-4v"].items() >= {"provider": "ChatGLM", "maxTemperature": 1}.items()
    # What it reads at once: a longer text gets several vectors.
    wide = {"provider": "Other", "defaultToken": 512, "maxToken": 8192}
    assert found["wide"].items() >= {**wide, "defaultConfig": {"dimensions": 1024}}.items()
    assert found["m3e-base"].items() >= {"defaultToken": 256, "maxToken": 512}.items()
    assert "defaultConfig" not in found["m3e-base"]
    rerank = {"requestUrl": "http://caddy:9997/v1/rerank", "requestAuth": XINFERENCE_KEY}
    assert found[RERANK.name].items() >= {**rerank, "provider": "BAAI"}.items()
    assert found["tts-1"]["voices"] == [{"label": "alloy", "value": "alloy"}]
    assert found["whisper-1"]["type"] == "stt"
    assert "null" not in json.dumps(found)


def test_fastgpt_keeps_each_record_as_it_is_told() -> None:
    """Or each `up` would set them anew."""
    for each in model_set(ALL):
        assert _normal(each["model"], each["metadata"]) == each


def test_its_graph_has_nothing_that_it_drops_or_refuses() -> None:
    app, tiny = App(name="a", limit=20000, welcome="Hello"), model("tiny", context=2048)
    graph = simple_app(app, tiny, ["d1"], "m3e-base", FORMS["current"])
    kinds = [node["flowNodeType"] for node in graph.nodes]
    assert kinds == ["workflowStart", "datasetSearchNode", "chatNode"]
    (search,) = [node for node in graph.nodes if node["nodeId"] == SEARCH_NODE]
    assert {entry["key"]: entry.get("value") for entry in search["inputs"]}["limit"] == 20000
    assert graph.chat_config["questionGuide"] == {"open": False}
    assert graph.chat_config["welcomeText"] == "Hello"
    assert None not in graph.chat_config.values()

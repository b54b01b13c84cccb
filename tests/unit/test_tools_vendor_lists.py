"""`make catalogue`: what is taken out of the vendors' wheels."""

import io
import json
from typing import Any
from zipfile import ZipFile

from provisioning.vendor import DATA
from tools.vendor_lists import vendor_text

BOTH = ("huggingface", "modelscope")


def spec(format_: str, size: object, **quantizations: list[str]) -> dict[str, Any]:
    homes = {hub: {"quantizations": q, "model_id": "o/n"} for hub, q in quantizations.items()}
    return {"model_format": format_, "model_size_in_billions": size, "model_src": homes}


LLM = {
    "model_name": "b-chat",
    "context_length": 4096,
    "model_lang": ["en"],
    "model_ability": ["chat", "tools"],
    "model_description": "not kept",
    "architectures": ["BForCausalLM"],
    "virtualenv": {"packages": ['#x# ; #engine# == "vllm"', '#y# ; #engine# == "MLX"']},
    "model_specs": [
        spec("pytorch", "0_5", huggingface=["none"], modelscope=["none"]),
        spec("pytorch", 7, huggingface=["none"], modelscope=["none"]),
        spec("gptq", 7, huggingface=["Int4", "Int8"], modelscope=["Int4"]),
        spec("mlx", 7, huggingface=["4bit"]),
    ],
}
EMBEDDING = {
    "model_name": "gte-Two",
    "dimensions": 3584,
    "max_tokens": 32000,
    "language": ["zh"],
    "model_specs": [
        {
            "model_format": "pytorch",
            "model_src": {
                "huggingface": {"model_id": "x/gte-Two-7B-instruct", "quantizations": ["none"]}
            },
        }
    ],
}  # fmt: skip
AUDIO = [
    {"model_name": "Small-82M", "model_ability": ["text2audio"],
     "model_src": {"modelscope": {"model_id": "o/Small-82M"}}},
    {"model_name": "Other-MLX", "model_family": "Other-MLX", "model_ability": ["text2audio"],
     "model_src": {"huggingface": {"model_id": "o/n"}}},
]  # fmt: skip

XINFERENCE = {
    "model/llm/llm_family.json": json.dumps([LLM, {**LLM, "model_name": "a-chat"}]),
    "model/embedding/model_spec.json": json.dumps([EMBEDDING]),
    "model/rerank/model_spec.json": "[]",
    "model/audio/model_spec.json": json.dumps(AUDIO),
    "model/llm/vllm/core.py": "class VLLMModelConfig(TypedDict):\n    reasoning_content: bool\n",
    "model/llm/sglang/core.py": "class SGLANGModelConfig(TypedDict):\n    tp_size: int\n",
    "types.py": "class PytorchModelConfig(TypedDict):\n    device: str\n",
    "core/supervisor.py": "async def launch_builtin_model(self, model_uid, envs=None): ...\n",
}
VLLM = {
    "engine/arg_utils.py": "class EngineArgs:\n    seed: int = 0\n    _own: int = 0\n"
    "class AsyncEngineArgs(EngineArgs):\n    enable_log_requests: bool = False\n"
}


def wheel(package: str, files: dict[str, str]) -> ZipFile:
    made = ZipFile(io.BytesIO(), "w")
    for path, text in files.items():
        made.writestr(f"{package}/{path}", text)
    return made


def text() -> str:
    return vendor_text(wheel("xinference", XINFERENCE), wheel("vllm", VLLM))


def test_what_is_kept_of_a_model() -> None:
    made = json.loads(text())
    assert list(made["LLM"]) == ["a-chat", "b-chat"]
    assert made["LLM"]["b-chat"] == {
        "context": 4096,
        "abilities": ["chat", "tools"],
        "architecture": "BForCausalLM",
        "languages": ["en"],
        "engines": ["vllm"],
        "specs": [
            ["pytorch", "0_5", ["none"], [*BOTH]],
            ["pytorch", "7", ["none"], [*BOTH]],
            ["gptq", "7", ["Int4"], [*BOTH]],
            ["gptq", "7", ["Int8"], ["huggingface"]],
        ],
    }
    # How large it is stands in its repository's name alone.
    assert made["embedding"]["gte-Two"]["billions"] == 7.0
    assert (made["embedding"]["gte-Two"]["width"], made["embedding"]["gte-Two"]["context"]) == (
        3584,
        32000,
    )
    assert list(made["audio"]) == ["Small-82M"]
    assert made["audio"]["Small-82M"]["billions"] == 0.082
    assert made["audio"]["Small-82M"]["specs"] == [["", "", ["none"], ["modelscope"]]]


def test_arguments_come_from_the_code_that_declares_them() -> None:
    assert json.loads(text())["arguments"] == {
        "vllm": ["enable_log_requests", "reasoning_content", "seed"],
        "sglang": ["tp_size"],
        "transformers": ["device"],
        "launch": ["envs", "model_uid"],
    }


def test_the_same_wheels_give_the_same_bytes_and_the_file_is_small() -> None:
    assert text() == text()
    assert DATA.stat().st_size < 150_000

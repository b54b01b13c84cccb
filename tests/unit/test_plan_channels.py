"""OneAPI's channels, and what must never reach OneAPI."""

from typing import Any

import pytest
from pydantic import ValidationError

from provisioning.catalogue import Model
from provisioning.channel_problems import channel_problems
from provisioning.channels import channel_plans
from provisioning.regions import Region, region
from provisioning.shape_problems import shape_problems
from provisioning.traits import PROVIDERS

MAINLAND = region("cn-hangzhou", {})


def local(name: str, kind: str, **more: Any) -> Model:
    return Model.model_validate({"name": name, "kind": kind, "xinference": {}, **more})


def remote(name: str, kind: str, provider: str, **source: Any) -> Model:
    dimensions = {"dimensions": source.pop("dimensions")} if "dimensions" in source else {}
    told = {"name": name, "kind": kind, "remote": {"provider": provider, **source}}
    return Model.model_validate(told | dimensions)


CATALOGUE = [
    local("qwen2.5-instruct", "chat"),
    local("m3e-base", "embedding"),
    local("bge-reranker-v2-m3", "rerank"),
    local("llama-3.1-instruct", "chat"),
    remote("qwen-plus", "chat", "dashscope"),
    remote("text-embedding-v1", "embedding", "dashscope"),
    remote("ernie", "chat", "baidu", model="ERNIE-Speed-128K"),
    remote("glm-4v", "chat", "zhipu", apiKey="team"),
    remote("gpt-4o-mini", "chat", "openai", baseUrl="https://gate.example:8443"),
]


def test_one_channel_per_source_and_kind() -> None:
    plans = channel_plans(CATALOGUE, MAINLAND)
    here, alibaba = "http://xinference:9997", "https://dashscope.aliyuncs.com"
    local_chats = ("qwen2.5-instruct", "llama-3.1-instruct")
    gate = "https://gate.example:8443"
    assert [(p.name, p.type, p.base_url, p.models, p.api_key) for p in plans] == [
        ("xinference-chat", 1, here, local_chats, None),
        ("xinference-embedding", 1, here, ("m3e-base",), None),
        ("dashscope-chat", 17, alibaba, ("qwen-plus",), "key-dashscope"),
        ("dashscope-embedding", 17, alibaba, ("text-embedding-v1",), "key-dashscope"),
        ("baidu-chat", 15, "", ("ernie",), "key-baidu"),
        ("zhipu-team-chat", 16, "", ("glm-4v",), "key-team"),
        ("openai-gate-example-8443-chat", 1, gate, ("gpt-4o-mini",), "key-openai"),
    ]
    assert [p.model_mapping for p in plans if p.model_mapping] == [{"ernie": "ERNIE-Speed-128K"}]
    assert channel_problems(CATALOGUE) == []


def test_another_source_never_renames_a_channel() -> None:
    before = {plan.name for plan in channel_plans(CATALOGUE, MAINLAND)}
    more = [remote("qwen-max", "chat", "dashscope", apiKey="second"), *CATALOGUE]
    assert {plan.name for plan in channel_plans(more, MAINLAND)} == before | {
        "dashscope-second-chat"
    }


def test_the_same_name_is_not_mapped() -> None:
    assert (
        channel_plans([remote("a", "chat", "openai", model="a")], MAINLAND)[0].model_mapping == {}
    )


def test_a_transcription_channel_lists_the_name_that_oneapi_routes_by() -> None:
    plan = channel_plans([local("whisper-large-v3", "transcription")], MAINLAND)[0]
    assert plan.models == ("whisper-large-v3", "whisper-1")
    assert channel_plans([local("whisper-1", "transcription")], MAINLAND)[0].models == (
        "whisper-1",
    )


@pytest.mark.parametrize(
    ("place", "source", "address"),
    [
        (region("ap-southeast-1", {}), {}, "https://dashscope-intl.aliyuncs.com"),
        (MAINLAND, {"baseUrl": "https://d.example/"}, "https://d.example"),
    ],
)
def test_dashscopes_address_is_the_operators_or_the_regions(
    place: Region, source: dict[str, str], address: str
) -> None:
    assert channel_plans([remote("q", "chat", "dashscope", **source)], place)[0].base_url == address


def test_every_provider_has_a_type_that_v0_6_6_knows() -> None:
    # 40 and later came after v0.6.6; 2, 4 to 7, 9, 10, 12 and 13 are resellers nobody names here.
    types = [provider.type for provider in PROVIDERS.values()]
    assert all(1 <= type_ <= 39 for type_ in types)
    assert len(types) == len(set(types))


# Both would be called openai-a-b-chat.
TWINS = [remote(host, "chat", "openai", baseUrl=f"https://{host}") for host in ("a.b", "a-b")]


@pytest.mark.parametrize(
    ("models", "path", "said"),
    [
        ([local("Qwen", "chat"), local("qwen", "chat")], "name", "upper and lower"),
        ([local("a", "rerank"), local("b", "rerank")], "kind", "the first reranker only"),
        ([local("a", "transcription"), local("b", "transcription")], "kind", "whisper-1"),
        (TWINS, "remote.apiKey", "different apiKey names"),
    ],
)
def test_what_two_models_cannot_share(models: list[Model], path: str, said: str) -> None:
    (problem,) = channel_problems(models)
    assert problem.path == f"models[1].{path}"
    assert said in str(problem)


def at(address: str, provider: str = "openai") -> Model:
    return remote("a", "chat", provider, baseUrl=address)


def wide(name: str, provider: str = "openai", **source: Any) -> Model:
    return remote(name, "embedding", provider, **source)


GME = {"model": "gme-Qwen2-VL-7B-Instruct"}
ITSELF = ("http://localhost:11434", "http://127.0.0.1", "http://[::1]:80")
TOO_WIDE = {
    "BAAI/bge-multilingual-gemma2": 3584,
    "Pro/Qwen/Qwen3-Embedding-8B": 4096,
    "qwen3-embedding:8b": 4096,
    "jina-embeddings-v4": 2048,
    "gte-Qwen2-7B-instruct": 3584,
}


@pytest.mark.parametrize(
    ("model", "path", "said"),
    [
        (remote("a", "rerank", "openai"), "remote.provider", "cannot relay a reranker"),
        (wide("a", "deepseek"), "remote.provider", "relays no embedding"),
        (at("https://x.example/v1"), "remote.baseUrl", "write https://x.example"),
        # DashScope's own manual writes it so.
        (at("https://x.example/compatible-mode/v1/"), "remote.baseUrl", "example/compatible-mode"),
        (at("https://x.example/v1/chat/completions"), "remote.baseUrl", "write https://x.example"),
        (at("https://x.example/api/paas/v4"), "remote.baseUrl", "wrong path"),
        (at("https://x.example/?key=1"), "remote.baseUrl", "write https://x.example"),
        *((at(url, "ollama"), "remote.baseUrl", "is the container itself") for url in ITSELF),
        (remote("a", "chat", "ollama"), "remote.baseUrl", "http://host:11434"),
        (wide("text-embedding-v2", "dashscope"), "remote.model", "text-embedding-v1"),
        (wide("text-embedding-3-large"), "dimensions", "1536 or less"),
        (
            wide("mine", model="text-embedding-3-large", dimensions=3072),
            "dimensions",
            "1536 or less",
        ),
        *((wide(name), "dimensions", f"answers {width} ") for name, width in TOO_WIDE.items()),
        (local("Qwen3-Embedding-4B", "embedding"), "name", "answers 2560"),
        # Its engine answers the whole width, whatever a request asks for.
        (local("Qwen3-Embedding-4B", "embedding", dimensions=1024), "name", "such as bge-m3"),
        (local("mine", "embedding", xinference=GME), "xinference.model", "answers 3584"),
        (wide("embedding-3", "zhipu", dimensions=1024), "remote.model", "embedding-2"),
        (remote("s", "speech", "openai", model="tts-1"), "remote.model", "call the model tts-1"),
    ],
)
def test_what_oneapi_would_get_wrong(model: Model, path: str, said: str) -> None:
    (problem,) = channel_problems([model])
    assert problem.path == f"models[0].{path}"
    assert said in str(problem)
    assert not problem.warning


@pytest.mark.parametrize(
    "address", ["x.example", "https://a b", "https://", "https://[::1", "ftp://u:hush@x.org"]
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValidationError) as refused:
        at(address)
    (problem,) = shape_problems(refused.value, Model)
    assert problem.path == "remote.baseUrl"
    assert problem.right == "write an address, such as https://api.example.com"
    assert "hush" not in str(problem)


def test_a_plan_is_made_of_what_is_refused_too() -> None:
    assert [plan.models for plan in channel_plans(TWINS, MAINLAND)] == [("a.b", "a-b")]


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    (problem,) = channel_problems([at("https://u:hush@x.example")])
    assert "key-openai" in str(problem)
    assert "hush" not in str(problem)


@pytest.mark.parametrize(
    "model",
    [
        wide("text-embedding-3-large", dimensions=1024),
        wide("text-embedding-3-small"),
        wide("embedding-2", "zhipu"),
        wide("mine", "dashscope", model="text-embedding-v1"),
        wide("BAAI/bge-m3"),
        wide("gte-Qwen2-1.5B-instruct"),
        remote("tts-1", "speech", "openai"),
        at("https://x.example/api/paas"),
        at("https://x.example:8443/"),
        at("http://ollama.example:11434", "ollama"),
        local("gme-Qwen2-VL-2B-Instruct", "embedding"),
    ],
)
def test_what_is_right_passes(model: Model) -> None:
    assert channel_problems([model]) == []


def test_what_does_not_answer_on_the_mainland_needs_an_address() -> None:
    openai = remote("gpt-4o-mini", "chat", "openai")
    (problem,) = channel_problems([openai], mainland=True)
    assert problem.path == "models[0].remote.baseUrl"
    assert "gateway of yours" in problem.right
    assert channel_problems([openai]) == []
    assert channel_problems([at("https://api.openai.com")], mainland=True) == []


@pytest.mark.parametrize(
    "model",
    [at("http://192.168.1.5:11434", "ollama"), local("bge-m3", "embedding", dimensions=512)],
)
def test_what_is_unwise_is_said_and_not_refused(model: Model) -> None:
    (problem,) = channel_problems([model])
    assert problem.warning

"""OneAPI's channels, and what must never reach OneAPI."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.catalogue import Model
from provisioning.channel_problems import channel_problems
from provisioning.channels import channel_plans
from provisioning.regions import region
from provisioning.traits import PROVIDERS


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
    plans = channel_plans(CATALOGUE, region("cn-hangzhou", {}))
    assert [(p.name, p.type, p.base_url, p.models, p.api_key) for p in plans] == [
        (
            "xinference-chat",
            1,
            "http://xinference:9997",
            ("qwen2.5-instruct", "llama-3.1-instruct"),
            None,
        ),
        ("xinference-embedding", 1, "http://xinference:9997", ("m3e-base",), None),
        (
            "dashscope-chat",
            17,
            "https://dashscope.aliyuncs.com",
            ("qwen-plus",),
            "key-dashscope",
        ),
        (
            "dashscope-embedding",
            17,
            "https://dashscope.aliyuncs.com",
            ("text-embedding-v1",),
            "key-dashscope",
        ),
        ("baidu-chat", 15, "", ("ernie",), "key-baidu"),
        ("zhipu-team-chat", 16, "", ("glm-4v",), "key-team"),
        (
            "openai-gate-example-8443-chat",
            1,
            "https://gate.example:8443",
            ("gpt-4o-mini",),
            "key-openai",
        ),
    ]
    assert [p.probe for p in plans] == [p.models[0] for p in plans]
    assert channel_problems(CATALOGUE) == []


def test_another_source_never_renames_a_channel() -> None:
    before = {plan.name for plan in channel_plans(CATALOGUE)}
    more = [remote("qwen-max", "chat", "dashscope", apiKey="second"), *CATALOGUE]
    assert {plan.name for plan in channel_plans(more)} - before == {"dashscope-second-chat"}
    assert before <= {plan.name for plan in channel_plans(more)}


def test_the_alias_is_routed_and_mapped() -> None:
    plan = channel_plans([remote("ernie", "chat", "baidu", model="ERNIE-Speed-128K")])[0]
    assert plan.models == ("ernie",)
    assert plan.model_mapping == {"ernie": "ERNIE-Speed-128K"}


def test_the_same_name_is_not_mapped() -> None:
    same = remote("a", "chat", "openai", model="a")
    assert channel_plans([same])[0].model_mapping == {}


def test_a_transcription_channel_lists_the_name_that_oneapi_routes_by() -> None:
    plan = channel_plans([local("whisper-large-v3", "transcription")])[0]
    assert plan.models == ("whisper-large-v3", "whisper-1")
    assert plan.served == ("whisper-large-v3",)
    assert channel_plans([local("whisper-1", "transcription")])[0].models == ("whisper-1",)


def test_dashscope_abroad_has_another_address() -> None:
    plan = channel_plans([CATALOGUE[4]], region("ap-southeast-1", {}))[0]
    assert plan.base_url == "https://dashscope-intl.aliyuncs.com"


def test_an_own_address_goes_before_the_regions() -> None:
    own = remote("q", "chat", "dashscope", baseUrl="https://d.example")
    assert channel_plans([own], region("cn-hangzhou", {}))[0].base_url == "https://d.example"


def test_two_sources_of_one_name_are_refused() -> None:
    # Both would be called openai-a-b-chat.
    twins = [
        remote("x", "chat", "openai", baseUrl="https://a.b"),
        remote("y", "chat", "openai", baseUrl="https://a-b"),
    ]
    (problem,) = channel_problems(twins)
    assert problem.path == "models[1].remote.apiKey"
    assert "different apiKey names" in problem.right
    assert [plan.served for plan in channel_plans(twins)] == [("x", "y")]


def test_every_provider_has_a_type_that_v0_6_6_knows() -> None:
    # 40 and later came after v0.6.6; 2, 4 to 7, 9, 10, 12 and 13 are resellers nobody names here.
    assert all(1 <= provider.type <= 39 for provider in PROVIDERS.values())
    types = [provider.type for provider in PROVIDERS.values()]
    assert len(types) == len(set(types))


@pytest.mark.parametrize(
    ("models", "path", "said"),
    [
        ([local("Qwen", "chat"), local("qwen", "chat")], "models[1].name", "upper and lower"),
        (
            [local("a", "rerank"), local("b", "rerank")],
            "models[1].kind",
            "FastGPT uses the first reranker only",
        ),
        (
            [local("a", "transcription"), local("b", "transcription")],
            "models[1].kind",
            "whisper-1",
        ),
        (
            [remote("a", "rerank", "openai")],
            "models[0].remote.provider",
            "cannot relay a reranker",
        ),
        (
            [remote("a", "embedding", "deepseek")],
            "models[0].remote.provider",
            "relays no embedding",
        ),
        (
            [remote("a", "chat", "openai", baseUrl="https://x.example/v1")],
            "models[0].remote.baseUrl",
            "write https://x.example",
        ),
        (
            # DashScope's own manual writes it so.
            [remote("a", "chat", "openai", baseUrl="https://x.example/compatible-mode/v1/")],
            "models[0].remote.baseUrl",
            "write https://x.example/compatible-mode",
        ),
        (
            [remote("a", "chat", "openai", baseUrl="https://x.example/v1/chat/completions")],
            "models[0].remote.baseUrl",
            "write https://x.example",
        ),
        (
            [remote("a", "chat", "openai", baseUrl="https://x.example/api/paas/v4")],
            "models[0].remote.baseUrl",
            "wrong path",
        ),
        (
            [remote("a", "chat", "openai", baseUrl="https://x.example/?key=1")],
            "models[0].remote.baseUrl",
            "write https://x.example",
        ),
        *(
            (
                [remote("a", "chat", "openai", baseUrl=address)],
                "models[0].remote.baseUrl",
                "write it like https://api.example.com",
            )
            for address in ("x.example", "https://a b", "https://", "https://[::1", "ftp://x.org")
        ),
        *(
            (
                [remote("a", "chat", "ollama", baseUrl=address)],
                "models[0].remote.baseUrl",
                "is the container itself",
            )
            for address in ("http://localhost:11434", "http://127.0.0.1", "http://[::1]:80")
        ),
        ([remote("a", "chat", "ollama")], "models[0].remote.baseUrl", "http://host:11434"),
        (
            [remote("text-embedding-v2", "embedding", "dashscope")],
            "models[0].remote.model",
            "text-embedding-v1",
        ),
        (
            [remote("text-embedding-3-large", "embedding", "openai")],
            "models[0].dimensions",
            "1536 or less",
        ),
        (
            [
                remote(
                    "mine", "embedding", "openai", model="text-embedding-3-large", dimensions=3072
                )
            ],
            "models[0].dimensions",
            "1536 or less",
        ),
        *(
            ([remote(name, "embedding", "openai")], "models[0].dimensions", f"answers {width} ")
            for name, width in (
                ("BAAI/bge-multilingual-gemma2", 3584),
                ("Pro/Qwen/Qwen3-Embedding-8B", 4096),
                ("qwen3-embedding:8b", 4096),
                ("jina-embeddings-v4", 2048),
                ("gte-Qwen2-7B-instruct", 3584),
            )
        ),
        ([local("Qwen3-Embedding-4B", "embedding")], "models[0].name", "answers 2560"),
        (
            # Its engine answers the whole width, whatever a request asks for.
            [local("Qwen3-Embedding-4B", "embedding", dimensions=1024)],
            "models[0].name",
            "such as bge-m3",
        ),
        (
            [local("mine", "embedding", xinference={"model": "gme-Qwen2-VL-7B-Instruct"})],
            "models[0].xinference.model",
            "answers 3584",
        ),
        (
            [remote("embedding-3", "embedding", "zhipu", dimensions=1024)],
            "models[0].remote.model",
            "embedding-2",
        ),
        (
            [remote("speak", "speech", "openai", model="tts-1")],
            "models[0].remote.model",
            "call the model tts-1",
        ),
    ],
)
def test_what_oneapi_would_get_wrong(models: list[Model], path: str, said: str) -> None:
    problems = channel_problems(models)
    assert [problem.path for problem in problems] == [path]
    assert said in str(problems[0])


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    told = channel_problems([remote("a", "chat", "openai", baseUrl="https://u:hush@x.example")])
    assert "key-openai" in str(told[0])
    assert "hush" not in str(told[0])


@pytest.mark.parametrize(
    "model",
    [
        remote("text-embedding-3-large", "embedding", "openai", dimensions=1024),
        remote("text-embedding-3-small", "embedding", "openai"),
        remote("embedding-2", "embedding", "zhipu"),
        remote("mine", "embedding", "dashscope", model="text-embedding-v1"),
        remote("tts-1", "speech", "openai"),
        remote("BAAI/bge-m3", "embedding", "openai"),
        remote("gte-Qwen2-1.5B-instruct", "embedding", "openai"),
        remote("a", "chat", "openai", baseUrl="https://x.example/api/paas"),
        remote("a", "chat", "openai", baseUrl="https://x.example:8443/"),
        remote("a", "chat", "ollama", baseUrl="http://ollama.example:11434"),
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
    given = remote("gpt-4o-mini", "chat", "openai", baseUrl="https://api.openai.com")
    assert channel_problems([given], mainland=True) == []


@pytest.mark.parametrize(
    "model",
    [
        remote("a", "chat", "ollama", baseUrl="http://192.168.1.5:11434"),
        local("bge-m3", "embedding", dimensions=512),
    ],
)
def test_what_is_unwise_is_said_and_not_refused(model: Model) -> None:
    (problem,) = channel_problems([model])
    assert problem.warning

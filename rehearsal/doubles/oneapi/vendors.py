"""Channel types: where each relays to by default, its key's form, and its quirks with models.

docs/facts/oneapi.md §4. Vendor types relay in the OpenAI form here (see the package's docstring).
"""

from __future__ import annotations

from dataclasses import dataclass

OPENAI, AZURE, CUSTOM = 1, 3, 8
BAIDU, ZHIPU, ALI, XUNFEI, TENCENT, BAICHUAN = 15, 16, 17, 18, 23, 26

BASE_URLS = (
    "",
    "https://api.openai.com",
    "https://oa.api2d.net",
    "",
    "https://api.closeai-proxy.xyz",
    "https://api.openai-sb.com",
    "https://api.openaimax.com",
    "https://api.ohmygpt.com",
    "",
    "https://api.caipacity.com",
    "https://api.aiproxy.io",
    "https://generativelanguage.googleapis.com",
    "https://api.api2gpt.com",
    "https://api.aigc2d.com",
    "https://api.anthropic.com",
    "https://aip.baidubce.com",
    "https://open.bigmodel.cn",
    "https://dashscope.aliyuncs.com",
    "",
    "https://ai.360.cn",
    "https://openrouter.ai/api",
    "https://api.aiproxy.io",
    "https://fastgpt.run/api/openapi",
    "https://hunyuan.cloud.tencent.com",
    "https://generativelanguage.googleapis.com",
    "https://api.moonshot.cn",
    "https://api.baichuan-ai.com",
    "https://api.minimax.chat",
    "https://api.mistral.ai",
    "https://api.groq.com/openai",
    "http://localhost:11434",
    "https://api.lingyiwanwu.com",
    "https://api.stepfun.com",
    "",
    "https://api.coze.com",
    "https://api.cohere.ai",
    "https://api.deepseek.com",
    "https://api.cloudflare.com",
    "https://api-free.deepl.com",
    "https://api.together.xyz",
)
_OWN_WIRE_FORMAT = frozenset({11, 14, 15, 16, 17, 18, 21, 23, 24, 30, 33, 34, 35, 37, 38})
_BAIDU_EMBEDDINGS = ("Embedding", "bge-large", "tao-8k")

OPENAI_MODELS = tuple(
    """
    gpt-3.5-turbo gpt-3.5-turbo-0301 gpt-3.5-turbo-0613 gpt-3.5-turbo-1106 gpt-3.5-turbo-0125
    gpt-3.5-turbo-16k gpt-3.5-turbo-16k-0613 gpt-3.5-turbo-instruct gpt-4 gpt-4-0314 gpt-4-0613
    gpt-4-1106-preview gpt-4-0125-preview gpt-4-32k gpt-4-32k-0314 gpt-4-32k-0613
    gpt-4-turbo-preview gpt-4-turbo gpt-4-turbo-2024-04-09 gpt-4-vision-preview
    text-embedding-ada-002 text-embedding-3-small text-embedding-3-large text-moderation-latest
    text-moderation-stable davinci-002 babbage-002 dall-e-2 dall-e-3 whisper-1 tts-1 tts-1-1106
    tts-1-hd tts-1-hd-1106
    """.split()  # noqa: SIM905 - names by the dozen
)
_MODELS = {
    "openai": OPENAI_MODELS,
    "baidu": (
        "ERNIE-4.0-8K",
        "ERNIE-3.5-8K",
        "ERNIE-3.5-8K-0205",
        "ERNIE-3.5-8K-1222",
        "ERNIE-Bot-8K",
        "ERNIE-3.5-4K-0205",
        "ERNIE-Speed-8K",
        "ERNIE-Speed-128K",
        "ERNIE-Lite-8K-0922",
        "ERNIE-Lite-8K-0308",
        "ERNIE-Tiny-8K",
        "BLOOMZ-7B",
        "Embedding-V1",
        "bge-large-zh",
        "bge-large-en",
        "tao-8k",
    ),
    "zhipu": (
        "chatglm_turbo",
        "chatglm_pro",
        "chatglm_std",
        "chatglm_lite",
        "glm-4",
        "glm-4v",
        "glm-3-turbo",
        "embedding-2",
        "cogview-3",
    ),
    "ali": ("qwen-turbo", "qwen-plus", "qwen-max", "qwen-max-longcontext", "text-embedding-v1"),
    "moonshot": ("moonshot-v1-8k", "moonshot-v1-32k", "moonshot-v1-128k"),
    "deepseek": ("deepseek-chat", "deepseek-coder"),
}
_OWNERS = {BAIDU: "baidu", ZHIPU: "zhipu", ALI: "ali", 25: "moonshot", 36: "deepseek"}


class VendorError(Exception):
    """The adaptor itself refuses, before anything is sent."""

    def __init__(self, text: str, code: str = "do_request_failed", status: int = 500) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Wire:
    """How one call leaves: the URL's path, the model's name in the body, the headers."""

    path: str
    model: str
    headers: dict[str, str]


def builtin_models() -> list[tuple[str, str]]:
    """(model, owner) of the models that OneAPI knows by itself, in its order."""
    return [(model, owner) for owner, models in _MODELS.items() for model in models]


def default_models(channel_type: int) -> tuple[str, ...]:
    """The models of the type's own list; the first is what a channel test prefers."""
    return _MODELS[_OWNERS.get(channel_type, "openai")]


def base_url(channel_type: int, given: str) -> str:
    """Raises IndexError for an unknown type without a base URL: the real one panics there."""
    return given or BASE_URLS[channel_type]


def speaks_openai(channel_type: int) -> bool:
    """Whether the real adaptor passes OpenAI requests through unchanged."""
    return channel_type not in _OWN_WIRE_FORMAT


def wire(channel_type: int, key: str, path: str, model: str, api_version: str) -> Wire:
    """How a call to `path` for `model` leaves.

    Raises:
        VendorError: the key has not the form that the vendor's adaptor takes apart.
    """
    headers = {"Authorization": f"Bearer {key}"}
    if channel_type == AZURE:
        task = path.partition("?")[0].removeprefix("/v1/")
        deployment = model.replace(".", "")
        azure = f"/openai/deployments/{deployment}/{task}?api-version={api_version}"
        return Wire(azure, model, {"api-key": key})
    if channel_type == BAIDU:
        return _baidu(key, path, model, headers)
    if channel_type == ZHIPU and len(key.split(".")) != 2:
        return Wire(path, model, {"Authorization": ""})
    if channel_type == ALI and path.startswith("/v1/embeddings"):
        return Wire(path, "text-embedding-v1", headers)
    if channel_type == XUNFEI and len(key.split("|")) != 3:
        raise VendorError("invalid auth", "invalid_auth", 400)
    if channel_type == TENCENT and len(key.split("|")) != 3:
        raise VendorError("invalid tencent config", "convert_request_failed")
    return Wire(path, model, headers)


def _baidu(key: str, path: str, model: str, headers: dict[str, str]) -> Wire:
    parts = key.split("|")
    if len(parts) != 2 or not all(parts):
        raise VendorError("get request url failed: invalid baidu apikey")
    if model not in _MODELS["baidu"]:
        model = model.lower()
    # The name alone decides whether Baidu's chat or its embeddings are called.
    embeds = model.startswith(_BAIDU_EMBEDDINGS)
    return Wire("/v1/embeddings" if embeds else "/v1/chat/completions", model, headers)

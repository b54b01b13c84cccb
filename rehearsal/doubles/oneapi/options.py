"""OneAPI's options: defaults, what was set over them, and prices by model (docs/facts/oneapi.md
§6)."""

from __future__ import annotations

import json
import threading

from rehearsal.doubles.oneapi.go_json import GoJsonError, parse
from rehearsal.doubles.oneapi.tables import Tables

UNKNOWN_RATIO = 30.0
_RMB = 71.4286
_DEFAULT_MODEL_RATIOS = {
    "gpt-4": 15,
    "gpt-4-turbo": 5,
    "gpt-3.5-turbo": 0.25,
    "whisper-1": 15,
    "tts-1": 7.5,
    "text-embedding-ada-002": 0.05,
    "text-embedding-3-small": 0.01,
    "text-embedding-3-large": 0.065,
    "ERNIE-4.0-8K": 0.120 * _RMB,
    "ERNIE-3.5-8K": 0.012 * _RMB,
    "ERNIE-Speed-8K": 0.004 * _RMB,
    "Embedding-V1": 0.002 * _RMB,
    "bge-large-zh": 0.002 * _RMB,
    "tao-8k": 0.002 * _RMB,
    "glm-4": 0.1 * _RMB,
    "glm-3-turbo": 0.005 * _RMB,
    "embedding-2": 0.0005 * _RMB,
    "qwen-turbo": 0.5715,
    "qwen-plus": 1.4286,
    "qwen-max": 1.4286,
    "text-embedding-v1": 0.05,
    "moonshot-v1-8k": 0.012 * _RMB,
    "deepseek-chat": 0.001 * _RMB,
}
_DEFAULTS = {
    "PasswordLoginEnabled": "true",
    "PasswordRegisterEnabled": "true",
    "RegisterEnabled": "true",
    "EmailVerificationEnabled": "false",
    "TurnstileCheckEnabled": "false",
    "AutomaticDisableChannelEnabled": "false",
    "AutomaticEnableChannelEnabled": "false",
    "ApproximateTokenEnabled": "false",
    "LogConsumeEnabled": "true",
    "DisplayInCurrencyEnabled": "true",
    "DisplayTokenStatEnabled": "true",
    "ChannelDisableThreshold": "5",
    "Notice": "",
    "About": "",
    "HomePageContent": "",
    "Footer": "",
    "SystemName": "One API",
    "Logo": "",
    "ServerAddress": "",
    "SMTPServer": "",
    "SMTPToken": "",
    "GitHubClientId": "",
    "GitHubClientSecret": "",
    "QuotaForNewUser": "0",
    "QuotaRemindThreshold": "1000",
    "PreConsumedQuota": "500",
    "ModelRatio": json.dumps(_DEFAULT_MODEL_RATIOS),
    "GroupRatio": json.dumps({"default": 1, "svip": 1, "vip": 1}),
    "CompletionRatio": "{}",
    "TopUpLink": "",
    "ChatLink": "",
    "QuotaPerUnit": "500000",
    "RetryTimes": "0",
    "Theme": "default",
}
_MAPS = ("ModelRatio", "GroupRatio", "CompletionRatio")


class Options:
    """The options of one OneAPI, loaded at boot."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._values = {**_DEFAULTS, **tables.options()}
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> str:
        return self._values.get(key, "")

    def shown(self) -> list[dict[str, str]]:
        """As the API lists them: no tokens, no secrets."""
        with self._lock:
            values = dict(self._values)
        return [
            {"key": key, "value": value}
            for key, value in values.items()
            if not key.endswith(("Token", "Secret"))
        ]

    def set(self, key: str, value: str) -> None:
        """Store first, understand afterwards: a malformed map is kept and refused.

        Raises:
            GoJsonError: a map of ratios that is none.
        """
        self._tables.set_option(key, value)
        with self._lock:
            self._values[key] = value
        if key in _MAPS:
            parsed = parse(value.encode())
            if not isinstance(parsed, dict):
                raise GoJsonError("json: cannot unmarshal into Go value of type map[string]float64")

    def groups(self) -> list[str]:
        """The user groups there are."""
        return sorted(self._ratios("GroupRatio"))

    def price(self, model: str, group: str, prompt: int, completion: int) -> int:
        """The quota of one call; `model` is the upstream's name."""
        known = {**_DEFAULT_MODEL_RATIOS, **self._ratios("ModelRatio")}
        ratio = known.get(model, UNKNOWN_RATIO) * self._ratios("GroupRatio").get(group, 1)
        if not prompt + completion:
            return 0
        exact = (prompt + completion * self._completion_ratio(model)) * ratio
        rounded = -int(-exact // 1)
        return max(rounded, 1) if ratio else 0

    def _completion_ratio(self, model: str) -> float:
        known = self._ratios("CompletionRatio")
        if model in known:
            return known[model]
        if model.startswith("gpt-3.5"):
            return 3 if model == "gpt-3.5-turbo" or model.endswith("0125") else 4 / 3
        if model.startswith("gpt-4"):
            return 3 if model.startswith("gpt-4-turbo") or model.endswith("preview") else 2
        return 2 if model.startswith("deepseek-") else 1

    def _ratios(self, key: str) -> dict[str, float]:
        try:
            found = json.loads(self[key])
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

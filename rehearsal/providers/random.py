"""The `random` package, as small as the lab needs it: RandomPassword and RandomId.

Answers look like those of random 4.21 (docs/facts/provider-states.json).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import string
from collections.abc import Mapping

from rehearsal.providers.base import Failure, Kind, ProviderError, unknown_token
from rehearsal.providers.values import Properties, Secret

_SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
_MINIMUMS = ("minLower", "minUpper", "minNumeric", "minSpecial")


class RandomPackage:
    """The package as `serve` wants it; it has no settings."""

    name = "random"
    version = "4.21.4"

    def configure(self, config: Properties) -> RandomPackage:
        """Itself: nothing about it can be set."""
        return self

    def kind(self, token: str) -> Kind:
        """RandomPassword or RandomId."""
        if token not in _KINDS:
            raise unknown_token(token)
        return _KINDS[token]

    def invoke(self, token: str, args: Properties) -> Properties:
        """Nothing: the package has no functions."""
        raise unknown_token(token)

    def cancel(self) -> None:
        """Nothing waits here."""


class _Drawn(Kind):
    """Drawn once; every setting of the draw replaces it, and only the state knows it."""

    def delete(self, id: str, inputs: Properties, outputs: Properties, timeout: float) -> None:
        """Nothing exists outside the state."""


class RandomPassword(_Drawn):
    """`result` and `bcryptHash` are secret. The id is the word "none"."""

    computed = frozenset({"result", "bcryptHash", "id"})
    force_new = frozenset(
        {"length", "special", "overrideSpecial", "upper", "lower", "numeric", "number", "keepers"}
        | set(_MINIMUMS)
    )

    def check(self, old: Properties, new: Properties) -> tuple[Properties, list[Failure]]:
        """A password has a length, and that has room for the minimums."""
        if "length" not in new:
            return new, [("length", "Missing required property 'length'")]
        return new, []

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Draw it. `bcryptHash` is opaque to the lab; it only has to be secret and fixed."""
        settings = _password_settings(inputs)
        result = _password(settings)
        digest = base64.b64encode(hashlib.sha256(result.encode()).digest()).decode()
        return "none", {
            **settings,
            "id": "none",
            "result": Secret(result),
            "bcryptHash": Secret(f"$2a$10${digest.replace('=', '')}"),
        }


class RandomId(_Drawn):
    """The id is the bytes in URL-safe base64, without padding."""

    computed = frozenset({"b64Std", "b64Url", "dec", "hex", "id"})
    force_new = frozenset({"byteLength", "keepers", "prefix"})

    def create(self, inputs: Properties, timeout: float) -> tuple[str, Properties]:
        """Draw it."""
        drawn = secrets.token_bytes(int(inputs["byteLength"]))
        prefix = inputs.get("prefix") or ""
        plain_id = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
        return plain_id, {
            **inputs,
            "id": plain_id,
            "b64Std": prefix + base64.b64encode(drawn).decode(),
            "b64Url": prefix + plain_id,
            "dec": prefix + str(int.from_bytes(drawn, "big")),
            "hex": prefix + drawn.hex(),
        }


_KINDS: Mapping[str, Kind] = {
    "random:index/randomPassword:RandomPassword": RandomPassword(),
    "random:index/randomId:RandomId": RandomId(),
}


def _password_settings(inputs: Properties) -> Properties:
    numeric = inputs.get("numeric", inputs.get("number", True))
    return {
        **dict.fromkeys(_MINIMUMS, 0),
        "lower": True,
        "upper": True,
        "special": True,
        **inputs,
        "numeric": numeric,
        "number": numeric,
    }


def _password(settings: Properties) -> str:
    special = settings.get("overrideSpecial") or _SPECIAL
    classes = {
        "minLower": (settings["lower"], string.ascii_lowercase),
        "minUpper": (settings["upper"], string.ascii_uppercase),
        "minNumeric": (settings["numeric"], string.digits),
        "minSpecial": (settings["special"], special),
    }
    alphabet = "".join(letters for wanted, letters in classes.values() if wanted)
    drawn = [secrets.choice(classes[name][1]) for name in classes for _ in range(settings[name])]
    missing = settings["length"] - len(drawn)
    if missing < 0 or not alphabet:
        raise ProviderError(
            "Attribute length must be at least the sum of min_upper, min_lower, min_numeric and "
            f"min_special ({len(drawn)}), got: {settings['length']}"
        )
    drawn += [secrets.choice(alphabet) for _ in range(missing)]
    secrets.SystemRandom().shuffle(drawn)
    return "".join(drawn)

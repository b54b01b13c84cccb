"""The services that are reached from outside, by port: in plain HTTP, or by TLS for a domain."""

from collections.abc import Mapping

from provisioning.editions import EditionName
from provisioning.settings import Settings

FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT = 3000, 3001, 9997

PUBLISHED = {FASTGPT_PORT: "FastGPT", ONEAPI_PORT: "OneAPI", XINFERENCE_PORT: "Xinference"}

SHARE_PORT = 443
"""Where share links lead to with a domain: to all of FastGPT, or to the visitors' door."""

CHALLENGE_PORT = 80
"""Where a certificate's issuer looks whether the domain leads here; everything else is sent on."""

# Not at SHARE_PORT where visitors have a door of their own: another port is another origin.
_FASTGPT_TLS: Mapping[EditionName, int] = {"seeds": SHARE_PORT, "current": 7443}

WITH_VISITORS_DOOR = frozenset(name for name, port in _FASTGPT_TLS.items() if port != SHARE_PORT)
"""The editions whose share links lead, with a domain, to a door of visitors' calls alone."""


def tls_ports(edition: EditionName) -> dict[int, int]:
    """Each service's port to the one where Caddy serves all of it with a certificate."""
    return {FASTGPT_PORT: _FASTGPT_TLS[edition], ONEAPI_PORT: 8443, XINFERENCE_PORT: 9443}


def has_visitors_door(settings: Settings) -> bool:
    """Whether share links lead to one."""
    return bool(settings.domain) and settings.edition in WITH_VISITORS_DOOR


def names(settings: Settings) -> dict[int, str]:
    """What stands at each port."""
    if not settings.domain:
        return PUBLISHED
    behind = {port: f"{PUBLISHED[own]}, TLS" for own, port in tls_ports(settings.edition).items()}
    return {SHARE_PORT: "the visitors' door", **PUBLISHED, **behind, CHALLENGE_PORT: "certificates"}


def page(settings: Settings, host: str, port: int) -> str:
    """The address of what stands at `port`, for operators: the domain's, if there is one."""
    if not settings.domain:
        return f"http://{host}:{port}"
    return _origin(settings.domain, tls_ports(settings.edition)[port])


def share_page(settings: Settings, host: str) -> str:
    """The address that visitors have: of share links, and of what their pages load by address."""
    if not settings.domain:
        return page(settings, host, FASTGPT_PORT)
    return _origin(settings.domain, SHARE_PORT)


def _origin(domain: str, port: int) -> str:
    return f"https://{domain}" if port == 443 else f"https://{domain}:{port}"

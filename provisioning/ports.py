"""The services that are reached from outside, by port: in plain HTTP, or by TLS for a domain."""

FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT = 3000, 3001, 9997

PUBLISHED = {FASTGPT_PORT: "FastGPT", ONEAPI_PORT: "OneAPI", XINFERENCE_PORT: "Xinference"}

TLS_PORTS = {FASTGPT_PORT: 443, ONEAPI_PORT: 8443, XINFERENCE_PORT: 9443}
"""Where Caddy serves them with a certificate."""

CHALLENGE_PORT = 80
"""Where a certificate's issuer looks whether the domain leads here; everything else is sent on."""

NAMES = {
    **PUBLISHED,
    **{TLS_PORTS[port]: f"{name}, TLS" for port, name in PUBLISHED.items()},
    CHALLENGE_PORT: "certificates",
}
"""What stands at each port."""


def page(host: str, port: int, domain: str) -> str:
    """The address of what stands at `port`: that of the domain, if there is one."""
    if not domain:
        return f"http://{host}:{port}"
    behind = TLS_PORTS[port]
    return f"https://{domain}" if behind == 443 else f"https://{domain}:{behind}"

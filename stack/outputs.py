"""What `pulumi up` tells in the end."""

from __future__ import annotations

from dataclasses import asdict

import pulumi

from provisioning.catalogue import Model
from provisioning.plan import Plan
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.settings import Settings
from stack.gateway import Gateway
from stack.knowledge import KnowledgeOutputs
from stack.server import Server
from stack.services import Services


def export_outputs(
    settings: Settings,
    plan: Plan,
    server: Server,
    services: Services,
    gateway: Gateway,
    knowledge: KnowledgeOutputs,
) -> None:
    """Export addresses, credentials (secret), models, price and lease."""

    def url(port: int) -> pulumi.Output[str]:
        return pulumi.Output.concat("http://", server.address, f":{port}")

    pulumi.export("serverAddress", server.address)
    pulumi.export("fastgptUrl", url(FASTGPT_PORT))
    pulumi.export("fastgptUser", "root")
    pulumi.export("fastgptPassword", services.fastgpt_password)
    pulumi.export("fastgptToken", services.relay_key)
    pulumi.export("oneapiUrl", url(ONEAPI_PORT))
    pulumi.export("oneapiUser", "root")
    pulumi.export("oneapiPassword", services.oneapi_password)
    pulumi.export("oneapiAccessToken", gateway.access_token)
    if settings.uses_xinference:
        pulumi.export("xinferenceUrl", url(XINFERENCE_PORT))
    pulumi.export("sshCommand", _ssh_command(settings, server))
    pulumi.export("sshHostKey", server.host_key)
    pulumi.export("sshPort", server.ssh_port)
    pulumi.export("sshUser", server.user)
    pulumi.export("sshKeyFile", str(settings.private_key_file))
    pulumi.export("models", [_served(model) for model in settings.models])
    for name, key in gateway.tokens.items():
        pulumi.export(f"token-{name}", key)
    for name, key in knowledge.api_keys.items():
        pulumi.export(f"apiKey-{name}", key)
    pulumi.export("shareLinks", knowledge.share_links)
    if knowledge.answer is not None:
        pulumi.export("answer", knowledge.answer)
        pulumi.export("citations", knowledge.citations)
    pulumi.export("hourlyPrice", asdict(plan.price))
    pulumi.export(
        "leaseEnds", server.lease_ends.apply(lambda ends: ends or "never: ends with destroy only")
    )
    pulumi.export("leaseStarted", server.lease_started)
    pulumi.export("stopPaying", "pulumi destroy")


def _ssh_command(settings: Settings, server: Server) -> pulumi.Output[str]:
    port = f" -p {server.ssh_port}" if server.ssh_port != 22 else ""
    return pulumi.Output.concat(
        f"ssh -i {settings.private_key_file}{port} {server.user}@", server.address
    )


def _served(model: Model) -> dict[str, str]:
    return {"name": model.name, "kind": model.kind, "servedBy": model.served_by}

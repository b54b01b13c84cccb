"""What `pulumi up` tells in the end."""

import shlex
from dataclasses import asdict

import pulumi

from provisioning.plan import Plan
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.prices import hourly_price
from stack.gateway import Gateway
from stack.knowledge import KnowledgeOutputs
from stack.server import USER, Server
from stack.services import Services

_URLS = {FASTGPT_PORT: "fastgptUrl", ONEAPI_PORT: "oneapiUrl", XINFERENCE_PORT: "xinferenceUrl"}


def export_outputs(
    plan: Plan, server: Server, services: Services, gateway: Gateway, knowledge: KnowledgeOutputs
) -> None:
    """Export addresses, credentials (secret), models, price and lease."""
    settings, key = plan.settings, services.passwords.xinference_key
    outputs = {
        **_addresses(plan, server),
        "fastgptEdition": plan.edition,
        "fastgptUser": "root",
        "fastgptPassword": services.passwords.fastgpt_root,
        "fastgptToken": services.relay_key,
        "oneapiUser": "root",
        "oneapiPassword": services.passwords.oneapi_root,
        "oneapiAccessToken": gateway.access_token,
        **({"xinferenceUser": "root", "xinferenceKey": key} if plan.launches else {}),
        "models": [
            {"name": model.name, "kind": model.kind, "servedBy": model.served_by}
            for model in settings.models
        ],
        "releases": {each.part: f"{each.release} ({each.word})" for each in plan.verdicts},
        **{f"token-{name}": key for name, key in gateway.tokens.items()},
        **{f"apiKey-{name}": key for name, key in knowledge.api_keys.items()},
        "shareLinks": knowledge.share_links,
        "hourlyPrice": server.instance.instance_type.apply(
            lambda rented: asdict(hourly_price(settings, rented))
        ),
        "leaseStarted": server.lease.started_at,
        "leaseEnds": server.lease.ends.apply(lambda end: end or "never: ends with destroy only"),
        "openCommand": f"make open STACK={pulumi.get_stack()}",
        "stopPaying": "pulumi destroy",
    }
    if answered := knowledge.answer:
        outputs |= {"answer": answered.answer, "citations": answered.citations}
    for name, value in outputs.items():
        pulumi.export(name, value)


def _addresses(plan: Plan, server: Server) -> dict[str, pulumi.Input[str | int]]:
    """Where the pages are, and the way in by SSH."""
    settings, domain = plan.settings, plan.settings.domain
    urls = {name: port for port, name in _URLS.items() if port != XINFERENCE_PORT or plan.launches}
    ssh_port = "" if settings.ssh_port == 22 else f" -p {settings.ssh_port}"
    key_file = str(settings.private_key_file)
    ssh = f"ssh -i {shlex.quote(key_file)}{ssh_port} {USER}@"
    record = pulumi.Output.concat(f"{domain} A ", server.address)
    return {
        "serverId": server.instance.id,
        "serverAddress": server.address,
        **{name: server.page(port) for name, port in urls.items()},
        **({"dnsRecord": record} if domain else {}),
        "sshCommand": pulumi.Output.concat(ssh, server.address),
        "sshHostKey": server.host_key,
        "sshPort": settings.ssh_port,
        "sshUser": USER,
        "sshKeyFile": key_file,
    }

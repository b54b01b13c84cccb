"""The settings that lead to the emulated region, and `PLUGIN=real`: the real alicloud plugin there.

Everything but the endpoint is as in the cloud; its settings are those with which it was recorded
(docs/facts/alicloud-http.md).
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from rehearsal.cloud import ACCESS_KEY, SECRET_KEY
from rehearsal.control import World
from rehearsal.engine import Engine
from rehearsal.providers.alicloud import AlicloudPackage

_FOLDER = f"resource-alicloud-v{AlicloudPackage.version}"
_SERVICES = ("ecs", "vpc", "sts", "location", "ram")


class NoPlugin(Exception):
    """The real plugin is wanted and not installed; the text says how to get it."""


def wanted() -> bool:
    """Whether the operator asked for the real plugin."""
    return os.environ.get("PLUGIN") == "real"


def config(region_port: int) -> dict[str, Any]:
    """Stack settings that lead the plugin to the region on `region_port` of 127.0.0.1."""
    address = f"127.0.0.1:{region_port}"
    return {
        "alicloud:accessKey": ACCESS_KEY,
        "alicloud:secretKey": SECRET_KEY,
        "alicloud:accountId": "1234567890123456",
        "alicloud:accountType": "Domestic",
        "alicloud:protocol": "HTTP",
        "alicloud:skipRegionValidation": "true",
        "alicloud:endpoints": [dict.fromkeys(_SERVICES, address)],
    }


def use(engine: Engine, world: World) -> None:
    """Let `engine` run the installed plugin instead of the attached provider. Raises NoPlugin: it
    is not installed."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    installed = home / "plugins" / _FOLDER
    if not installed.is_dir():
        raise NoPlugin(
            f"PLUGIN=real needs the alicloud plugin {AlicloudPackage.version} in {installed}: run "
            f"`pulumi plugin install resource alicloud {AlicloudPackage.version}`, or rehearse "
            "without PLUGIN"
        )
    plugins = Path(engine.environment["PULUMI_HOME"]) / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for path in (installed, installed.with_name(f"{_FOLDER}.lock")):
        if path.exists():
            (plugins / path.name).symlink_to(path)
    attached = {name: port for name, port in world.providers.items() if name != "alicloud"}
    without = replace(world, providers=attached)
    engine.environment["PULUMI_DEBUG_PROVIDERS"] = without.debug_providers
    # It revokes rules over TLS whatever its settings say.
    engine.environment["SSL_CERT_FILE"] = str(world.folder / "region.pem")

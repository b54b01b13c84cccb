"""What the state lost is found and removed, on the real engine: `make sweep` beside a lab."""

import io
from typing import Any

from rich.console import Console

from provisioning.account import last_look
from provisioning.server_problems import OWN_TAG
from rehearsal.cloud import ACCESS_KEY
from rehearsal.lab import Lab
from rehearsal.providers.alicloud import Client
from tests.rehearsal.labs import resources_of, settings_of
from tools.account import look_into
from tools.standing import Stack
from tools.sweep import sweep


def stack_of(lab: Lab) -> Stack:
    """As the tools see a lab that was left standing."""
    return Stack(lab.stack, True, lab.engine.environment, config_file=lab.engine.stack_file)


def lost_server(lab: Lab) -> str:
    """Another server as the lab orders its own: the engine was killed while it was made."""
    region = str(lab.settings["alicloud:region"])
    cloud = Client(f"127.0.0.1:{lab.world.region_port}", ACCESS_KEY, region)
    known = {r["type"].rsplit(":", 1)[-1]: r for r in resources_of(lab) if r.get("id")}
    of = known["Instance"]["outputs"]
    order: dict[str, Any] = {
        "ImageId": of["imageId"],
        "InstanceType": "ecs.g7.large",
        "VSwitchId": of["vswitchId"],
        "SecurityGroupIds": of["securityGroups"],
        "SystemDisk.Category": "cloud_essd",
        "SystemDisk.Size": 100,
        "tags": {OWN_TAG: lab.stack},
    }
    made = cloud.call("test", "ecs", "RunInstances", **order)
    return str(made["InstanceIdSets"]["InstanceIdSet"][0])


def test_only_what_the_state_does_not_know_is_removed(rehearsed_lab: Lab) -> None:
    lab, out = rehearsed_lab, io.StringIO()
    console, stack = Console(file=out, width=150), stack_of(rehearsed_lab)
    before = lab.world.call("inventory")
    assert look_into(stack).leftovers == ()
    config = settings_of(lab)
    assert sweep(console, stack, sure=True, ask=None) == 0

    lost = lost_server(lab)
    found = look_into(stack)
    assert [(each.kind, each.id) for each in found.leftovers] == [("server", lost)]
    assert found.gone == ()
    assert lost in last_look("", lab.stack, config)
    assert sweep(console, stack, sure=False, ask=None) == 1
    assert lost in lab.world.call("inventory")
    assert sweep(console, stack, sure=True, ask=None) == 0
    assert lab.world.call("inventory") == before
    assert f"removed: server {lost}" in out.getvalue()

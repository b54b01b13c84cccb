"""The rented server under a recording mock, and all that lives on it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from provisioning.host import VOCABULARY_FOLDER
from provisioning.vocabulary import VOCABULARY_NAME, VOCABULARY_SHA256
from tests.tables import table
from tests.unit.program import (
    Cloud,
    Recording,
    configured,
    make_key,
    on_server,
    run_program,
)

DOMAIN = "lab.example.com"


def test_ports_are_open_to_the_operator_and_nobody_else(lab: Recording) -> None:
    rules = [r.inputs for r in lab.of_type(":SecurityGroupRule")]
    assert {(r["portRange"], r["cidrIp"]) for r in rules} == {
        (f"{port}/{port}", "198.18.0.5/32") for port in (22, 3000, 3001, 9997)
    }
    assert {(r["type"], r["policy"], r["nicType"], r["ipProtocol"]) for r in rules} == {
        ("ingress", "accept", "intranet", "tcp")
    }
    first_contact = lab.one("server:HostKey")
    assert {rule.urn for rule in lab.of_type(":SecurityGroupRule")} <= lab.before(first_contact)


@pytest.mark.parametrize(
    ("stack", "changes", "network", "ports"),
    [
        ("seeds", {"publicChat": True, "letAnybodyLogInAsRoot": True}, "0.0.0.0/0", ["3000/3000"]),
        ("seeds", {"visitorCidrs": ["198.18.7.0/24"]}, "198.18.7.0/24", ["3000/3000"]),
        ("dev", {"domain": DOMAIN, "publicChat": True}, "0.0.0.0/0", ["443/443", "80/80"]),
        (
            "dev",
            {"domain": DOMAIN, "visitorCidrs": ["198.18.7.0/24"]},
            "198.18.7.0/24",
            ["443/443"],
        ),
    ],
)
def test_visitors_come_to_the_chat_alone(
    key: Path, stack: str, changes: dict[str, Any], network: str, ports: list[str]
) -> None:
    lab = run_program(configured(stack, key, changes))
    rules = [r.inputs for r in lab.of_type(":SecurityGroupRule")]
    assert sorted(r["portRange"] for r in rules if r["cidrIp"] == network) == ports


def test_the_server_is_the_one_that_was_ordered(lab: Recording) -> None:
    server = lab.one(":Instance").inputs
    expected = {
        "instanceType": "ecs.gn7i-c16g1.4xlarge",
        "systemDiskSize": 1000,
        "systemDiskCategory": "cloud_essd",
        "systemDiskPerformanceLevel": "PL1",
        "internetMaxBandwidthOut": 100,
        "internetChargeType": "PayByTraffic",
        "instanceChargeType": "PostPaid",
        "spotStrategy": "NoSpot",
        "availabilityZone": "cn-hangzhou-i",
        "imageId": "ubuntu_22_04_x64_20G_gpu_580.126.09_alibase_20260801.vhd",
        "autoReleaseTime": "2026-11-23T12:01:00Z",
        "httpTokens": "required",
    }
    assert {name: server[name] for name in expected} == expected
    # They stop or wipe a standing server; the hop limit is not open to everybody, and replaces it.
    unwanted = {"userData", "hostName", "stoppedMode", "password", "httpPutResponseHopLimit"}
    assert not unwanted & set(server)


@table("program_server")
def test_the_order_follows_the_settings(
    changes: dict[str, Any], expected: dict[str, Any], key: Path
) -> None:
    lab = run_program(configured("dev", key, changes))
    server = lab.one(":Instance").inputs
    assert {name: server.get(name) for name in expected} == expected
    if "elasticIp" in changes:
        assert lab.one(":EipAddress").inputs["internetChargeType"] == "PayByTraffic"
    assert lab.outputs["serverAddress"] == ("198.18.7.8" if changes.get("elasticIp") else SERVER)
    assert ("destroy" in lab.outputs["leaseEnds"]) is ("leaseHours" in changes)


SERVER = "198.18.7.7"


def test_another_generation_is_another_server_beside_the_first(key: Path, tmp_path: Path) -> None:
    labs = [run_program(configured("dev", key, {"serverGeneration": n})) for n in (1, 2)]
    names = {lab.one(":Instance").inputs["instanceName"] for lab in labs}
    assert len(names) == 2
    assert labs[0].one(":Instance").replace_on_changes == ("instanceName",)
    # Their switches do not overlap.
    cidrs = [lab.one(":Switch").inputs["cidrBlock"] for lab in labs]
    assert cidrs == ["172.16.0.0/24", "172.16.1.0/24"]
    # Another key is another key pair.
    other = run_program(configured("dev", make_key(tmp_path)))
    pairs = {run.one(":EcsKeyPair").inputs["keyPairName"] for run in (*labs, other)}
    assert len(pairs) == 2


def test_a_vswitch_of_the_operator_s_is_stood_in_and_not_made(key: Path) -> None:
    lab = run_program(configured("dev", key, {"vswitchId": "vsw-mine"}))
    assert not lab.of_type("vpc/network:Network") + lab.of_type(":Switch")
    assert lab.one(":SecurityGroup").inputs["vpcId"] == "vpc-mine"
    server, choice = lab.one(":Instance").inputs, lab.one("server:Choice").inputs
    assert (server["vswitchId"], server["securityGroups"]) == ("vsw-mine", ["id-firewall"])
    assert (choice["offers"][0]["zones"], choice["switch"]) == (["cn-hangzhou-i"], "vsw-mine")


@table("program_server")
def test_a_vswitch_that_cannot_be_used_is_the_choice_s_to_refuse(
    changes: dict[str, Any], refusal: str, key: Path
) -> None:
    lab = run_program(configured("dev", key, changes))
    choice = lab.one("server:Choice")
    assert re.search(refusal, choice.inputs["refusal"])
    assert choice.urn in lab.before(lab.one(":SecurityGroup"))


def test_everything_rented_carries_the_lab_s_tag_and_comes_after_the_choice(lab: Recording) -> None:
    rented = [r for r in lab.resources if r.type.startswith("alicloud:") and r.custom]
    choice = lab.one("server:Choice").urn
    assert not [r.name for r in rented if choice not in lab.before(r)], "where it refuses, nothing"
    tagged = [r for r in rented if not r.type.endswith(":SecurityGroupRule")]
    assert {r.inputs["tags"]["ai-lab"] for r in tagged} == {"dev"}


def test_sold_out_is_not_the_program_s_failure(key: Path) -> None:
    class SoldOut(Cloud):
        zones = ()

    # The choice decides: a standing server stays where it is, whatever the stock.
    lab = run_program(configured("dev", key), cloud=SoldOut())
    assert lab.one("server:Choice").inputs["offers"][0]["zones"] == []


# --- what lives on the server ----------------------------------------------------------------


def test_all_that_lives_on_the_server_dies_with_it_and_comes_anew(lab: Recording) -> None:
    # Not on the instance itself: a refresh after the lease has ended drops that from the state.
    life = lab.one("server:HostKey")
    server = lab.one(":Instance").urn
    assert (life.deleted_with, life.replace_with) == (server, (server,))
    found = [r for r in on_server(lab) if r is not life]
    assert len(found) > 50
    fate = (life.urn, (life.urn,))
    assert not [r.name for r in found if (r.deleted_with, r.replace_with) != fate]
    apart = ("alicloud:", "pulumi-python:dynamic/ailab/lab:")
    rented = [r for r in lab.resources if r.type.startswith(apart)]
    assert len(rented) > 15
    assert not [r.name for r in rented if r.deleted_with or r.replace_with]


def test_nothing_on_the_server_is_tried_before_it_answers(lab: Recording) -> None:
    """So a server that is off is one error, not one for each thing that changed."""
    ready = lab.one("server:Ready")
    assert lab.one("server:HostKey").urn in lab.before(ready)
    others = [r for r in on_server(lab) if not r.type.endswith(("server:HostKey", "server:Ready"))]
    assert not [r.name for r in others if ready.urn not in lab.before(r)]


def test_the_vocabulary_is_there_before_oneapi(lab: Recording) -> None:
    file = lab.one("server:File")
    assert file.inputs["path"] == f"{VOCABULARY_FOLDER}/{VOCABULARY_NAME}"
    assert file.inputs["sha256"] == VOCABULARY_SHA256
    assert file.urn in lab.before(lab.one(":Container", "oneapi"))


def test_every_ssh_client_checks_the_host_key(lab: Recording) -> None:
    for resource in on_server(lab):
        told = json.dumps(resource.inputs)
        if resource.type.startswith("command:") or "endpoint" in resource.inputs:
            assert "ssh-ed25519 AAAAhostkey" in told, resource.name
    provider = lab.one("providers:docker")
    assert lab.one(":Command", "daemon").urn in provider.depends_on, "once Docker is ready"
    assert provider.inputs["host"] == f"ssh://root@{SERVER}:22"
    options = json.loads(provider.inputs["sshOpts"])
    assert "StrictHostKeyChecking=yes" in options
    assert "KnownHostsCommand=/bin/echo * ssh-ed25519 AAAAhostkey" in options


def test_images_are_pulled_side_by_side_before_any_container(lab: Recording) -> None:
    pulls = {r.urn: r for r in lab.of_type(":Command") if r.name.startswith("pull-")}
    for container in lab.of_type(":Container"):
        pull = lab.one(":Command", f"pull-{container.name}")
        assert pull.urn in lab.before(container)
        assert not lab.before(pull) & set(pulls)

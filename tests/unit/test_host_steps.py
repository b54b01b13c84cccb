"""The steps of a host as data: order, commands, files, triggers."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
from pathlib import Path

import pytest

import provisioning.host
from provisioning.host import (
    DATABASE_SECRETS,
    HostPlan,
    Step,
    daemon_json,
    script,
    steps,
)
from provisioning.images import images
from provisioning.regions import region
from provisioning.versions import xinference_release


def plan(region_id: str = "cn-hangzhou", gpu: bool = True, xinference: bool = True) -> HostPlan:
    cells = region(region_id, {})
    return HostPlan(
        region=cells,
        images=images(cells, {}, xinference_release("2.12.0"), gpu),
        gpu=gpu,
        xinference=xinference,
        minimum_driver=575,
    )


PLANS = {
    "gpu": plan(),
    "cpu": plan(gpu=False, xinference=False),
    "abroad": plan("ap-southeast-1"),
}


def by_name(of: HostPlan) -> dict[str, Step]:
    return {step.name: step for step in steps(of)}


def before(made: dict[str, Step], name: str) -> set[str]:
    """All that is done before a step."""
    direct = made[name].depends_on
    return set(direct).union(*(before(made, other) for other in direct))


@pytest.mark.parametrize("of", PLANS.values(), ids=PLANS)
def test_each_step_comes_after_what_it_depends_on(of: HostPlan) -> None:
    seen: set[str] = set()
    for step in steps(of):
        assert set(step.depends_on) <= seen
        assert step.name not in seen
        seen.add(step.name)


@pytest.mark.parametrize("of", PLANS.values(), ids=PLANS)
def test_a_command_runs_an_uploaded_script_within_its_time(of: HostPlan) -> None:
    for step in steps(of):
        words = shlex.split(step.command)
        assert words[:2] == ["timeout", "--kill-after=30"]
        assert int(words[2]) == step.time_limit_seconds
        assert words[3] == "bash"
        assert words[4] in step.files
        assert step.files[words[4]].startswith("#!/usr/bin/env bash")
        assert all(path.startswith("ai-lab/") for path in step.files)


@pytest.mark.parametrize("of", PLANS.values(), ids=PLANS)
def test_no_two_steps_write_one_file(of: HostPlan) -> None:
    written = [path for step in steps(of) for path in step.files]
    assert len(written) == len(set(written))


def test_a_reboot_for_the_driver_interrupts_nothing() -> None:
    made = by_name(PLANS["gpu"])
    for name in made.keys() - {"wait-for-boot", "base", "driver", "driver-ready"}:
        assert "driver-ready" in before(made, name), name


def test_docker_is_restarted_after_the_toolkit_and_before_the_pulls() -> None:
    made = by_name(PLANS["gpu"])
    assert "toolkit" in before(made, "daemon")
    pulls = [name for name in made if name.startswith("pull-")]
    assert len(pulls) == 7
    for name in pulls:
        # Side by side: none waits for another.
        assert made[name].depends_on == ("daemon",)


def test_without_gpu_there_is_no_driver_no_toolkit_and_no_proof_of_a_gpu() -> None:
    made = by_name(PLANS["cpu"])
    assert not {"driver", "driver-ready", "toolkit", "pull-xinference"} & made.keys()
    assert "prove.sh none " in made["prove"].command
    assert "nvidia" not in daemon_json(PLANS["cpu"])


def test_the_proof_uses_an_image_that_is_already_there() -> None:
    made = by_name(PLANS["gpu"])
    image = PLANS["gpu"].images.pg.reference
    assert image in made["prove"].command
    assert "pull-pg" in made["prove"].depends_on


def test_the_regions_addresses_reach_the_scripts() -> None:
    for name in ("gpu", "abroad"):
        of = PLANS[name]
        made = by_name(of)
        assert of.region.docker_apt in made["docker"].command
        assert of.region.docker_key in made["docker"].command
        assert of.region.toolkit_repo in made["toolkit"].command
    assert shlex.split(by_name(PLANS["abroad"])["base"].command)[5:] == [""]


def test_the_daemon_has_one_file() -> None:
    told = json.loads(daemon_json(PLANS["gpu"]))
    # Docker refuses numbers here.
    assert told["log-opts"] == {"max-size": "50m", "max-file": "3"}
    assert told["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    assert told["registry-mirrors"] == list(PLANS["gpu"].region.registry_mirrors)
    assert told["live-restore"] is True
    assert "registry-mirrors" not in json.loads(daemon_json(PLANS["abroad"]))
    assert daemon_json(PLANS["gpu"]) in by_name(PLANS["gpu"])["daemon"].files.values()


def test_secrets_come_on_stdin() -> None:
    made = by_name(PLANS["gpu"])
    passwords = {f"db-password-{name}": secrets for name, secrets in DATABASE_SECRETS.items()}
    assert {step.name: step.stdin for step in made.values() if step.stdin} == {
        "mongo-keyfile": "{mongo_key}",
        **passwords,
    }


def test_files_go_up_side_by_side_once_the_server_has_booted() -> None:
    made = by_name(PLANS["gpu"])
    assert {step.files_after for step in made.values()} == {(), ("wait-for-boot",)}
    assert made["wait-for-boot"].files_after == ()


def test_a_trigger_follows_the_content_only() -> None:
    step = by_name(PLANS["gpu"])["daemon"]
    assert step.trigger == by_name(plan())["daemon"].trigger
    changed = [
        dataclasses.replace(step, command=step.command + " x"),
        dataclasses.replace(step, files={**step.files, "ai-lab/x": ""}),
        dataclasses.replace(step, files={path: text + "#" for path, text in step.files.items()}),
    ]
    assert len({step.trigger, *(other.trigger for other in changed)}) == len(changed) + 1


FOLDER = Path(provisioning.host.__file__).parent
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.sh") if path.stem != "lib")


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_the_script(name: str) -> None:
    run = subprocess.run(
        ["bash", "-n"], input=script(name), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr

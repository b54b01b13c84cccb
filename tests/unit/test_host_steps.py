"""The steps of a host as data: order, commands, files, triggers."""

import dataclasses
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

import provisioning.host
from provisioning.host import Step, script
from provisioning.plan import Plan
from tests.unit.plans import planned

LABS = {"gpu": planned("dev"), "cpu": planned("cpu"), "abroad": planned("abroad")}
FOLDER = Path(provisioning.host.__file__).parent
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.sh") if path.stem != "lib")


def by_name(lab: Plan) -> dict[str, Step]:
    return {step.name: step for step in lab.steps}


def before(step: Step) -> set[str]:
    """All that is done before a step."""
    return {earlier.name for earlier in step.way[:-1]}


def arguments(step: Step) -> list[str]:
    return shlex.split(step.command)[5:]


def daemon_json(lab: Plan) -> Any:
    return json.loads(lab.steps.docker_ready.files["ai-lab/host/daemon.json"])


@pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
def test_each_step_comes_after_what_it_depends_on(lab: Plan) -> None:
    seen: list[str] = []
    for step in lab.steps:
        assert before(step) <= set(seen)
        assert step.name not in seen
        seen.append(step.name)
    assert seen[0] == lab.steps.booted.name


@pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
def test_a_command_runs_an_uploaded_script_of_its_own_within_its_time(lab: Plan) -> None:
    for step in lab.steps:
        words = shlex.split(step.command)
        assert words[:4] == ["timeout", "--kill-after=30", str(step.time_limit_seconds), "bash"]
        assert step.files[words[4]].startswith("#!/usr/bin/env bash")
    written = [path for step in lab.steps for path in step.files]
    assert len(written) == len(set(written))
    assert all(path.startswith("ai-lab/") for path in written)


def test_a_reboot_for_the_driver_interrupts_nothing() -> None:
    made = by_name(LABS["gpu"])
    for name in made.keys() - {"wait-for-boot", "base", "driver", "driver-ready"}:
        assert "driver-ready" in before(made[name]), name


def test_docker_is_restarted_after_the_toolkit_and_before_the_pulls() -> None:
    steps = LABS["gpu"].steps
    assert "toolkit" in before(steps.docker_ready)
    assert set(steps.pulled) == set(LABS["gpu"].containers)
    # Side by side: none waits for another.
    assert {step.after for step in steps.pulled.values()} == {steps.docker_ready}


def test_without_gpu_there_is_no_driver_no_toolkit_and_no_proof_of_a_gpu() -> None:
    made = by_name(LABS["cpu"])
    assert not {"driver", "driver-ready", "toolkit", "pull-xinference"} & made.keys()
    assert arguments(made["prove"])[0] == "none"
    assert "runtimes" not in daemon_json(LABS["cpu"])


def test_the_proof_uses_an_image_that_is_already_there() -> None:
    lab = LABS["gpu"]
    assert arguments(lab.steps.driver_proved) == ["580", lab.containers["pg"].image]
    assert lab.steps.driver_proved.after is lab.steps.pulled["pg"]


@pytest.mark.parametrize("name", ["gpu", "abroad"])
def test_the_region_s_addresses_reach_the_scripts(name: str) -> None:
    region, made = LABS[name].region, by_name(LABS[name])
    assert arguments(made["base"]) == [region.apt_mirror]
    assert arguments(made["docker"]) == [region.docker_apt, region.docker_key]
    assert arguments(made["toolkit"]) == [region.toolkit_repo]


def test_connections_are_counted_where_visitors_have_a_door() -> None:
    labs = {("seeds", "a.example"): False, ("current", ""): False, ("current", "a.example"): True}
    for (edition, domain), counted in labs.items():
        assert ("door" in by_name(planned("cpu", edition=edition, domain=domain))) == counted


def test_the_daemon_has_one_file() -> None:
    told = daemon_json(LABS["gpu"])
    # Docker refuses numbers here.
    assert told["log-opts"] == {"max-size": "50m", "max-file": "3"}
    assert told["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    assert told["registry-mirrors"] == list(LABS["gpu"].region.registry_mirrors)
    assert told["live-restore"] is True
    assert "registry-mirrors" not in daemon_json(LABS["abroad"])


def test_secrets_come_on_stdin() -> None:
    assert {step.name: step.stdin for step in LABS["gpu"].steps if step.stdin} == {
        "mongo-keyfile": "{mongo_key}",
        "db-password-mysql": "{mysql}\n{mysql_root}",
        "db-password-pg": "{pg}",
        "db-password-mongo": "{mongo}",
    }


def test_a_trigger_follows_the_content_only() -> None:
    step = LABS["gpu"].steps.docker_ready
    assert step.trigger == planned("dev").steps.docker_ready.trigger
    changed = [
        dataclasses.replace(step, command=step.command + " x"),
        dataclasses.replace(step, files={**step.files, "ai-lab/x": ""}),
        dataclasses.replace(step, files={path: text + "#" for path, text in step.files.items()}),
    ]
    assert len({step.trigger, *(other.trigger for other in changed)}) == len(changed) + 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_the_script(name: str) -> None:
    run = subprocess.run(
        ["bash", "-n"], input=script(name), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr

"""The whole program under a recording mock: what the cloud and the server would be sent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning.host import VOCABULARY_FOLDER
from provisioning.vocabulary import VOCABULARY_NAME, VOCABULARY_SHA256
from tests.unit.program import (
    PROJECT,
    Cloud,
    Recorded,
    Recording,
    configured,
    make_key,
    plain_strings,
    run_program,
)

SECRET = re.compile(r"plain-.*-password|sk-plain")
GO_DURATION = re.compile(r"^(\d+h)?(\d+m)?\d+(\.\d+)?s$")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="module")
def lab(key: Path) -> Recording:
    return run_program(configured("dev", key))


@pytest.fixture(scope="module")
def cpu(key: Path) -> Recording:
    return run_program(configured("cpu", key), {"ai-lab:key-dashscope": "sk-plain-dashscope"})


def containers(recording: Recording) -> dict[str, Recorded]:
    return {r.inputs["name"]: r for r in recording.of_type(":Container")}


def environment(container: Recorded) -> dict[str, str]:
    return dict(env.split("=", 1) for env in container.inputs.get("envs", []))


def test_the_parts_keep_their_type_tokens(lab: Recording) -> None:
    """State format: an entry here may be added, never changed (`docs/facts/engine.md`)."""
    assert {r.type: r.name for r in lab.resources if not r.custom} == {
        "ailab:lab:Passwords": "passwords",
        "ailab:lab:Server": "server",
        "ailab:lab:OnServer": "lab",
        "ailab:lab:Host": "host",
        "ailab:lab:Services": "services",
        "ailab:lab:Models": "models",
        "ailab:lab:Gateway": "gateway",
        "ailab:lab:Knowledge": "knowledge",
    }


# --- the server ------------------------------------------------------------------------------


def test_ports_are_open_to_the_operator_and_nobody_else(lab: Recording) -> None:
    rules = [r.inputs for r in lab.of_type(":SecurityGroupRule")]
    assert {(r["portRange"], r["cidrIp"]) for r in rules} == {
        (f"{port}/{port}", "198.18.0.5/32") for port in (22, 3000, 3001, 9997)
    }
    assert {(r["type"], r["policy"], r["nicType"], r["ipProtocol"]) for r in rules} == {
        ("ingress", "accept", "intranet", "tcp")
    }


def test_public_chat_opens_one_port_to_the_world(key: Path) -> None:
    lab = run_program(configured("dev", key, {"publicChat": True}))
    world = [
        r.inputs for r in lab.of_type(":SecurityGroupRule") if r.inputs["cidrIp"] == "0.0.0.0/0"
    ]
    assert [rule["portRange"] for rule in world] == ["3000/3000"]


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
    }
    assert {name: server[name] for name in expected} == expected


def test_the_lease_is_part_of_the_order(lab: Recording) -> None:
    assert lab.one(":Instance").inputs["autoReleaseTime"] == "2026-11-23T12:01:00Z"


def test_without_a_lease_nothing_is_promised_to_the_cloud(key: Path) -> None:
    lab = run_program(configured("dev", key, {"leaseHours": 0}))
    assert "autoReleaseTime" not in lab.one(":Instance").inputs
    assert "destroy" in lab.outputs["leaseEnds"]


def test_metadata_wants_a_token_and_stays_on_the_server(lab: Recording) -> None:
    server = lab.one(":Instance").inputs
    assert server["httpTokens"] == "required"
    assert "httpPutResponseHopLimit" not in server, "not open to everybody, and a change replaces"


def test_nothing_that_stops_or_wipes_a_standing_server_is_sent(lab: Recording) -> None:
    server = lab.one(":Instance").inputs
    assert not {"userData", "hostName", "stoppedMode", "password"} & set(server)


@pytest.mark.parametrize(
    ("changes", "strategy", "limit"),
    [
        ({"spot": True}, "SpotAsPriceGo", None),
        ({"spot": True, "spotPriceLimit": "3.5"}, "SpotWithPriceLimit", 3.5),
    ],
)
def test_spot(key: Path, changes: dict[str, object], strategy: str, limit: float | None) -> None:
    server = run_program(configured("dev", key, changes)).one(":Instance").inputs
    assert (server["spotStrategy"], server.get("spotPriceLimit")) == (strategy, limit)


def test_an_elastic_address_replaces_the_server_s_own(key: Path) -> None:
    lab = run_program(configured("dev", key, {"elasticIp": True}))
    assert lab.one(":Instance").inputs["internetMaxBandwidthOut"] == 0
    assert lab.one(":EipAddress").inputs["internetChargeType"] == "PayByTraffic"
    assert lab.outputs["serverAddress"] == "198.18.7.8"


def test_another_generation_is_another_server(key: Path) -> None:
    first, second = (
        run_program(configured("dev", key, {"serverGeneration": n})).one(":Instance")
        for n in (1, 2)
    )
    assert first.inputs["instanceName"] != second.inputs["instanceName"]
    assert first.replace_on_changes == ("instanceName",)


def test_switches_of_two_generations_do_not_overlap(key: Path) -> None:
    cidrs = [
        run_program(configured("dev", key, {"serverGeneration": n}))
        .one(":Switch")
        .inputs["cidrBlock"]
        for n in (1, 2)
    ]
    assert cidrs == ["172.16.0.0/24", "172.16.1.0/24"]


def test_everything_rented_carries_the_lab_s_tag(lab: Recording) -> None:
    rented = [r for r in lab.resources if r.type.startswith("alicloud:") and r.custom]
    untagged = [
        r.name
        for r in rented
        if not r.type.endswith(":SecurityGroupRule") and r.inputs["tags"]["ai-lab"] != "dev"
    ]
    assert not untagged


def test_another_key_is_another_key_pair(key: Path, tmp_path: Path) -> None:
    names = {
        run_program(configured("dev", file)).one(":EcsKeyPair").inputs["keyPairName"]
        for file in (key, make_key(tmp_path))
    }
    assert len(names) == 2


def test_rules_come_before_the_first_contact(lab: Recording) -> None:
    before = lab.before(lab.one("server:HostKey"))
    assert {rule.urn for rule in lab.of_type(":SecurityGroupRule")} <= before


def test_sold_out_is_not_the_program_s_failure(key: Path) -> None:
    class SoldOut(Cloud):
        zones = ()

    # The choice decides: a standing server stays where it is, whatever the stock.
    lab = run_program(configured("dev", key), cloud=SoldOut())
    assert lab.one("server:Choice").inputs["zones"] == []


# --- what lives on the server ----------------------------------------------------------------


def on_server(recording: Recording) -> Iterator[Recorded]:
    for resource in recording.resources:
        kinds = (":Command", ":CopyToRemote", "docker:index", "dynamic/lab:", "dynamic/ailab/")
        elsewhere = ("server:Choice", "server:Lease")
        if any(k in resource.type for k in kinds) and not resource.type.endswith(elsewhere):
            yield resource


def test_all_that_lives_on_the_server_dies_with_it_and_comes_anew(lab: Recording) -> None:
    # Not on the instance itself: a refresh after the lease has ended drops that from the state.
    life = lab.one("server:HostKey")
    server = lab.one(":Instance").urn
    assert (life.deleted_with, life.replace_with) == (server, (server,))
    found = [r for r in on_server(lab) if r is not life]
    assert len(found) > 50
    fate = (life.urn, (life.urn,))
    assert not [r.name for r in found if (r.deleted_with, r.replace_with) != fate]


def test_nothing_on_the_server_is_tried_before_it_answers(lab: Recording) -> None:
    """So a server that is off is one error, not one for each thing that changed."""
    ready = lab.one("server:Ready")
    assert lab.one("server:HostKey").urn in lab.before(ready)
    others = [r for r in on_server(lab) if not r.type.endswith(("server:HostKey", "server:Ready"))]
    assert not [r.name for r in others if ready.urn not in lab.before(r)]


def test_the_vocabulary_is_there_before_oneapi(lab: Recording) -> None:
    file = lab.one("server:File").inputs
    assert file["path"] == f"{VOCABULARY_FOLDER}/{VOCABULARY_NAME}"
    assert file["sha256"] == VOCABULARY_SHA256
    assert lab.one("server:File").urn in lab.before(containers(lab)["oneapi"])


def test_what_is_rented_hangs_on_nothing(lab: Recording) -> None:
    rented = [r for r in lab.resources if r.type.startswith(("alicloud:", "random:"))]
    assert not [r.name for r in rented if r.deleted_with or r.replace_with]


def test_names_are_unique(lab: Recording) -> None:
    assert not [name for name, n in Counter(r.urn for r in lab.resources).items() if n > 1]


def test_every_ssh_client_checks_the_host_key(lab: Recording) -> None:
    for resource in on_server(lab):
        told = json.dumps(resource.inputs)
        if resource.type.startswith("command:") or "endpoint" in resource.inputs:
            assert "ssh-ed25519 AAAAhostkey" in told, resource.name
    options = json.loads(lab.one("providers:docker").inputs["sshOpts"])
    assert "StrictHostKeyChecking=yes" in options
    assert "KnownHostsCommand=/bin/echo * ssh-ed25519 AAAAhostkey" in options


def test_docker_is_dialled_once_it_is_ready(lab: Recording) -> None:
    provider = lab.one("providers:docker")
    assert lab.one(":Command", "daemon").urn in provider.depends_on
    assert provider.inputs["host"] == "ssh://root@198.18.7.7:22"


def test_images_are_pulled_side_by_side_before_any_container(lab: Recording) -> None:
    for name, container in containers(lab).items():
        pull = lab.one(":Command", f"pull-{name}")
        assert pull.urn in lab.before(container)
        others = {r.urn for r in lab.of_type(":Command") if r.name.startswith("pull-")}
        assert not lab.before(pull) & others


# --- containers ------------------------------------------------------------------------------


def test_the_services_of_the_gpu_lab(lab: Recording) -> None:
    assert set(containers(lab)) == {
        "fastgpt", "oneapi", "xinference", "pg", "mongo", "mysql", "sandbox",
    }  # fmt: skip


def test_no_database_is_published(lab: Recording) -> None:
    published = {
        name: [(p["external"], p["internal"]) for p in c.inputs.get("ports", [])]
        for name, c in containers(lab).items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {
        "fastgpt": [(3000, 3000)],
        "oneapi": [(3001, 3000)],
        "xinference": [(9997, 9997)],
    }


def test_every_image_is_pinned(lab: Recording) -> None:
    names = [r.inputs["name"] for r in lab.of_type(":RemoteImage")]
    assert len(names) == 7
    assert not [n for n in names if not re.search(r":[\w.-]*\d[\w.-]*(@sha256:\w{64})?$", n)]


def test_every_container_has_a_health_check_and_is_awaited(lab: Recording) -> None:
    for name, container in containers(lab).items():
        check = container.inputs["healthcheck"]
        assert container.inputs["wait"] is True, name
        assert container.inputs["waitTimeout"] >= 300, name
        assert check["tests"][0] in ("CMD", "CMD-SHELL"), name
        durations = [check[k] for k in ("interval", "timeout", "startPeriod", "startInterval")]
        assert all(GO_DURATION.match(d) for d in durations), (name, durations)


def test_health_checks_ask_for_what_matters(lab: Recording) -> None:
    tests = {
        name: " ".join(c.inputs["healthcheck"]["tests"]) for name, c in containers(lab).items()
    }
    assert "SELECT 1" in tests["mysql"]
    assert "SELECT 1" in tests["pg"]
    assert "isWritablePrimary" in tests["mongo"]
    assert "/v1/models" in tests["oneapi"]  # looks the token up in the database
    assert "getTeamPlanStatus" in tests["fastgpt"]  # counts the vectors in PostgreSQL
    assert "/status" in tests["xinference"]


def test_no_health_check_holds_a_password(lab: Recording) -> None:
    for container in containers(lab).values():
        assert "plain-" not in json.dumps(container.inputs["healthcheck"])


def test_databases_are_given_time_to_end(lab: Recording) -> None:
    """The provider kills at once otherwise, and a database has to recover (docs/facts/measured.md
    §3)."""
    grace = {n: c.inputs.get("destroyGraceSeconds") for n, c in containers(lab).items()}
    assert {name for name, seconds in grace.items() if seconds and seconds >= 60} == {
        "pg", "mongo", "mysql",
    }  # fmt: skip


def test_seeding_waits_until_its_service_is_healthy_however_it_was_started(lab: Recording) -> None:
    for first, service, needs in (
        (lab.one("oneapi:Root"), "oneapi", {"mysql", "oneapi"}),
        (lab.one("fastgpt:Ready"), "fastgpt", {"pg", "mongo", "sandbox", "fastgpt"}),
        (lab.one("xinference:Model", "m3e-base"), "xinference", {"xinference"}),
    ):
        ready = lab.one("server:ContainersReady", f"{service}-healthy")
        assert ready.urn in lab.before(first)
        assert ready.inputs["containers"] == {name: f"id-{name}" for name in needs}
        assert {containers(lab)[name].urn for name in needs} <= lab.before(ready)


def test_containers_come_back_and_their_logs_stay_small(lab: Recording) -> None:
    for container in containers(lab).values():
        assert container.inputs["restart"] == "unless-stopped"
        assert container.inputs["logOpts"] == {"max-size": "50m", "max-file": "3"}


def test_a_memory_limit_always_comes_with_swap(lab: Recording) -> None:
    limits = {
        name: (c.inputs.get("memory"), c.inputs.get("memorySwap"))
        for name, c in containers(lab).items()
    }
    assert all(memory == swap for memory, swap in limits.values())
    assert limits["xinference"][0] == 61440 - 10240
    assert limits["sandbox"][0] == 1024


def test_oneapi_routes_at_once_and_boots_offline(lab: Recording) -> None:
    envs = environment(containers(lab)["oneapi"])
    assert "MEMORY_CACHE_ENABLED" not in envs
    assert int(envs["GLOBAL_API_RATE_LIMIT"]) > 1000
    mounts = {v["containerPath"]: v for v in containers(lab)["oneapi"].inputs["volumes"]}
    assert mounts[envs["TIKTOKEN_CACHE_DIR"]]["hostPath"] == "/root/ai-lab/oneapi"


def test_fastgpt_is_told_of_the_same_models_as_everybody(lab: Recording) -> None:
    (upload,) = containers(lab)["fastgpt"].inputs["uploads"]
    config = json.loads(upload["content"])
    assert [m["model"] for m in config["llmModels"]] == ["qwen2.5-instruct"]
    assert [m["model"] for m in config["vectorModels"]] == ["m3e-base"]
    rerankers = [(m["model"], m["requestUrl"]) for m in config["reRankModels"]]
    assert rerankers == [("bge-reranker-v2-m3", "http://xinference:9997/v1/rerank")]


def test_fastgpt_s_key_is_oneapi_s_first_token(lab: Recording) -> None:
    token = environment(containers(lab)["oneapi"])["INITIAL_ROOT_TOKEN"]
    assert environment(containers(lab)["fastgpt"])["CHAT_API_KEY"] == f"sk-{token}"


def test_the_gpu_goes_to_xinference_alone(lab: Recording) -> None:
    assert {
        n: c.inputs.get("gpus") for n, c in containers(lab).items() if c.inputs.get("gpus")
    } == {"xinference": "all"}


# --- models, gateway, knowledge --------------------------------------------------------------


def test_small_models_first_then_the_chat_model(lab: Recording) -> None:
    chat = lab.one("xinference:Model", "qwen2.5-instruct")
    before = lab.before(chat)
    assert lab.one("xinference:ModelsReady", "side-models-ready").urn in before
    small = {lab.one("xinference:Model", n).urn for n in ("m3e-base", "bge-reranker-v2-m3")}
    assert small <= before


def test_at_most_two_resources_wait_for_models(lab: Recording) -> None:
    assert len(lab.of_type("xinference:ModelsReady")) <= 2


def test_embeddings_route_without_the_chat_model(lab: Recording) -> None:
    chat = lab.one("xinference:Model", "qwen2.5-instruct").urn
    assert chat not in lab.before(lab.one("oneapi:Channel", "xinference-embedding"))
    assert chat in lab.before(lab.one("oneapi:Channel", "xinference-chat"))


def test_documents_are_indexed_without_the_chat_model(lab: Recording) -> None:
    chat = lab.one("xinference:Model", "qwen2.5-instruct").urn
    assert chat not in lab.before(lab.one("fastgpt:DocumentsReady"))
    assert chat in lab.before(lab.one("fastgpt:Answer"))


def test_channels_of_the_reference_lab(lab: Recording) -> None:
    channels = {r.name: r.inputs for r in lab.of_type("oneapi:Channel")}
    assert {name: (c["type"], c["models"]) for name, c in channels.items()} == {
        "xinference-chat": (1, ["qwen2.5-instruct"]),
        "xinference-embedding": (1, ["m3e-base"]),
    }
    assert {c["base_url"] for c in channels.values()} == {"http://xinference:9997"}


def test_a_paid_channel_can_be_left_unasked(key: Path, cpu: Recording) -> None:
    secrets = {"ai-lab:key-dashscope": "sk-plain-dashscope"}
    silent = run_program(configured("cpu", key, {"checkPaidChannels": False}), secrets)
    assert all(r.inputs["probe"] for r in cpu.of_type("oneapi:Channel"))
    assert not any(r.inputs.get("probe") for r in silent.of_type("oneapi:Channel"))


# --- the lab without a GPU ---------------------------------------------------------------------


def test_the_cpu_lab_has_no_xinference_and_no_driver(cpu: Recording) -> None:
    assert "xinference" not in containers(cpu)
    assert not cpu.of_type("xinference:Model")
    steps = {r.name for r in cpu.of_type(":Command")}
    assert not {"driver", "toolkit", "pull-xinference"} & steps
    assert "9997/9997" not in {r.inputs["portRange"] for r in cpu.of_type(":SecurityGroupRule")}


def test_the_cpu_lab_s_channels(cpu: Recording) -> None:
    channels = {r.name: r.inputs for r in cpu.of_type("oneapi:Channel")}
    assert {name: (c["type"], c["models"]) for name, c in channels.items()} == {
        "dashscope-chat": (17, ["qwen-turbo", "qwen-plus"]),
        "dashscope-embedding": (17, ["text-embedding-v1"]),
    }
    assert {c["key"] for c in channels.values()} == {"sk-plain-dashscope"}


def test_abroad_uses_no_mainland_mirror(key: Path) -> None:
    lab = run_program(configured("abroad", key))
    told = json.dumps([r.inputs for r in on_server(lab)])
    assert not re.findall(r"aliyuncs\.com|mirrors\.(?:cloud|aliyun|ustc)|daocloud|modelscope", told)


# --- secrets ---------------------------------------------------------------------------------


def test_no_secret_is_anywhere_in_plain(lab: Recording, cpu: Recording) -> None:
    for recording in (lab, cpu):
        for resource in recording.resources:
            shown = [
                s
                for s in plain_strings(resource.raw)
                if re.search(r"plain-.*-password|sk-plain", s)
            ]
            assert not shown, resource.name
        assert not [s for s in plain_strings(recording.raw_outputs) if "plain-" in s]


def test_the_operator_s_private_key_is_only_in_secret_connections(lab: Recording) -> None:
    for resource in lab.resources:
        assert not [s for s in plain_strings(resource.raw) if "PRIVATE KEY" in s], resource.name


def test_no_secret_is_on_a_command_line(lab: Recording) -> None:
    for command in lab.of_type(":Command"):
        assert "plain-" not in command.inputs["create"], command.name


def test_a_step_hangs_on_its_own_passwords_only(lab: Recording) -> None:
    by_urn = {r.urn: r.name for r in lab.of_type(":RandomPassword")}
    hangs = {
        r.name: {by_urn[urn] for urn in r.depends_on if urn in by_urn}
        for r in lab.of_type(":Command")
    }
    assert {name: passwords for name, passwords in hangs.items() if passwords} == {
        "mongo-keyfile": {"mongo-key"},
        "db-password-mysql": {"mysql", "mysql-root"},
        "db-password-pg": {"pg"},
        "db-password-mongo": {"mongo"},
    }


def test_passwords_are_random_and_long_enough(lab: Recording) -> None:
    lengths = {r.name: r.inputs["length"] for r in lab.of_type(":RandomPassword")}
    assert lengths["oneapi-root"] == 20
    assert lengths["relay-token"] == 48
    assert min(lengths.values()) >= 20
    envs = [env for c in containers(lab).values() for env in c.inputs.get("envs", [])]
    defaults = [e for e in envs if e.split("=", 1)[1] in ("1234", "123456", "sk-fastgpt", "any")]
    assert not defaults


def test_rotation_renews_all_but_what_cannot_follow(key: Path) -> None:
    lab = run_program(configured("dev", key, {"passwordRotation": 2}))
    kept = {r.name for r in lab.of_type(":RandomPassword") if "keepers" not in r.inputs}
    renewed = [r for r in lab.of_type(":RandomPassword") if "keepers" in r.inputs]
    assert kept == {"mongo-key", "relay-token"}
    assert all(r.inputs["keepers"] == {"rotation": "2"} for r in renewed)


# --- before anything -------------------------------------------------------------------------


def test_bad_settings_stop_the_program_before_any_resource(
    key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        run_program(configured("dev", key, {"diskSizeGiB": 3}))
    assert "diskSizeGiB" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("error", "stack"), [("KeyboardInterrupt", False), ("ValueError", True)])
def test_a_program_that_the_engine_ends_shows_no_stack(error: str, stack: bool) -> None:
    """The engine interrupts it whenever a resource failed, and has told that already."""
    code = f"from stack.interrupts import end_quietly; end_quietly(); raise {error}"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert ("Traceback" in ran.stderr) is stack

"""The whole program under a recording mock: containers, seeding, secrets."""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from provisioning.plan import plan
from provisioning.settings import Settings
from tests.matrix import printed, reached
from tests.tables import table
from tests.unit.certificates import certificate
from tests.unit.program import (
    PROJECT,
    Recorded,
    Recording,
    configured,
    given,
    on_server,
    plain_strings,
    run_program,
)

LOG = {"max-size": "50m", "max-file": "3"}
GO_DURATION = re.compile(r"^(\d+h)?(\d+m)?\d+(\.\d+)?s$")


def containers(recording: Recording) -> dict[str, Recorded]:
    return {r.inputs["name"]: r for r in recording.of_type(":Container")}


def told(recording: Recording, key: str) -> dict[str, Any]:
    """What each container gets of one input, where it gets any."""
    found = {name: c.inputs.get(key) for name, c in containers(recording).items()}
    return {name: value for name, value in found.items() if value}


def environment(container: Recorded) -> dict[str, str]:
    return dict(env.split("=", 1) for env in container.inputs.get("envs", []))


def channels(recording: Recording) -> dict[str, tuple[int, list[str]]]:
    found = {r.name: r.inputs for r in recording.of_type("oneapi:Channel")}
    return {name: (inputs["type"], inputs["models"]) for name, inputs in found.items()}


def test_the_parts_keep_their_type_tokens_and_no_two_are_called_alike(lab: Recording) -> None:
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
    assert not [urn for urn, n in Counter(r.urn for r in lab.resources).items() if n > 1]


# --- containers ------------------------------------------------------------------------------


def test_the_services_of_the_seeds(seeds: Recording) -> None:
    databases = {"pg", "mongo", "mysql"}
    others = {"fastgpt", "oneapi", "xinference", "caddy", "sandbox"}
    assert set(containers(seeds)) == others | databases
    assert told(seeds, "memory") == {"xinference": 61440 - 10240, "sandbox": 1024}
    assert told(seeds, "readOnly") == {"sandbox": True}
    assert told(seeds, "user") == {"sandbox": "1000:1000"}
    assert told(seeds, "ulimits")["sandbox"] == [{"name": "nproc", "soft": 256, "hard": 256}]
    # It prints root's password.
    assert told(seeds, "logOpts")["fastgpt"] == {"max-size": "2m", "max-file": "1"}
    assert environment(containers(seeds)["fastgpt"])["SANDBOX_URL"] == "http://sandbox:3000"


def test_the_services_of_the_gpu_lab(lab: Recording) -> None:
    databases = {"pg", "mongo", "mysql", "redis", "minio"}
    others = {"fastgpt", "oneapi", "xinference", "caddy", "plugin"}
    assert set(containers(lab)) == others | databases
    # No database is published.
    assert {
        name: [(p["external"], p["internal"]) for p in ports]
        for name, ports in told(lab, "ports").items()
    } == {"fastgpt": [(3000, 3000)], "oneapi": [(3001, 3000)], "caddy": [(9997, 9997)]}
    assert told(lab, "gpus") == {"xinference": "all"}
    # Without a limit of swap Docker gives as much again.
    assert told(lab, "memory") == {
        "xinference": 61440 - 10240,
        "fastgpt": 5120,
        **dict.fromkeys(("plugin", "redis", "minio"), 1024),
    }
    assert told(lab, "memorySwap") == told(lab, "memory")
    images = [r.inputs["name"] for r in lab.of_type(":RemoteImage")]
    assert len(images) == 10
    assert not [n for n in images if not re.search(r":[\w.-]*\d[\w.-]*(@sha256:\w{64})?$", n)]
    # Killed at once otherwise, a database has to recover (docs/facts/measured.md §3).
    assert {n for n, seconds in told(lab, "destroyGraceSeconds").items() if seconds >= 60} == (
        databases
    )


def test_every_container_is_checked_awaited_and_comes_back(lab: Recording) -> None:
    for name, container in containers(lab).items():
        check = container.inputs["healthcheck"]
        assert container.inputs["wait"] is True, name
        assert container.inputs["waitTimeout"] >= 300, name
        assert container.inputs["restart"] == "unless-stopped", name
        assert container.inputs["logOpts"] == LOG, name
        assert check["tests"][0] in ("CMD", "CMD-SHELL"), name
        durations = [check[k] for k in ("interval", "timeout", "startPeriod", "startInterval")]
        assert all(GO_DURATION.match(d) for d in durations), (name, durations)
        assert "plain-" not in json.dumps(check), name


def test_nobody_shares_a_network_with_what_it_does_not_speak_to(lab: Recording, key: Path) -> None:
    planned = plan(Settings.model_validate(given("dev", key))).containers
    made = lab.of_type("index/network:Network")
    networks = {network.inputs["name"]: network.inputs["internal"] for network in made}
    leading_out = {name for name, internal in networks.items() if not internal}
    assert leading_out == {f"ai-lab-{name}" for name in ("fastgpt", "oneapi", "xinference")}
    for name, container in containers(lab).items():
        joined = container.inputs["networksAdvanced"]
        assert [network["name"] for network in joined] == [
            f"ai-lab-{network}" for network in (name, *planned[name].reaches)
        ]
        assert joined[0]["aliases"] == [name, f"{name}.own"]
    # Docker publishes a port in the first of those networks, by name, that lead out; and FastGPT
    # listens in its own only.
    first = min(leading_out & {n["name"] for n in told(lab, "networksAdvanced")["fastgpt"]})
    assert first == "ai-lab-fastgpt"
    found = reached(planned)
    assert found["pg"] == set()
    assert found["mongo"] == found["redis"] == found["minio"] == {"plugin"}
    assert found["plugin"] == {"mongo", "redis", "minio"}
    assert found["xinference"] == {"caddy"}
    assert printed(planned) in (PROJECT / "docs/security.md").read_text()


def test_every_container_is_confined(lab: Recording) -> None:
    for name, container in containers(lab).items():
        assert container.inputs["securityOpts"] == ["no-new-privileges:true"], name
        assert container.inputs["capabilities"]["drops"] == ["ALL"], name
    rooted = {n for n, c in told(lab, "capabilities").items() if c["adds"]}
    assert rooted == {"pg", "mongo", "mysql", "xinference", "caddy"}
    assert told(lab, "user") == {"redis": "999"}


def test_the_verdict_on_each_release_is_told(lab: Recording) -> None:
    told_of = lab.outputs["releases"]
    assert (told_of["mongo"], told_of["fastgpt"]) == ("5.0.34 (good)", "4.16.0 (good)")
    assert set(told_of) == set(containers(lab))


@table("program")
def test_health_checks_ask_for_what_matters(service: str, asked: str, lab: Recording) -> None:
    assert asked in " ".join(containers(lab)[service].inputs["healthcheck"]["tests"])


def test_seeding_waits_until_its_service_is_healthy_however_it_was_started(lab: Recording) -> None:
    for first, service, needs in (
        (lab.one("oneapi:Root"), "oneapi", {"mysql", "oneapi"}),
        (
            lab.one("fastgpt:Ready"),
            "fastgpt",
            {"pg", "mongo", "redis", "minio", "plugin", "fastgpt"},
        ),
        (lab.one("xinference:Model", "m3e-base"), "xinference", {"xinference", "caddy"}),
    ):
        ready = lab.one("server:ContainersReady", f"{service}-healthy")
        assert ready.urn in lab.before(first)
        assert ready.inputs["containers"] == {name: f"id-{name}" for name in needs}
        assert {containers(lab)[name].urn for name in needs} <= lab.before(ready)


def test_oneapi_routes_at_once_and_boots_offline(lab: Recording) -> None:
    envs = environment(containers(lab)["oneapi"])
    assert "MEMORY_CACHE_ENABLED" not in envs
    assert int(envs["GLOBAL_API_RATE_LIMIT"]) > 1000
    mounts = {v["containerPath"]: v for v in containers(lab)["oneapi"].inputs["volumes"]}
    assert mounts[envs["TIKTOKEN_CACHE_DIR"]]["hostPath"] == "/root/ai-lab/oneapi"


def test_fastgpt_s_file_tells_of_the_same_models_as_everybody(seeds: Recording) -> None:
    lab = seeds
    (upload,) = containers(lab)["fastgpt"].inputs["uploads"]
    config = json.loads(upload["content"])
    assert [m["model"] for m in config["llmModels"]] == ["qwen2.5-instruct"]
    assert [m["model"] for m in config["vectorModels"]] == ["m3e-base"]
    rerankers = [(m["model"], m["requestUrl"]) for m in config["reRankModels"]]
    assert rerankers == [("bge-reranker-v2-m3", "http://caddy:9997/v1/rerank")]
    keys = {m["requestAuth"] for m in config["reRankModels"]}
    keys |= {r.inputs["key"] for r in lab.of_type("oneapi:Channel")}
    keys |= {r.inputs["api_key"] for r in lab.of_type("xinference:")}
    assert keys == {lab.outputs["xinferenceKey"]}


def test_todays_fastgpt_knows_its_address_and_has_secrets_of_its_own(lab: Recording) -> None:
    app, plugin = (environment(containers(lab)[name]) for name in ("fastgpt", "plugin"))
    page = lab.outputs["fastgptUrl"]
    assert lab.one("server:Choice").inputs["edition"] == "current"
    assert {app["FE_DOMAIN"], app["ALLOWED_ORIGINS"], plugin["STORAGE_EXTERNAL_ENDPOINT"]} == {page}
    assert app["PLUGIN_TOKEN"] == plugin["AUTH_TOKEN"]
    assert app["CHECK_INTERNAL_IP"] == "true"
    assert int(app["DB_MAX_LINK"]) >= 20
    # They would win over OneAPI.
    assert not [name for name in app if name.startswith("AIPROXY")]
    stored = {name: value for name, value in app.items() if name.startswith("STORAGE_")}
    assert stored.items() <= plugin.items()
    assert stored["STORAGE_S3_FORCE_PATH_STYLE"] == "true"
    assert app["MONGODB_URI"].partition("?")[0] != plugin["MONGODB_URI"].partition("?")[0]
    secrets = ("FILE_TOKEN_KEY", "AES256_SECRET_KEY", "INVOKE_TOKEN_SECRET", "ROOT_KEY")
    drawn = [app[name] for name in secrets] + [plugin["AUTH_TOKEN"], plugin["JWT_SECRET"]]
    assert len(set(drawn)) == len(drawn)


def test_redis_keeps_what_is_queued_and_has_its_password_on_no_command_line(
    lab: Recording,
) -> None:
    redis = containers(lab)["redis"].inputs
    script = redis["command"][-1]
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(script.splitlines())
    assert "plain-" not in script
    password = environment(containers(lab)["redis"])["REDISCLI_AUTH"]
    assert environment(containers(lab)["plugin"])["REDIS_URL"].endswith(f":{password}@redis:6379")
    # The shell itself fills it in.
    ran = subprocess.run(
        ["sh", "-c", script.replace("exec redis-server -", "cat")],
        env={"REDISCLI_AUTH": password, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"requirepass {password}\n" in ran.stdout


def test_every_secret_that_an_environment_names_is_filled_in(lab: Recording) -> None:
    for container in containers(lab).values():
        assert not re.findall(r"{\w+}", json.dumps(container.inputs.get("envs"))), container.name
    token = environment(containers(lab)["oneapi"])["INITIAL_ROOT_TOKEN"]
    assert token == "plain-relay-token-password"
    assert environment(containers(lab)["fastgpt"])["CHAT_API_KEY"] == f"sk-{token}"


# --- models, gateway, knowledge --------------------------------------------------------------


def test_small_models_first_then_the_chat_model(lab: Recording) -> None:
    before = lab.before(lab.one("xinference:Model", "qwen2.5-instruct"))
    assert lab.one("xinference:ModelsReady", "side-models-ready").urn in before
    small = {lab.one("xinference:Model", n).urn for n in ("m3e-base", "bge-reranker-v2-m3")}
    assert small <= before
    # Four calls run at a time, and those that wait hold one each.
    assert len(lab.of_type("xinference:ModelsReady")) <= 2


def test_embeddings_route_and_documents_are_indexed_without_the_chat_model(
    seeds: Recording,
) -> None:
    """Today's FastGPT is told of its models before, each of which answers then."""
    lab = seeds
    chat = lab.one("xinference:Model", "qwen2.5-instruct").urn
    assert chat not in lab.before(lab.one("oneapi:Channel", "xinference-embedding"))
    assert chat in lab.before(lab.one("oneapi:Channel", "xinference-chat"))
    assert chat not in lab.before(lab.one("fastgpt:DocumentsReady"))
    assert chat in lab.before(lab.one("fastgpt:Answer"))


def test_channels_of_the_reference_lab(lab: Recording) -> None:
    assert channels(lab) == {
        "xinference-chat": (1, ["qwen2.5-instruct"]),
        "xinference-embedding": (1, ["m3e-base"]),
    }
    urls = {r.inputs["base_url"] for r in lab.of_type("oneapi:Channel")}
    assert urls == {"http://caddy:9997"}


def test_a_token_may_use_the_models_of_its_settings(key: Path) -> None:
    tokens = [{"name": "notebook"}, {"name": "bot", "models": ["m3e-base"]}]
    lab = run_program(configured("dev", key, {"tokens": tokens}))
    made = {r.inputs["name"]: r.inputs["models"] for r in lab.of_type("oneapi:Token")}
    assert made == {"notebook": [], "bot": ["m3e-base"]}
    assert lab.outputs["token-bot"] == "sk-plain-token-bot"


def test_a_paid_channel_can_be_left_unasked(key: Path, cpu: Recording) -> None:
    secrets = {"ai-lab:key-dashscope": "sk-plain-dashscope"}
    silent = run_program(configured("cpu", key, {"checkPaidChannels": False}), secrets)
    assert all(r.inputs["probe"] for r in cpu.of_type("oneapi:Channel"))
    assert not any(r.inputs.get("probe") for r in silent.of_type("oneapi:Channel"))


# --- the other labs ----------------------------------------------------------------------------


def test_the_cpu_lab_has_no_xinference_and_no_driver(cpu: Recording) -> None:
    assert "xinference" not in containers(cpu)
    assert not cpu.of_type("xinference:Model")
    assert not cpu.of_type("xinference:Eviction")
    steps = {r.name for r in cpu.of_type(":Command")}
    assert not {"driver", "toolkit", "pull-xinference"} & steps
    assert "9997/9997" not in {r.inputs["portRange"] for r in cpu.of_type(":SecurityGroupRule")}
    assert "xinferenceUrl" not in cpu.outputs
    assert channels(cpu) == {
        "dashscope-chat": (17, ["qwen-turbo", "qwen-plus"]),
        "dashscope-embedding": (17, ["text-embedding-v1"]),
    }
    assert {r.inputs["key"] for r in cpu.of_type("oneapi:Channel")} == {"sk-plain-dashscope"}


def test_abroad_uses_no_mainland_mirror(key: Path) -> None:
    lab = run_program(configured("abroad", key))
    told = json.dumps([r.inputs for r in on_server(lab)])
    assert not re.findall(r"aliyuncs\.com|mirrors\.(?:cloud|aliyun|ustc)|daocloud|modelscope", told)


# --- a domain ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "edition", "fastgpt"),
    [(False, "seeds", ""), (True, "seeds", ""), (True, "current", ":7443")],
)
def test_a_domain_is_served_by_tls_and_nothing_in_clear_is_open(
    key: Path, tmp_path: Path, own: bool, edition: str, fastgpt: str
) -> None:
    """Visitors of the current edition have another origin than its operators."""
    told_too = {"domain": "lab.example.com", "edition": edition}
    if own:
        told_too |= certificate(tmp_path, "*.example.com")
    lab = run_program(configured("dev", key, told_too))
    rules = {r.inputs["portRange"]: r.inputs["cidrIp"] for r in lab.of_type(":SecurityGroupRule")}
    world = {} if own else {"80/80": "0.0.0.0/0"}
    behind = {443, 8443, 9443} | ({int(fastgpt[1:])} if fastgpt else set())
    assert rules == world | {f"{p}/{p}": "198.18.0.5/32" for p in (22, *behind)}
    listens = [(p["ip"], p["external"]) for ports in told(lab, "ports").values() for p in ports]
    outside = {port for ip, port in listens if ip != "127.0.0.1"}
    assert outside == behind | (set() if own else {80})
    assert {port for ip, port in listens if ip == "127.0.0.1"} == {3000, 3001, 9997}
    assert lab.outputs["dnsRecord"] == f"lab.example.com A {lab.outputs['serverAddress']}"
    pages = [lab.outputs[f"{service}Url"] for service in ("fastgpt", "oneapi", "xinference")]
    assert pages == [f"https://lab.example.com{port}" for port in (fastgpt, ":8443", ":9443")]
    link = lab.outputs["shareLinks"]["lab-assistant/visitors"]
    assert link.startswith("https://lab.example.com/chat/share?")
    app = environment(containers(lab)["fastgpt"])
    # Pictures are visitors' too; files are the operator's.
    wanted = {
        "FE_DOMAIN": "https://lab.example.com",
        "STORAGE_EXTERNAL_ENDPOINT": "https://lab.example.com",
        "FILE_DOMAIN": pages[0],
        "AUTH_COOKIE_SECURE": "true",
    }
    assert {name: app.get(name) for name in wanted} == (
        wanted if edition == "current" else dict.fromkeys(wanted)
    )
    files = {upload["file"]: upload["content"] for upload in told(lab, "uploads")["caddy"]}
    assert ("tls /etc/caddy/certificate.pem" in files["/etc/caddy/Caddyfile"]) == own
    if own:
        assert "PRIVATE KEY" in files["/etc/caddy/certificate.key"]
    assert not [s for r in lab.resources for s in plain_strings(r.raw) if "PRIVATE KEY" in s]


def test_a_domain_without_models_of_its_own_has_a_door_all_the_same(key: Path) -> None:
    secrets = {"ai-lab:key-dashscope": "sk-plain-dashscope"}
    lab = run_program(configured("cpu", key, {"domain": "lab.example.com"}), secrets)
    networks = [n["name"] for n in told(lab, "networksAdvanced")["caddy"]]
    assert networks == ["ai-lab-caddy", "ai-lab-fastgpt", "ai-lab-oneapi", "ai-lab-minio"]
    assert "9443/9443" not in {r.inputs["portRange"] for r in lab.of_type(":SecurityGroupRule")}


# --- secrets ---------------------------------------------------------------------------------


def test_no_secret_is_anywhere_in_plain_or_on_a_command_line(
    lab: Recording, cpu: Recording
) -> None:
    secret = re.compile(r"plain-.*-password|sk-plain|PRIVATE KEY")
    for recording in (lab, cpu):
        for resource in recording.resources:
            assert not list(filter(secret.search, plain_strings(resource.raw))), resource.name
        assert not [s for s in plain_strings(recording.raw_outputs) if "plain-" in s]
        for command in recording.of_type(":Command"):
            assert "plain-" not in command.inputs["create"], command.name


def test_a_step_hangs_on_its_own_passwords_only(lab: Recording) -> None:
    by_urn = {r.urn: r.name for r in lab.of_type("lab:Password")}
    hangs = {
        r.name: {by_urn[urn] for urn in r.depends_on if urn in by_urn}
        for r in (*lab.of_type(":Command"), *lab.of_type(":Container"))
    }
    assert {name: passwords for name, passwords in hangs.items() if passwords} == {
        "mongo-keyfile": {"mongo-key"},
        "db-password-mysql": {"mysql", "mysql-root"},
        "db-password-pg": {"pg"},
        "db-password-mongo": {"mongo"},
        "mysql": {"mysql", "mysql-root"},
        "pg": {"pg"},
        "mongo": {"mongo"},
        "caddy": {"xinference-key"},
        "oneapi": {"mysql", "oneapi-session", "relay-token"},
        "redis": {"redis"},
        "minio": {"storage"},
        "plugin": {"mongo", "redis", "storage", "plugin", "plugin-sessions"},
        "fastgpt": {
            *("fastgpt-root", "fastgpt-files", "fastgpt-admin"),
            *("fastgpt-stored", "fastgpt-callbacks", "plugin", "code-sandbox"),
            *("mongo", "pg", "redis", "storage", "relay-token"),
        },
    }


def test_the_seeds_keep_their_passwords(seeds: Recording) -> None:
    """State format: another name would be another password."""
    assert {r.name for r in seeds.of_type("lab:Password")} == {
        *("pg", "mongo", "mongo-key", "mysql", "mysql-root", "oneapi-root", "fastgpt-root"),
        *("xinference-key", "relay-token", "oneapi-session"),
        *("fastgpt-login", "fastgpt-files", "fastgpt-admin"),
    }


def test_passwords_are_random_and_long_enough(lab: Recording) -> None:
    lengths = {r.name: r.inputs["length"] for r in lab.of_type("lab:Password")}
    assert lengths["oneapi-root"] == 20
    assert lengths["relay-token"] == 48
    assert min(lengths.values()) >= 20
    # FastGPT and its plugin refuse shorter ones.
    assert {lengths[name] for name in ("plugin", "fastgpt-callbacks")} == {32}
    values = [value for c in containers(lab).values() for value in environment(c).values()]
    assert not {"1234", "123456", "sk-fastgpt", "any"} & set(values)


@pytest.mark.parametrize(
    ("stack", "for_life", "renewed"), [("seeds", [], 11), ("dev", ["fastgpt-stored"], 16)]
)
def test_rotation_renews_all_but_what_cannot_follow(
    key: Path, stack: str, for_life: list[str], renewed: int
) -> None:
    lab = run_program(configured(stack, key, {"passwordRotation": 2}))
    rotations = {r.name: r.inputs.get("rotation") for r in lab.of_type("lab:Password")}
    assert {name for name, found in rotations.items() if found is None} == {
        *("mongo-key", "relay-token", *for_life),
    }
    assert [found for found in rotations.values() if found] == [2] * renewed


def test_the_ssh_command_can_be_pasted_whatever_the_keys_path(lab: Recording, key: Path) -> None:
    assert " " in str(key)
    assert shlex.split(lab.outputs["sshCommand"]) == ["ssh", "-i", str(key), "root@198.18.7.7"]


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
    code = f"from stack.told import end_quietly; end_quietly(); raise {error}"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert ("Traceback" in ran.stderr) is stack

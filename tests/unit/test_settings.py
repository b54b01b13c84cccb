"""The settings: what is refused, and how it is said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.server_problems import image_problems, zone_problems
from provisioning.settings import Settings, SettingsError, read_settings
from provisioning.ssh_keys import key_problems
from tests.unit.program import PROJECT, given, make_key

Given = dict[str, Any]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def dev(key: Path) -> Given:
    return given("dev", key)


def read(values: Given, secrets: Iterable[str] = ()) -> Settings:
    return read_settings(values, secrets, PROJECT)


def problems(values: Given, secrets: Iterable[str] = ()) -> dict[str, str]:
    """Path to message of everything refused."""
    with pytest.raises(SettingsError) as error:
        read(values, secrets)
    return {problem.path: str(problem) for problem in error.value.problems}


def test_the_reference_lab_is_right(dev: Given) -> None:
    settings = read(dev)
    assert [model.name for model in settings.models] == [
        "qwen2.5-instruct",
        "m3e-base",
        "bge-reranker-v2-m3",
    ]
    assert settings.disk_size_gib == 1000


@pytest.mark.parametrize(("stack", "secrets"), [("cpu", ["key-dashscope"]), ("abroad", [])])
def test_the_other_labs_are_right(key: Path, stack: str, secrets: list[str]) -> None:
    assert read(given(stack, key), secrets).models


def test_settings_cannot_be_changed_afterwards(dev: Given) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(dev).disk_size_gib = 5


def test_every_declared_setting_is_read() -> None:
    declared = set(yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"])
    read_in = {field.alias for field in Settings.model_fields.values()} - {"region"}
    assert declared == read_in


def test_no_declared_setting_has_a_type() -> None:
    """The engine would refuse a wrong one itself, without saying what would be right."""
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    assert not [name for name, entry in declared.items() if "type" in entry]


def test_every_declared_setting_says_what_it_does() -> None:
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    short = [name for name, entry in declared.items() if len(entry.get("description", "")) < 30]
    assert not short


MODEL = {"name": "m", "kind": "chat", "remote": {"provider": "dashscope"}}

# What is changed, where it is said, and what the message must hold: the wrong and the right.
REFUSED: list[tuple[str, Callable[[Given], object], str, tuple[str, ...]]] = [
    ("the world", lambda g: g.update(allowedCidrs=["0.0.0.0/0"]), "allowedCidrs[0]",
     ("everybody", "publicChat")),
    ("host bits", lambda g: g.update(allowedCidrs=["198.18.0.5/24"]), "allowedCidrs[0]",
     ("198.18.0.0/24",)),
    ("no mask", lambda g: g.update(allowedCidrs=["198.18.0.5"]), "allowedCidrs[0]",
     ("198.18.0.5/32",)),
    ("no network", lambda g: g.update(allowedCidrs=["home"]), "allowedCidrs[0]",
     ("'home'", "198.18.0.5/32")),
    ("the manual's address", lambda g: g.update(allowedCidrs=["203.0.113.5/32"]),
     "allowedCidrs[0]", ("example", "ifconfig.me")),
    ("IPv6", lambda g: g.update(allowedCidrs=["2001:db8::/32"]), "allowedCidrs[0]", ("IPv4",)),
    ("twice the same", lambda g: g.update(allowedCidrs=["198.18.0.5/32"] * 2),
     "allowedCidrs[1]", ("twice",)),
    ("nobody", lambda g: g.update(allowedCidrs=[]), "allowedCidrs", ("empty", "198.18.0.5/32")),
    ("a small disk", lambda g: g.update(diskSizeGiB=10), "diskSizeGiB", ("10", "100 to 2048")),
    ("PL3 too small", lambda g: g.update(diskPerformanceLevel="PL3"), "diskSizeGiB",
     ("1261 to 2048", "PL3")),
    ("no such level", lambda g: g.update(diskPerformanceLevel="PL9"), "diskPerformanceLevel",
     ("PL0, PL1, PL2, PL3",)),
    ("no such disk", lambda g: g.update(diskCategory="floppy"), "diskCategory", ("cloud_essd",)),
    ("too wide", lambda g: g.update(bandwidthMbps=200), "bandwidthMbps", ("100",)),
    ("no number", lambda g: g.update(leaseHours="long"), "leaseHours", ("'long'", "number from 0")),
    ("negative lease", lambda g: g.update(leaseHours=-1), "leaseHours", ("0",)),
    ("zone elsewhere", lambda g: g.update(zone="cn-beijing-h"), "zone", ("cn-hangzhou",)),
    ("no region", lambda g: g.update(region=""), "alicloud:region", ("missing",)),
    ("no such region", lambda g: g.update(region="cn-hangzou"), "alicloud:region",
     ("cn-hangzhou",)),
    ("no type", lambda g: g.update(instanceType="A10"), "instanceType", ("ecs.gn7i",)),
    ("a limit without spot", lambda g: g.update(spotPriceLimit="3.5"), "spotPriceLimit",
     ("spot: true",)),
    ("no key file", lambda g: g.update(sshKeyFile="/nowhere/key"), "sshKeyFile",
     ("/nowhere/key", "ssh-keygen")),
    ("a typo on top", lambda g: g.update(diskSizeGib=5), "diskSizeGib", ("diskSizeGiB",)),
    ("a typo below", lambda g: g["models"][0]["xinference"].update(quantisation="Int4"),
     "models[0].xinference.quantisation", ("quantization",)),
    ("no such mirror", lambda g: g.update(mirrors={"registri": "x"}), "mirrors.registri",
     ("registry",)),
    ("an untagged image", lambda g: g.update(images={"mongo": "mongo"}), "images.mongo", ("tag",)),
    ("no such image", lambda g: g.update(images={"mongodb": "mongo:5"}), "images.mongodb",
     ("mongo",)),
    ("one name twice", lambda g: g["models"].append(g["models"][1]), "models[3].name", ("twice",)),
    ("no source", lambda g: g["models"].append({"name": "m", "kind": "chat"}), "models[3]",
     ("xinference", "remote")),
    ("no such provider", lambda g: g["models"].append(
        {**MODEL, "remote": {"provider": "dashskope"}}), "models[3].remote.provider",
     ("dashscope",)),
    ("its key not set", lambda g: g["models"].append(MODEL), "models[3].remote.apiKey",
     ("pulumi config set --secret key-dashscope",)),
    ("a second reranker", lambda g: g["models"].append({**g["models"][2], "name": "other"}),
     "models[3].kind", ("first reranker",)),
    ("a wide embedding", lambda g: g["models"].append(
        {"name": "text-embedding-3-large", "kind": "embedding",
         "remote": {"provider": "openai"}}),
     "models[3].dimensions", ("1536",)),
    ("a base URL with a path", lambda g: g["models"].append(
        {**MODEL, "remote": {"provider": "openai", "baseUrl": "https://a.example/v1"}}),
     "models[3].remote.baseUrl", ("https://a.example",)),
    ("DashScope's one embedding", lambda g: g["models"].append(
        {"name": "text-embedding-v3", "kind": "embedding", "remote": {"provider": "dashscope"}}),
     "models[3].remote.model", ("text-embedding-v1",)),
    ("a version that wants more", lambda g: g.update(xinferenceVersion="nine"),
     "xinferenceVersion", ("2.12.0",)),
    ("a token for nothing", lambda g: g.update(tokens=[{"name": "t", "models": ["qwen"]}]),
     "tokens[0].models", ("qwen2.5-instruct",)),
    ("tokens of one name", lambda g: g.update(tokens=[{"name": "t"}, {"name": "t"}]), "tokens[1]",
     ("twice",)),
    ("a missing file", lambda g: g["knowledge"]["bases"][0]["documents"].append(
        {"file": "documents/no.pdf"}), "knowledge.bases[0].documents[1]",
     ("no.pdf", "Pulumi.yaml")),
    ("an unserved model", lambda g: g["knowledge"]["bases"][0].update(embedding="m3e-large"),
     "knowledge.bases[0].embedding", ("m3e-base",)),
    ("a chat model that embeds", lambda g: g["knowledge"]["bases"][0].update(
        embedding="qwen2.5-instruct"), "knowledge.bases[0].embedding", ("m3e-base",)),
    ("an app of no base", lambda g: g["knowledge"]["apps"][0].update(bases=["manual"]),
     "knowledge.apps[0].bases", ("lab-manual",)),
    ("two apps of one name", lambda g: g["knowledge"]["apps"].append(g["knowledge"]["apps"][0]),
     "knowledge.apps[1]", ("twice",)),
    ("a question to nobody", lambda g: g["knowledge"]["question"].update(app="assistant"),
     "knowledge.question.app", ("lab-assistant",)),
    ("a citation of no document", lambda g: g["knowledge"]["question"].update(cites="manual.pdf"),
     "knowledge.question.cites", ("lab-manual.pdf",)),
    ("a citation by an app without a base", lambda g: g["knowledge"]["apps"][0].update(bases=[]),
     "knowledge.question.cites", ("give it a base",)),
    ("a document twice", lambda g: g["knowledge"]["bases"][0]["documents"].append(
        {"folder": "documents"}), "knowledge.bases[0].documents[1]", ("twice",)),
    ("a text without a name", lambda g: g["knowledge"]["bases"][0]["documents"].append(
        {"text": "hello"}), "knowledge.bases[0].documents[1]", ("name",)),
    ("a chunk too small", lambda g: g["knowledge"]["bases"][0]["documents"][0].update(chunkSize=5),
     "knowledge.bases[0].documents[0]", ("100 to 3000",)),
    ("a chunk longer than the base's model reads",
     lambda g: g["knowledge"]["bases"][0]["documents"][0].update(chunkSize=3000),
     "knowledge.bases[0].documents[0].chunkSize", ("m3e-base reads 512 tokens", "512 or less")),
    ("more keys than FastGPT gives an app",
     lambda g: g["knowledge"]["apps"][0].update(apiKeys=[f"k{n}" for n in range(11)]),
     "knowledge.apps[0].apiKeys", ("11 keys", "10 at the most")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "path", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(
    dev: Given, change: Callable[[Given], object], path: str, said: tuple[str, ...]
) -> None:
    change(dev)
    found = problems(dev)
    assert path in found
    missing = [words for words in said if words not in found[path]]
    assert not missing, found[path]


def test_a_web_page_may_be_cited_by_a_title_that_nobody_knows_yet(dev: Given) -> None:
    dev["knowledge"]["bases"][0]["documents"].append({"link": "https://example.com/page"})
    dev["knowledge"]["question"]["cites"] = "The page's title"
    assert read(dev).knowledge.question


def test_models_that_do_not_fit_together_are_summed_up(dev: Given) -> None:
    dev["models"][0]["xinference"]["memoryShare"] = 0.95
    said = " ".join(problems(dev).values())
    assert "memoryShare" in said
    assert all(model["name"] in said for model in dev["models"])


def test_a_model_that_needs_a_gpu_on_a_server_without(dev: Given) -> None:
    dev["instanceType"] = "ecs.c7.xlarge"
    assert any("GPU" in said for said in problems(dev).values())


def test_everything_wrong_is_said_at_once(dev: Given) -> None:
    dev.update(diskSizeGiB=5, allowedCidrs=["0.0.0.0/0"], sshKeyFile="/nowhere/key")
    dev["models"].append(MODEL)
    found = problems(dev)
    assert {"diskSizeGiB", "allowedCidrs[0]", "sshKeyFile", "models[3].remote.apiKey"} <= set(found)


def test_a_secret_inside_a_list_is_refused(dev: Given) -> None:
    assert "key-dashscope" in problems(dev, ["models"])["models"]


def test_a_key_in_plain_is_refused_and_not_shown(dev: Given) -> None:
    dev["key-dashscope"] = "sk-very-secret"
    said = problems(dev)["key-dashscope"]
    assert "--secret" in said
    assert "sk-very-secret" not in said


def key_file(options: str, change: str = ":") -> str:
    """Commands that make KEY and then do something to it."""
    return f"ssh-keygen -q {options} -f KEY && {change}"


RSA = "-t rsa -b 2048 -N ''"
SPOILED = {
    "readable by all": (key_file(RSA, "chmod 644 KEY"), "chmod 600"),
    "no public key": (key_file(RSA, "rm KEY.pub"), "ssh-keygen -y"),
    "no key at all": (key_file(RSA, "echo nonsense > KEY"), "not a private SSH key"),
    "a folder": ("mkdir KEY", "not a file"),
    "a passphrase": (key_file("-t ed25519 -N secret"), "ssh-keygen -p -f KEY"),
    "a passphrase on a PEM": (key_file("-t rsa -m PEM -N secret"), "ssh-keygen -p -f KEY"),
    "a passphrase on a PKCS8": (key_file("-t rsa -m PKCS8 -N secret"), "ssh-keygen -p -f KEY"),
    "no last line end": (key_file(RSA, "truncate -s -1 KEY"), "no line end"),
    "PuTTY's": ("printf 'PuTTY-User-Key-File-3: ssh-rsa\\n' > KEY; chmod 600 KEY", "puttygen"),
    "no public key beside it": (key_file(RSA, "echo x > KEY.pub"), "not a public SSH key"),
}


@pytest.mark.parametrize(("commands", "said"), SPOILED.values(), ids=list(SPOILED))
def test_a_key_that_ssh_would_refuse(tmp_path: Path, commands: str, said: str) -> None:
    key = tmp_path / "ai-lab"
    subprocess.run(commands.replace("KEY", str(key)), shell=True, check=True)

    [problem] = key_problems(str(key))

    assert said.replace("KEY", str(key)) in str(problem)
    assert f"ssh-keygen -t rsa -b 4096 -N '' -f {key}\n" not in f"{problem}\n", "overwrites it"
    assert not problem.warning


def test_an_unknown_home_is_said(dev: Given) -> None:
    assert "whole path" in problems({**dev, "sshKeyFile": "~nobody-here/key"})["sshKeyFile"]


@pytest.mark.parametrize(
    ("cidrs", "said"),
    [
        (["10.1.2.3/32"], "private"),
        (["172.31.0.0/16"], "private"),
        (["100.64.3.4/32"], "provider"),
        (["169.254.1.1/32"], "link-local"),
        (["240.0.0.1/32"], "reserved"),
        (["64.0.0.0/7"], "33,554,432"),
        (["16.0.0.0/8", "17.0.0.0/8"], "together"),
    ],
)
def test_networks_that_cannot_be_meant(dev: Given, cidrs: list[str], said: str) -> None:
    assert said in " ".join(problems({**dev, "allowedCidrs": cidrs}).values())


@pytest.mark.parametrize(("prefix", "is_warned"), [(8, True), (15, True), (16, False)])
def test_a_wide_network_is_said_and_not_refused(dev: Given, prefix: int, is_warned: bool) -> None:
    settings = read({**dev, "allowedCidrs": [f"16.0.0.0/{prefix}"]})
    assert [w.path for w in settings.warnings] == ["allowedCidrs[0]"] * is_warned


@pytest.mark.parametrize("stack", ["dev", "abroad"])
def test_the_labs_that_we_show_warn_of_nothing(key: Path, stack: str) -> None:
    assert not read(given(stack, key)).warnings


@pytest.mark.parametrize(
    ("region", "zone"),
    [
        ("cn-hangzhou", "cn-hangzhou-i"),
        ("ap-southeast-1", "ap-southeast-1a"),
        ("us-west-1", "us-west-1b"),
    ],
)
def test_zones_are_named_as_their_region_names_them(region: str, zone: str) -> None:
    assert not list(zone_problems(zone, region))
    assert list(zone_problems(zone[:-1], region))


@pytest.mark.parametrize(
    ("image", "is_right"),
    [
        ("", True),
        ("m-bp1234567890", True),
        ("ubuntu_24_04_x64_20G_gpu_580.126.09_alibase_20260801.vhd", True),
        ("ubuntu_22_04_arm64_20G_alibase_20240926.vhd", False),
        ("ubuntu_20_04_x64_20G_alibase_20240926.vhd", False),
        ("aliyun_3_x64_20G_alibase_20240926.vhd", False),
    ],
)
def test_images_that_the_host_scripts_know(image: str, is_right: bool) -> None:
    assert is_right == (not list(image_problems(image)))


CELLS = ("aptMirror", "dockerApt", "dockerKey", "toolkitRepo", "registry", "registryMirrors")


@pytest.mark.parametrize("cell", [*CELLS, "hfEndpoint", "pypiMirror", "dashscopeUrl"])
@pytest.mark.parametrize("end", ["$(reboot)", "`id`", ";b", "\nb", "|b", "&b", "'b"])
def test_no_cell_reaches_a_shell_with_what_it_would_run(dev: Given, cell: str, end: str) -> None:
    assert f"mirrors.{cell}" in problems({**dev, "mirrors": {cell: f"https://a{end}"}})


def test_a_value_that_a_secret_may_have_is_not_shown(dev: Given) -> None:
    remote = {"provider": "dashscope", "apiKey": "SK-very-secret"}
    dev["models"].append({"name": "m", "kind": "chat", "remote": remote})
    assert "SK-very-secret" not in " ".join(problems(dev).values())

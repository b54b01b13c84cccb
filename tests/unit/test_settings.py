"""The settings: how what is refused is said. One wrong value at a time is in `tests/cases/`."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.settings import Settings
from provisioning.ssh_keys import key_problems
from provisioning.validation import read_settings
from tests.unit.program import PROJECT, given, make_key

Given = dict[str, Any]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def dev(key: Path) -> Given:
    return given("dev", key)


def read(values: Given, secrets: Iterable[str] = ()) -> tuple[Settings, list[str]]:
    """Settings that can be used, and the paths of the warnings."""
    settings, found = read_settings(values, secrets, PROJECT)
    assert settings is not None
    assert not [str(problem) for problem in found if not problem.warning]
    return settings, [problem.path for problem in found]


def problems(values: Given, secrets: Iterable[str] = ()) -> dict[str, str]:
    """Path to message of everything refused."""
    _, found = read_settings(values, secrets, PROJECT)
    return {problem.path: str(problem) for problem in found if not problem.warning}


def test_the_reference_lab_is_right(dev: Given) -> None:
    settings, _ = read(dev)
    assert [model.name for model in settings.models] == [
        "qwen2.5-instruct",
        "m3e-base",
        "bge-reranker-v2-m3",
    ]
    assert settings.disk_size_gib == 1000


@pytest.mark.parametrize(("stack", "secrets"), [("cpu", ["key-dashscope"]), ("abroad", [])])
def test_the_other_labs_are_right(key: Path, stack: str, secrets: list[str]) -> None:
    settings, _ = read(given(stack, key), secrets)
    assert settings.models


def test_settings_cannot_be_changed_afterwards(dev: Given) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read(dev)[0].disk_size_gib = 5


def test_every_setting_is_declared_with_what_it_does_and_without_a_type() -> None:
    """The engine would refuse a wrong type itself, without saying what would be right."""
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    assert set(declared) == {f.alias for f in Settings.model_fields.values()} - {"region"}
    assert not [name for name, entry in declared.items() if "type" in entry]
    assert not [name for name, entry in declared.items() if len(entry["description"]) < 30]


def test_models_that_do_not_fit_together_are_summed_up(dev: Given) -> None:
    dev["models"][0]["xinference"]["memoryShare"] = 0.95
    said = " ".join(problems(dev).values())
    assert "memoryShare" in said
    assert all(model["name"] in said for model in dev["models"])


def test_everything_wrong_is_said_at_once(dev: Given) -> None:
    dev.update(diskSizeGiB=5, allowedCidrs=["0.0.0.0/0"], sshKeyFile="/nowhere/key")
    dev["models"].append({"name": "m", "kind": "chat", "remote": {"provider": "dashscope"}})
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


@pytest.mark.parametrize(("prefix", "is_warned"), [(8, True), (15, True), (16, False)])
def test_a_wide_network_is_said_and_not_refused(dev: Given, prefix: int, is_warned: bool) -> None:
    _, warned = read({**dev, "allowedCidrs": [f"16.0.0.0/{prefix}"]})
    assert ("allowedCidrs[0]" in warned) == is_warned


@pytest.mark.parametrize("stack", ["dev", "abroad"])
def test_the_labs_that_we_show_warn_of_known_holes_alone(key: Path, stack: str) -> None:
    parts = ("fastgpt", "mongo", "mysql", "oneapi", "pg", "sandbox")
    assert read(given(stack, key))[1] == [
        *(f"images.{part}" for part in parts),
        "xinferenceVersion",
    ]


CELLS = ("aptMirror", "dockerApt", "dockerKey", "toolkitRepo", "registry", "registryMirrors")


@pytest.mark.parametrize("cell", [*CELLS, "hfEndpoint", "pypiMirror", "dashscopeUrl"])
@pytest.mark.parametrize("end", ["$(reboot)", "`id`", ";b", "\nb", "|b", "&b", "'b"])
def test_no_cell_reaches_a_shell_with_what_it_would_run(dev: Given, cell: str, end: str) -> None:
    [path] = problems({**dev, "mirrors": {cell: f"https://a{end}"}})
    assert path.startswith(f"mirrors.{cell}")


def test_a_value_that_a_secret_may_have_is_not_shown(dev: Given) -> None:
    remote = {"provider": "dashscope", "apiKey": "SK-very-secret"}
    dev["models"].append({"name": "m", "kind": "chat", "remote": remote})
    assert "SK-very-secret" not in " ".join(problems(dev).values())

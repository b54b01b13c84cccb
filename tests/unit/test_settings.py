"""The settings as a whole. One wrong value at a time is in `tests/cases/`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.settings import Settings
from provisioning.validation import read_settings
from tests.unit.program import PROJECT, given, make_key

Given = dict[str, Any]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def dev(key: Path) -> Given:
    return given("dev", key)


def refused(values: Given) -> list[str]:
    """The paths of everything refused."""
    return [p.path for p in read_settings(values, (), PROJECT)[1] if not p.warning]


@pytest.mark.parametrize(
    ("stack", "secrets"), [("dev", []), ("abroad", []), ("cpu", ["key-dashscope"])]
)
def test_the_labs_that_we_show_are_right(key: Path, stack: str, secrets: list[str]) -> None:
    settings, found = read_settings(given(stack, key), secrets, PROJECT)
    assert all(problem.warning and "known holes" in problem.wrong for problem in found)
    assert settings is not None
    assert settings.models
    if stack == "dev":
        assert [model.kind for model in settings.models] == ["chat", "embedding", "rerank"]
        assert settings.disk_size_gib == 1000
        with pytest.raises(ValueError, match="frozen"):
            settings.disk_size_gib = 5


def test_every_setting_is_declared_with_what_it_does_and_without_a_type() -> None:
    """The engine would refuse a wrong type itself, without saying what would be right."""
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    assert set(declared) == {f.alias for f in Settings.model_fields.values()} - {"region"}
    assert not [name for name, entry in declared.items() if "type" in entry]
    assert not [name for name, entry in declared.items() if len(entry["description"]) < 30]


def test_everything_wrong_is_said_at_once(dev: Given) -> None:
    dev.update(diskSizeGiB=5, allowedCidrs=["0.0.0.0/0"], sshKeyFile="/nowhere/key")
    dev["models"].append({"name": "m", "kind": "chat", "remote": {"provider": "dashscope"}})
    paths = {"diskSizeGiB", "allowedCidrs[0]", "sshKeyFile", "models[3].remote.apiKey"}
    assert paths <= set(refused(dev))


CELLS = ("aptMirror", "dockerApt", "dockerKey", "toolkitRepo", "registry", "registryMirrors")


@pytest.mark.parametrize("cell", [*CELLS, "hfEndpoint", "pypiMirror", "dashscopeUrl"])
@pytest.mark.parametrize("end", ["$(reboot)", "`id`", ";b", "\nb", "|b", "&b", "'b"])
def test_no_cell_reaches_a_shell_with_what_it_would_run(dev: Given, cell: str, end: str) -> None:
    [path] = refused({**dev, "mirrors": {cell: f"https://a{end}"}})
    assert path.startswith(f"mirrors.{cell}")

"""`make up` and `make destroy`: what is checked before Pulumi starts."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.tables import table
from tools import cloud
from tools.cloud import Plugin
from tools.environment import SetupError


@pytest.fixture(autouse=True)
def pulumi_on_the_operators_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "operators-bin"
    folder.mkdir()
    (folder / "pulumi").touch(mode=0o755)
    monkeypatch.setattr(cloud, "_OPERATORS_PATH", str(folder))


NEEDED = [Plugin("alicloud", "4.0.0"), Plugin("docker", "5.2.0")]


def listing(*entries: tuple[str, str, str]) -> str:
    return json.dumps([{"name": n, "kind": k, "version": v} for n, k, v in entries])


def test_needed_plugins_come_from_the_installed_packages(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, resource in (("docker", True), ("policy", False)):
        (packages / f"pulumi_{name}").mkdir(parents=True)
        data = {"resource": resource, "name": name, "version": "5.2.0"}
        (packages / f"pulumi_{name}" / "pulumi-plugin.json").write_text(json.dumps(data))

    assert cloud.needed_plugins(tmp_path) == [Plugin("docker", "5.2.0")]
    assert {p.name for p in cloud.needed_plugins()} >= {"alicloud", "docker", "command"}


@pytest.mark.parametrize(
    ("listed", "missing"),
    [
        ("", NEEDED),
        ("[]", NEEDED),
        (listing(("alicloud", "resource", "4.0.0")), NEEDED[1:]),
        (listing(("alicloud", "resource", "3.104.0")), NEEDED),
        (listing(("alicloud", "language", "4.0.0")), NEEDED),
        (listing(("alicloud", "resource", "v4.0.0"), ("docker", "resource", "5.2.0")), []),
    ],
)
def test_missing_plugins(listed: str, missing: list[Plugin]) -> None:
    assert cloud.missing_plugins(NEEDED, listed) == missing


def test_hints_name_every_plugin_and_the_way_to_a_stack_file_and_go_by_make_without_pulumi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hint = cloud.plugin_hint(NEEDED)
    assert "340 MB" in hint
    assert "pulumi plugin install resource docker 5.2.0 --file" in hint
    problem = cloud.stack_problem("mine", tmp_path)
    assert "cp Pulumi.dev.yaml Pulumi.mine.yaml" in str(problem)
    assert "make up STACK=mine" in str(problem)
    (tmp_path / "Pulumi.mine.yaml").touch()
    assert cloud.stack_problem("org/ai-lab/mine", tmp_path) is None
    monkeypatch.setattr(cloud, "_OPERATORS_PATH", "/nowhere")
    assert cloud.typed("stack init dev") == "make pulumi ARGS='stack init dev'"


@table("tools_cloud")
def test_backend_problems(code: int, stdout: str, stderr: str, expected: str) -> None:
    problem = str(cloud.backend_problem("dev", code, stdout, stderr))
    assert expected in problem
    assert stderr in problem


def _answers(monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any]) -> None:
    said = {
        "stack ls": [{"name": "dev"}],
        "plugin ls": [{"kind": "resource", "name": p.name, "version": p.version} for p in NEEDED],
        "stack output": outputs,
    }

    def ask(_: dict[str, str], *question: str) -> subprocess.CompletedProcess[str]:
        text = json.dumps(said[" ".join(question[:2])])
        return subprocess.CompletedProcess(question, 0, text, "")

    monkeypatch.setattr(cloud, "_ask", ask)


@pytest.mark.parametrize(
    ("action", "options"),
    [("refresh", []), ("up", ["--refresh"]), ("up", ["-r"]), ("preview", ["--refresh=true"])],
)
def test_a_refresh_of_a_server_that_is_off_is_one_message(
    monkeypatch: pytest.MonkeyPatch, action: str, options: list[str]
) -> None:
    """The Docker provider fails for each of its twenty resources, ssh command and all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _answers(monkeypatch, {"serverAddress": "127.0.0.1", "sshPort": port})
        assert cloud._checked(action, options, {}) == ("dev", options)
    with pytest.raises(SetupError, match="start it in the cloud's console"):
        cloud._checked(action, options, {})
    # Without a refresh the program itself says it, and may change what lies around the server.
    assert cloud._checked("up", ["--yes", "--stack", "dev"], {}) == ("dev", ["--yes"])
    _answers(monkeypatch, {})
    assert cloud._checked(action, options, {}) == ("dev", options), "no server, nobody to ask"

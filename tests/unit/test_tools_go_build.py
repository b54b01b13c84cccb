"""Building the CLI from Go modules: which Go, with what, and what is left behind."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.tables import table
from tools import go_build
from tools.environment import SetupError


def make_go(folder: Path, answer: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "go").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (folder / "go").chmod(0o755)
    return str(folder)


@table("tools_go_build")
def test_go_on_path_is_taken_when_recent(answer: str, taken: bool, tmp_path: Path) -> None:
    assert go_build.find_go(str(tmp_path)) is None
    assert (go_build.find_go(make_go(tmp_path / "bin", answer)) is not None) is taken


def test_the_modules_are_pinned_with_their_hash_and_name_the_oldest_go() -> None:
    for part in (go_build.CLI, go_build.LANGUAGE):
        folder = go_build.MODULES / part.folder
        asked = re.findall(r"^go (\S+)$", (folder / "go.mod").read_text(), re.MULTILINE)
        assert asked == [".".join(map(str, go_build.MINIMUM_GO))]
        pinned = f"{part.module} {go_build.version_of(part)} h1:"
        assert pinned in (folder / "go.sum").read_text()


def test_what_bends_a_build_is_dropped_and_only_our_own_go_gets_caches_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = {"GOPROXY": "http://127.0.0.1/modules", "GOMODCACHE": "/the/operators"}
    for name, value in {"GOFLAGS": "-mod=vendor", "GOOS": "plan9", **operators}.items():
        monkeypatch.setenv(name, value)
    theirs = go_build.build_environment(go_build.Go(Path("go"), own=False), tmp_path)
    assert "vendor" not in theirs["GOFLAGS"]
    assert "GOOS" not in theirs
    assert theirs.items() >= {**operators, "CGO_ENABLED": "0"}.items()
    ours = go_build.build_environment(go_build.Go(Path("go"), own=True), tmp_path)
    assert Path(ours["GOMODCACHE"]).is_relative_to(tmp_path)
    assert Path(ours["GOCACHE"]).is_relative_to(tmp_path)


class FakeGo:
    """Does what `go build` and `go list` leave behind, and notes how they were called."""

    def __init__(self, module: Path) -> None:
        self.module = module
        self.built: list[list[str]] = []
        self.fails = False

    def run(self, command: list[object], *, cwd: Path, **_: object) -> str:
        words = [str(word) for word in command]
        if words[1] == "list":
            return f"go: downloading something\n{self.module}\n"
        assert (cwd / "go.sum").exists()
        if self.fails:
            raise SetupError("no modules")
        self.built.append(words)
        Path(words[words.index("-o") + 1]).write_text("program")
        return ""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    module = tmp_path / "module"
    for script in go_build.SCRIPTS:
        (module / script).parent.mkdir(parents=True, exist_ok=True)
        (module / script).write_text("script")
        (module / script).chmod(0o444)
    fake = FakeGo(module)
    monkeypatch.setattr(go_build, "run", fake.run)
    monkeypatch.setattr(go_build, "find_go", lambda: go_build.Go(Path("go"), own=False))
    return fake


def test_build_delivers_executables_with_their_version_and_leaves_nothing_else(
    tmp_path: Path, go: FakeGo
) -> None:
    go.fails = True
    with pytest.raises(SetupError, match="no modules"):
        go_build.build(tmp_path / "bin", tmp_path / "cache", lambda _: None)
    assert (tmp_path / "cache" / "go-build").is_dir(), "what it has is kept for the next try"

    go.fails = False
    go_build.build(tmp_path / "bin", tmp_path / "cache", lambda _: None)
    made = {file.name: file.stat().st_mode & 0o111 for file in (tmp_path / "bin").iterdir()}
    scripts = ("pulumi-language-python-exec", "pulumi-resource-pulumi-python")
    programs = ("pulumi", "pulumi-language-python-host", "pulumi-language-python")
    assert made.keys() == {*programs, *scripts}
    assert all(made[script] for script in (*scripts, "pulumi-language-python"))
    flags = " ".join(word for words in go.built for word in words)
    assert "version.Version=v3.250.0" in flags
    assert "version.Version=v3.78.0" in flags
    assert list((tmp_path / "cache").iterdir()) == []


@table("tools_go_build")
def test_the_older_language_host_is_told_of_the_virtual_environment(
    project: str | None, flags: list[str], tmp_path: Path
) -> None:
    """Else a plain `pulumi up` ends in ModuleNotFoundError: it took the first Python on PATH."""
    home, folder = tmp_path / "a cli", tmp_path / "a project"
    home.mkdir()
    folder.mkdir()
    (home / go_build.WRAPPER.name).write_bytes(go_build.WRAPPER.read_bytes())
    (home / go_build.LANGUAGE.program).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for program in home.iterdir():
        program.chmod(0o755)
    if project is not None:
        (folder / "Pulumi.yaml").write_text(project)

    command = [home / go_build.WRAPPER.name, "127.0.0.1:5"]
    answer = subprocess.check_output(command, cwd=folder, text=True)
    assert answer.splitlines() == [f"-root={folder}", *flags, "127.0.0.1:5"]

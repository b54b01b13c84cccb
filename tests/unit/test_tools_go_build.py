"""Building the CLI from Go modules: which Go, with what, and what is left behind."""

import re
import subprocess
from pathlib import Path

import pytest

from tools import go_build
from tools.environment import SetupError


def make_go(folder: Path, answer: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "go").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (folder / "go").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ("go version go1.26.8 linux/amd64", True),
        ("go version go1.25.11 darwin/arm64", True),
        ("go version go1.25.10 linux/amd64", False),
        ("go version go1.9 linux/amd64", False),
        ("go version devel +abc linux/amd64", False),
    ],
)
def test_go_on_path_is_taken_when_recent(tmp_path: Path, answer: str, taken: bool) -> None:
    assert (go_build.find_go(make_go(tmp_path / "bin", answer)) is not None) is taken


def test_no_go_on_path(tmp_path: Path) -> None:
    assert go_build.find_go(str(tmp_path)) is None


def test_minimum_go_is_what_the_modules_ask_for() -> None:
    for part in (go_build.CLI, go_build.LANGUAGE):
        text = (go_build.MODULES / part.folder / "go.mod").read_text()
        asked = re.search(r"^go (\S+)$", text, re.MULTILINE)
        assert asked is not None
        assert tuple(map(int, asked[1].split("."))) == go_build.MINIMUM_GO


def test_every_pinned_module_has_its_hash() -> None:
    for part in (go_build.CLI, go_build.LANGUAGE):
        sums = (go_build.MODULES / part.folder / "go.sum").read_text()
        assert f"{part.module} {go_build.version_of(part)} h1:" in sums


def test_what_bends_a_build_is_dropped_and_the_proxy_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1/modules")

    environment = go_build.build_environment(go_build.Go(Path("go"), own=False), tmp_path)

    assert "vendor" not in environment["GOFLAGS"]
    assert "GOOS" not in environment
    assert environment["GOPROXY"] == "http://127.0.0.1/modules"
    assert environment["CGO_ENABLED"] == "0"


def test_only_our_own_go_gets_caches_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMODCACHE", "/the/operators")

    theirs = go_build.build_environment(go_build.Go(Path("go"), own=False), tmp_path)
    ours = go_build.build_environment(go_build.Go(Path("go"), own=True), tmp_path)

    assert theirs["GOMODCACHE"] == "/the/operators"
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


def test_build_delivers_executables_with_their_version(tmp_path: Path, go: FakeGo) -> None:
    target = tmp_path / "bin"

    go_build.build(target, tmp_path / "cache", lambda _: None)

    names = {"pulumi", "pulumi-language-python-host"}
    scripts = {
        *("pulumi-language-python", "pulumi-language-python-exec"),
        "pulumi-resource-pulumi-python",
    }
    assert {file.name for file in target.iterdir()} == names | scripts
    assert all((target / script).stat().st_mode & 0o111 for script in scripts)
    flags = " ".join(word for words in go.built for word in words)
    assert "version.Version=v3.250.0" in flags
    assert "version.Version=v3.78.0" in flags


def test_finished_build_leaves_only_the_result(tmp_path: Path, go: FakeGo) -> None:
    go_build.build(tmp_path / "bin", tmp_path / "cache", lambda _: None)

    assert list((tmp_path / "cache").iterdir()) == []


def test_failed_build_keeps_what_it_has(tmp_path: Path, go: FakeGo) -> None:
    go.fails = True

    with pytest.raises(SetupError, match="no modules"):
        go_build.build(tmp_path / "bin", tmp_path / "cache", lambda _: None)

    assert (tmp_path / "cache" / "go-build").is_dir()


def test_read_only_module_cache_is_removed(tmp_path: Path) -> None:
    inner = tmp_path / "go-build" / "modules" / "one@v1"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    inner.chmod(0o555)

    go_build._remove(tmp_path / "go-build")

    assert not (tmp_path / "go-build").exists()


@pytest.mark.parametrize(
    ("project", "flags"),
    [
        (
            "runtime:\n  name: python\n  options:\n    virtualenv: .venv\n",
            ["-virtualenv=.venv"],
        ),
        ("runtime: python\n", []),
        (None, []),
    ],
)
def test_the_older_language_host_is_told_of_the_virtual_environment(
    tmp_path: Path, project: str | None, flags: list[str]
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

    answer = subprocess.run(
        [home / go_build.WRAPPER.name, "127.0.0.1:5"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.splitlines() == [f"-root={folder}", *flags, "127.0.0.1:5"]

"""The Pulumi CLI: which one is taken, and what happens when a way is closed."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tables import table
from tools import go_build, pulumi_cli
from tools.environment import SetupError
from tools.pulumi_cli import NEEDED


def make_cli(folder: Path, version: str = "v3.250.0", names: tuple[str, ...] = NEEDED) -> Path:
    """Programs that answer `version` as the CLI does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)
    return folder


class Ways:
    """Counts the tries; each way can be closed or deliver."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.download_version: str | None = None
        self.build_version: str | None = "v3.250.0"


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ways:
    """No CLI on PATH, the site closed, the build open."""
    ways = Ways()

    def reachable(_url: str, _seconds: float) -> bool:
        ways.tried.append("probe")
        return ways.download_version is not None

    def install(command: list[object], **_: object) -> str:
        ways.tried.append("download")
        make_cli(Path(str(command[-1])) / "bin", str(ways.download_version))
        return ""

    def build(target: Path, *_: object) -> None:
        ways.tried.append("build")
        if ways.build_version is None:
            raise SetupError("the module proxy is closed")
        make_cli(target, ways.build_version)

    monkeypatch.setattr(pulumi_cli, "reachable", reachable)
    monkeypatch.setattr(pulumi_cli, "run", install)
    monkeypatch.setattr(go_build, "build", build)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(pulumi_cli, "on_path", lambda _: None)
    return ways


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    cache.mkdir()
    return cache


def obtain(cache: Path, said: list[str] | None = None) -> pulumi_cli.Cli:
    lines = said if said is not None else []
    return pulumi_cli.obtain(cache, Path("/nowhere/python"), lines.append)


@table("tools_pulumi_cli")
def test_version_choice(version: str, good: bool) -> None:
    assert pulumi_cli.recent_enough(version) is good


def test_recent_cli_on_path_is_taken_and_the_language_host_beside_a_linked_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_cli(tmp_path / "Cellar", "v3.260.0")
    cli = pulumi_cli.on_path(print, path=str(folder))
    assert cli == pulumi_cli.Cli(folder / "pulumi", "v3.260.0", "PATH")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").symlink_to(folder / "pulumi")
    assert pulumi_cli.on_path(print, path=str(tmp_path / "bin")) is not None
    # What an earlier set-up put into an environment is not the operator's: a link to itself.
    monkeypatch.setenv("VIRTUAL_ENV", str(make_cli(tmp_path / "activated" / "bin").parent))
    monkeypatch.setenv("PATH", str(tmp_path / "activated" / "bin"))
    assert pulumi_cli.on_path(print) is None


@pytest.mark.parametrize(
    ("version", "names", "reason"),
    [
        ("v3.200.0", NEEDED, "version v3.200.0, wanted 3.250.0"),
        ("v3.260.0", ("pulumi",), "pulumi-language-python is neither"),
        ("; exit 1", NEEDED, ""),
    ],
)
def test_unfit_cli_on_path_is_passed_over_with_a_reason(
    tmp_path: Path, version: str, names: tuple[str, ...], reason: str
) -> None:
    folder = make_cli(tmp_path / "bin", version, names)
    said: list[str] = []

    assert pulumi_cli.on_path(said.append, path=str(folder)) is None
    assert reason in "".join(said)


def test_download_comes_first_then_the_build_then_the_cache_without_asking_the_site(
    ways: Ways, cache: Path
) -> None:
    ways.download_version, said = "v3.272.0", []
    cli = obtain(cache / "near")
    assert (cli.version, cli.origin) == ("v3.272.0", "downloaded")
    assert ways.tried == ["probe", "download"]
    # One that delivers an old CLI is not kept.
    ways.download_version = "v3.100.0"
    assert obtain(cache / "old").origin == "compiled"
    kept = [home.name.split("-")[0] for home in (cache / "old" / "pulumi").iterdir()]
    assert kept == ["compiled"]

    ways.download_version = None
    ways.tried.clear()
    first = obtain(cache, said)
    assert (ways.tried, first.origin) == (["probe", "build"], "compiled")
    assert all((first.program.parent / name).exists() for name in NEEDED)
    assert any("not reached" in line for line in said)
    ways.tried.clear()
    second = obtain(cache)
    assert ways.tried == []
    assert (second.program, second.origin) == (first.program, "cache")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda home: (home / "bin/pulumi").write_text("#!/bin/sh\necho v3.2"),
    "other bytes of the same size": lambda home: (home / "bin/pulumi-language-python").write_bytes(
        b"\0" * (home / "bin/pulumi-language-python").stat().st_size
    ),
    "a script is lost": lambda home: (home / "bin/pulumi-resource-pulumi-python").unlink(),
    "not executable": lambda home: (home / "bin/pulumi-language-python-exec").chmod(0o644),
    "a spoilt manifest": lambda home: (home / "manifest.json").write_text("{"),
}


def test_cached_cli_that_became_too_old_is_replaced(
    ways: Ways, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtain(cache)
    monkeypatch.setattr(pulumi_cli, "MINIMUM", (3, 260, 0))
    ways.build_version = "v3.260.0"
    assert obtain(cache).version == "v3.260.0"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_made_anew(ways: Ways, cache: Path, damage: str) -> None:
    home = obtain(cache).program.parent.parent
    DAMAGES[damage](home)
    ways.tried.clear()
    said: list[str] = []

    cli = obtain(cache, said)

    assert ways.tried == ["probe", "build"]
    assert cli.version == "v3.250.0"
    assert any("damaged" in line for line in said)


def test_all_ways_closed_tells_of_each_and_nothing_half_is_kept(
    ways: Ways, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways.build_version = None
    with pytest.raises(SetupError, match=r"(?s)not reached.*proxy is closed.*3\.250\.0 or newer"):
        obtain(cache)
    monkeypatch.setattr(go_build, "build", lambda target, *_: make_cli(target, names=("pulumi",)))
    with pytest.raises(SetupError, match="came without pulumi-language-python"):
        obtain(cache)
    assert list((cache / "pulumi").iterdir()) == []


def test_site_that_never_answers_or_refuses_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        site = f"http://127.0.0.1:{server.getsockname()[1]}/install.sh"
        assert pulumi_cli.reachable(site, 0.2) is False
    assert pulumi_cli.reachable(site, 5) is False
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(60) and [])
    assert pulumi_cli.reachable("http://a.resolver.that.hangs.invalid/", 0.2) is False
    never.set()

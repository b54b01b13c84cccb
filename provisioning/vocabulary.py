"""The token vocabulary that OneAPI wants at start, and dies without (`docs/facts/oneapi.md §2`).

OneAPI would download it from a host that many servers cannot reach. It ships in the wheel of
`llama-index-core` under the name that OneAPI looks for (`docs/facts/engine.md`), so pip gets it.
"""

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

VOCABULARY_NAME = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""File name in OneAPI's TIKTOKEN_CACHE_DIR: the sha1 of the address it would download from."""

VOCABULARY_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
"""cl100k_base."""

_WHEEL = "llama-index-core==0.12.52"
_WHEEL_SHA256 = "c75719bb46a445c2917b1c6631c633247b4a3a0a0b82b8c166df7565bd0ff241"
_MEMBER = f"llama_index/core/_static/tiktoken_cache/{VOCABULARY_NAME}"
_QUIETLY = ("--quiet", "--no-input", "--disable-pip-version-check")
_NOTHING_ELSE = ("--no-deps", "--only-binary", ":all:", "--require-hashes")
_DOWNLOAD_SECONDS = 300


class VocabularyError(RuntimeError):
    """The vocabulary cannot be had; the message says where to put it by hand."""


def cache_folder() -> Path:
    """The lab's cache: AI_LAB_CACHE, else `ai-lab` in XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("AI_LAB_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-lab"


def vocabulary_file() -> Path:
    """The checked file, from the cache or else by pip; a VocabularyError where neither can be."""
    path = cache_folder() / VOCABULARY_NAME
    try:
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != VOCABULARY_SHA256:
            path.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=path.parent, prefix=".vocabulary-") as folder:
                # In one move, so that a second run beside this one never sees half a file.
                _shipped(Path(folder)).replace(path)
    except OSError as error:
        raise VocabularyError(
            f"the cache folder {path.parent} cannot be used ({error.strerror or error}); "
            "set AI_LAB_CACHE to a folder that can be written"
        ) from error
    return path


def _shipped(folder: Path) -> Path:
    """The file, out of the wheel that pip downloads into `folder` and holds to its hash."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", *_QUIETLY, *_NOTHING_ELSE]
    pip += ["--requirement", str(wanted), "--dest", str(folder)]
    limit = _DOWNLOAD_SECONDS
    try:
        subprocess.run(pip, capture_output=True, text=True, check=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise VocabularyError(_advice(f"pip did not end in {limit} s")) from error
    except subprocess.CalledProcessError as error:
        raise VocabularyError(_advice(f"pip failed: {_last_line(error.stderr)}")) from error
    with ZipFile(next(folder.glob("*.whl"))) as archive:
        return Path(archive.extract(_MEMBER, folder))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    # An index's address may carry a password.
    return re.sub(r"//[^/@\s]+@", "//***@", lines[-1].strip()) if lines else "it said nothing"


def _advice(reason: str) -> str:
    return (
        f"OneAPI's token vocabulary cannot be had from {_WHEEL}: {reason}; check that pip reaches "
        f"a package index, or put cl100k_base (sha256 {VOCABULARY_SHA256}) there by hand as "
        f"{cache_folder() / VOCABULARY_NAME}"
    )

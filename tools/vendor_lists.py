"""`make catalogue`: the vendors' own lists of models and engine arguments, as data of the project.

Reads the wheels of the pinned Xinference and of the vLLM in its image, without installing either
(the second is large: some 250 MB), and writes `provisioning/vendor.json`: one model a line, so
that the next release's differences can be read. Run it whenever DEFAULT_XINFERENCE changes.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from provisioning.vendor import DATA
from provisioning.versions import DEFAULT_XINFERENCE

VLLM = "0.21.0"
"""The vLLM in the pinned release's GPU image (`provisioning/versions.py`)."""

_LISTS = {
    "LLM": "xinference/model/llm/llm_family.json",
    "embedding": "xinference/model/embedding/model_spec.json",
    "rerank": "xinference/model/rerank/model_spec.json",
    "audio": "xinference/model/audio/model_spec.json",
}
_HUBS = ("huggingface", "modelscope")
_APPLE = "mlx"  # its own format, engine, and families of audio models: no use on this server
# Where each engine's arguments are declared: module and class, in the order of precedence.
_ARGUMENTS = {
    "vllm": ("xinference/model/llm/vllm/core.py", "VLLMModelConfig"),
    "sglang": ("xinference/model/llm/sglang/core.py", "SGLANGModelConfig"),
    "transformers": ("xinference/types.py", "PytorchModelConfig"),
}
_LAUNCH = ("xinference/core/supervisor.py", "launch_builtin_model")


def main() -> int:
    """Write the file. Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        xinference = ZipFile(_wheel("xinference", DEFAULT_XINFERENCE, Path(folder)))
        vllm = ZipFile(_wheel("vllm", VLLM, Path(folder)))
        text = vendor_text(xinference, vllm)
    DATA.write_text(text)
    print(f"{DATA.name}: {len(text)} bytes, of Xinference {DEFAULT_XINFERENCE} and vLLM {VLLM}")
    return 0


def _wheel(name: str, version: str, folder: Path) -> Path:
    print(f"Fetching {name} {version}", flush=True)
    wanted = ("--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *wanted, f"{name}=={version}"]
    subprocess.run(command, check=True)
    return next(folder.glob(f"{name}-{version}-*.whl"))


def vendor_text(xinference: ZipFile, vllm: ZipFile) -> str:
    """The data file's text: the same wheels give the same bytes."""
    parts = [f'"xinference": "{DEFAULT_XINFERENCE}"', f'"vllm": "{VLLM}"']
    parts += [_block("arguments", arguments(xinference, vllm))]
    for type_, path in _LISTS.items():
        rows = dict(entry(row) for row in json.loads(xinference.read(path)))
        parts += [
            _block(type_, {name: rows[name] for name in sorted(rows) if "specs" in rows[name]})
        ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _block(key: str, rows: dict[str, Any]) -> str:
    lines = (f"  {json.dumps(name)}: {_compact(row)}" for name, row in rows.items())
    return f"{json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n}"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def entry(row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A vendor's model as we keep it: its name, and what the plan asks about it."""
    languages = row.get("model_lang") or row.get("language")
    told = {
        "context": row.get("context_length") or row.get("max_tokens"),
        "width": row.get("dimensions"),
        "abilities": row.get("model_ability"),
        "architecture": next(iter(row.get("architectures") or []), None),
        "languages": [languages] if isinstance(languages, str) else languages,
        "billions": _billions(row),
        "engines": sorted(_engines(row)),
        "specs": [] if _for_apple(row) else specs(row),
    }
    return str(row["model_name"]), {key: value for key, value in told.items() if value}


def _for_apple(row: dict[str, Any]) -> bool:
    return _APPLE in (row.get("engine"), str(row.get("model_family")).lower().rpartition("-")[2])


def _engines(row: dict[str, Any]) -> set[str]:
    """The engines whose packages the list names for the model; none where it names no engine."""
    text = " ".join((row.get("virtualenv") or {}).get("packages") or [])
    return {name.lower() for name in re.findall(r'#engine# == "([^"]+)"', text)} - {_APPLE}


def _billions(row: dict[str, Any]) -> float | None:
    """Parameters as the name tells them, or the repository's; an LLM's specs have their own."""
    if "model_specs" in row and "dimensions" not in row and "type" not in row:
        return None
    sources = [row.get("model_src") or {}, *(s["model_src"] for s in row.get("model_specs", []))]
    names = [row["model_name"], *(home["model_id"] for s in sources for home in s.values())]
    for name in names:
        if found := re.search(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)(B|M)(?![A-Za-z0-9])", name):
            number = float(found[1])
            return number if found[2] == "B" else number / 1000
    return None


def specs(row: dict[str, Any]) -> list[list[Any]]:
    """`[format, size, quantizations, hubs]`, one for all quantizations that the same hubs have."""
    homes: dict[tuple[str, str, str], list[str]] = {}
    for spec in row.get("model_specs") or [{"model_src": row["model_src"]}]:
        format_, size = spec.get("model_format", ""), str(spec.get("model_size_in_billions", ""))
        if format_ == _APPLE:
            continue
        for hub in _HUBS:
            home = spec["model_src"].get(hub) or {}
            for quantization in home.get("quantizations") or (["none"] if home else []):
                homes.setdefault((format_, size, quantization), []).append(hub)
    grouped: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (format_, size, quantization), hubs in homes.items():
        grouped.setdefault((format_, size, tuple(dict.fromkeys(hubs))), []).append(quantization)
    return [[format_, size, kinds, [*hubs]] for (format_, size, hubs), kinds in grouped.items()]


def arguments(xinference: ZipFile, vllm: ZipFile) -> dict[str, list[str]]:
    """What each engine takes, by the code that declares it; `launch` is what Xinference takes."""
    known = {engine: set(_fields(xinference, *place)) for engine, place in _ARGUMENTS.items()}
    for name in ("EngineArgs", "AsyncEngineArgs"):
        known["vllm"] |= set(_fields(vllm, "vllm/engine/arg_utils.py", name))
    known["launch"] = set(_parameters(xinference, *_LAUNCH))
    return {name: sorted(n for n in found if n[0] != "_") for name, found in known.items()}


def _fields(wheel: ZipFile, path: str, name: str) -> Iterable[str]:
    for node in ast.walk(ast.parse(wheel.read(path))):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id


def _parameters(wheel: ZipFile, path: str, name: str) -> Iterable[str]:
    for node in ast.walk(ast.parse(wheel.read(path))):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == name:
            yield from (argument.arg for argument in node.args.args if argument.arg != "self")


if __name__ == "__main__":
    sys.exit(main())

"""Every input of `tests/cases/`: what people of this trade wrote, and what must come of it.

`cases.json` are public problem reports turned into inputs (its `why` names the report),
`settings.json` one wrong or unusual value at a time. Both say what is changed in a lab that is
right, and what must come: a refusal or a warning at a path, acceptance, the text that FastGPT
reads from a file, the payload that Xinference gets.
"""

import copy
import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioning.launch import launch_payload
from provisioning.problems import Problem
from provisioning.regions import region
from provisioning.validation import read_settings
from rehearsal.doubles.fastgpt.documents import file_text
from tests.unit.program import PROJECT, given, make_key

CASES = PROJECT / "tests" / "cases"
Case = dict[str, Any]


@dataclass
class Came:
    """What came of a lab's settings."""

    refused: list[Problem] = field(default_factory=list)
    warned: list[Problem] = field(default_factory=list)
    models: tuple[Any, ...] = ()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh"))


def load() -> list[Any]:
    cases: list[Case] = json.loads((CASES / "cases.json").read_text())
    cases += [_one_value(case) for case in json.loads((CASES / "settings.json").read_text())]
    return [pytest.param(case, id=case["id"]) for case in cases]


def _one_value(case: Case) -> Case:
    """A case of settings.json in the form of those of cases.json."""
    changed = {**case.get("with", {}), case["setting"]: case["value"]}
    return {**case, "kind": "value", "set": changed, "expect": case["should"],
            "at": case.get("at", case["setting"])}  # fmt: skip


@pytest.mark.parametrize("case", load())
def test_case(case: Case, key: Path, tmp_path: Path) -> None:
    if case["kind"] == "double":
        judge_text(case, file_text(case["file"], (CASES / case["file"]).read_bytes()))
        return
    came = read(*lab_of(case, key, tmp_path))
    if case["expect"] == "launch":
        payload = launch_payload(came.models[0], region("cn-hangzhou", {}))
        assert payload.items() >= case["has"].items(), payload
    else:
        judge(case, came)


def lab_of(case: Case, key: Path, folder: Path) -> tuple[Case, list[str]]:
    """Settings that are right but for what the case changes, and the names of their secrets."""
    remote = case["kind"] == "remote"
    lab = given("cpu" if remote else "dev", key)
    secrets = [*(["key-dashscope"] if remote else []), *case.get("secrets", [])]
    changed = _changes(case, lab)
    if "make" in case:
        subprocess.run(case["make"].replace("KEY", str(folder / "key")), shell=True, check=True)
        changed.setdefault("sshKeyFile", "KEY")
        changed["sshKeyFile"] = changed["sshKeyFile"].replace("KEY", str(folder / "key"))
    for path, value in changed.items():
        put(lab, path, value)
    return lab, secrets


_PLACES = {"chat": 0, "embedding": 1, "rerank": 2}
_DOCUMENT = "knowledge.bases[0].documents[1]"


def _changes(case: Case, lab: Case) -> Case:
    kind = case["kind"]
    if kind in _PLACES:
        return _model_in_place(case, lab)
    if kind == "remote":
        return {f"models[{len(lab['models'])}]": case["model"]}
    if kind == "document":
        return {_DOCUMENT: {"file": str((CASES / case["file"]).relative_to(PROJECT))}}
    if kind == "setting_path":
        return {"knowledge.bases[0].documents[0].chunkSize": 3000}
    return copy.deepcopy(case.get("set", {}))


def _model_in_place(case: Case, lab: Case) -> Case:
    """The case's model instead of the reference lab's; who used that one uses this one."""
    place, name = _PLACES[case["kind"]], case["model"]
    model = {"name": name, "kind": case["kind"], "xinference": case.get("x", {})}
    base, app = lab["knowledge"]["bases"][0], lab["knowledge"]["apps"][0]
    users = {"chat": [(base, "fileModel"), (app, "model")], "embedding": [(base, "embedding")]}
    for user, role in users.get(case["kind"], []):
        user[role] = name
    return {f"models[{place}]": model}


def put(lab: Case, path: str, value: object) -> None:
    """Set the setting at `path`, as a message writes it: `models[0].xinference.size`."""
    parts = re.findall(r"[^.\[\]]+", path.removeprefix("alicloud:"))
    *way, last = [int(part) if part.isdigit() else part for part in parts]
    place: Any = lab
    for part in way:
        place = place[part]
    if isinstance(last, int) and last == len(place):
        place.append(value)
    else:
        place[last] = value


def read(lab: Case, secrets: Iterable[str]) -> Came:
    settings, problems = read_settings(lab, secrets, PROJECT)
    refused, warned = (
        [problem for problem in problems if problem.warning is warning] for warning in (False, True)
    )
    return Came(refused, warned, settings.models if settings else ())


def judge(case: Case, came: Came) -> None:
    """What came is what should, at the path of the case, said whole."""
    told = came.refused + came.warned
    for problem in told:
        judge_sentence(problem)
    if case["expect"] == "accept" or (case["expect"] == "accept_or_says" and not came.refused):
        assert not came.refused, came.refused
        return
    counts = told if case["expect"] in ("warn", "refuse_or_warn") else came.refused
    at = case.get("at", _DOCUMENT if case["kind"] == "document" else "")
    here = [problem for problem in counts if is_at(problem.path, at)]
    assert here, told
    said = "\n".join(str(problem) for problem in here)
    assert all(words in said for words in case.get("says", [])), said
    assert not any(words in said for words in case.get("says_not", [])), said


def judge_sentence(problem: Problem) -> None:
    """A problem names the setting, the fault and the remedy, in the operator's words."""
    assert problem.path, problem
    assert problem.wrong.strip(), problem
    assert problem.right.strip(), problem
    said = str(problem)
    assert not said.rstrip().endswith(";"), said
    assert "pattern" not in said, said
    assert "[A-Za-z" not in said, said
    assert r"\d" not in said, said


def is_at(path: str, wanted: str) -> bool:
    """Whether `path` is the wanted one or lies below it."""
    return not wanted or path == wanted or path.startswith((f"{wanted}.", f"{wanted}["))


def judge_text(case: Case, text: str) -> None:
    missing = [words for words in case["says"] if words not in text]
    assert not missing, text

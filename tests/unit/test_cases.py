"""Every input of `tests/cases/`: what people of this trade wrote, and what must come of it.

`cases.json` are public problem reports turned into inputs (its `why` names the report),
`settings.json` one wrong or unusual value at a time. Both say what is changed in a lab that is
right, and what must come: a refusal or a warning at a path, acceptance, the text that FastGPT
reads from a file, the payload that Xinference gets.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioning.launch import launch_payload
from provisioning.problems import Problem
from provisioning.regions import region
from provisioning.validation import read_settings
from rehearsal.doubles.fastgpt.documents import file_text
from tests.unit.plans import CASES, cases
from tests.unit.program import PROJECT, given, make_key

Case = dict[str, Any]
_PLACES = {"chat": "models[0]", "embedding": "models[1]", "rerank": "models[2]"}
# Who used the reference lab's model of a kind uses the case's.
_USERS = {
    "chat": ("knowledge.bases[0].fileModel", "knowledge.apps[0].model"),
    "embedding": ("knowledge.bases[0].embedding",),
}
_DOCUMENT = "knowledge.bases[0].documents[1]"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ssh"))


ONE_VALUE = [
    {"kind": "value", "expect": case["should"], "at": case["setting"]}
    | {"set": {**case.get("with", {}), case["setting"]: case["value"]}, **case}
    for case in cases("settings.json")
]


@pytest.mark.parametrize("case", [*cases("cases.json"), *ONE_VALUE], ids=lambda case: case["id"])
def test_case(case: Case, key: Path, tmp_path: Path) -> None:
    if case["kind"] == "double":
        text = file_text(case["file"], (CASES / case["file"]).read_bytes())
        assert [words for words in case["says"] if words not in text] == []
        return
    if "make" in case:
        case = json.loads(json.dumps(case).replace("KEY", str(tmp_path / "key")))
        subprocess.run(case["make"], shell=True, check=True)
        case.setdefault("set", {"sshKeyFile": str(tmp_path / "key")})
    lab = given("cpu" if case["kind"] == "remote" else "dev", key)
    for path, value in _changes(case, lab).items():
        put(lab, path, value)
    secrets = ["key-dashscope"] * (case["kind"] == "remote") + case.get("secrets", [])
    settings, problems = read_settings(lab, secrets, PROJECT)
    if case["expect"] == "launch":
        assert settings is not None
        payload = launch_payload(settings.models[0], region("cn-hangzhou", {}))
        assert payload.items() >= case["has"].items(), payload
    else:
        judge(case, problems)


def _changes(case: Case, lab: Case) -> Case:
    kind = case["kind"]
    if kind in _PLACES:
        name = case["model"]
        model = {"name": name, "kind": kind, "xinference": case.get("x", {})}
        return {_PLACES[kind]: model} | dict.fromkeys(_USERS.get(kind, ()), name)
    if kind == "remote":
        return {f"models[{len(lab['models'])}]": case["model"]}
    if kind == "document":
        return {_DOCUMENT: {"file": str((CASES / case["file"]).relative_to(PROJECT))}}
    changes: Case = json.loads(json.dumps(case["set"]))
    return changes


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


def judge(case: Case, told: list[Problem]) -> None:
    """What came is what should, at the path of the case, said whole in the operator's words."""
    for problem in told:
        assert all(part.strip() for part in (problem.path, problem.wrong, problem.right)), problem
        assert not str(problem).rstrip().endswith(";"), problem
        assert not re.search(r"pattern|\[A-Za-z|\\d", str(problem)), problem
    expect, refused = case["expect"], [problem for problem in told if not problem.warning]
    if expect == "say nothing":
        assert [problem for problem in told if "known holes" not in problem.wrong] == []
    elif expect == "accept" or (expect == "accept_or_says" and not refused):
        assert refused == []
    else:
        counts = told if expect in ("warn", "refuse_or_warn") else refused
        at = case.get("at", _DOCUMENT if case["kind"] == "document" else "")
        said = "".join(f"{problem}\n" for problem in counts if is_at(problem.path, at))
        assert said, told
        assert all(words in said for words in case.get("says", [])), said
        assert not any(words in said for words in case.get("says_not", [])), said


def is_at(path: str, wanted: str) -> bool:
    """Whether `path` is the wanted one or lies below it."""
    return not wanted or path == wanted or path.startswith((f"{wanted}.", f"{wanted}["))

"""The double answers as the real FastGPT v4.8.8-fix2 was recorded (docs/facts/measured.md §1).

Each file of the recording is a case. The double is recorded as a real service would be, by the code
behind `make record`, and the two recordings have to be equal file by file.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fastgpt_subject import (
    ROOT,
    ROOT_PASSWORD,
    FastGpt,
    Lab,
    data,
    lab,
    new_address,
)
from tests.contract.record import UPSTREAM, record_fastgpt
from tests.contract.replay import FILES, RECORDINGS

__all__ = ["lab"]
REAL = RECORDINGS / "fastgpt-4.8.8"
MANUAL = REAL / FILES / "lab-manual.pdf"
CASES = sorted(path.name for path in REAL.glob("[0-9]*.json"))


@pytest.fixture(scope="module")
def double(lab: Lab) -> FastGpt:
    """The double with the recorded config.json."""
    return lab.fastgpt("replay", (REAL / "config.json").read_text(encoding="utf-8")).up()


@pytest.fixture(scope="module")
def recorded(lab: Lab, double: FastGpt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the double answered to the recorded story."""
    into = tmp_path_factory.mktemp("recordings")
    return record_fastgpt(str(double.http.base_url), ROOT_PASSWORD, lab.upstream, into)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_the_double_answers_as_the_real_one(recorded: Path, name: str) -> None:
    assert read(recorded / name)["answer"] == read(REAL / name)["answer"]


def test_the_double_asks_its_upstream_the_same(recorded: Path) -> None:
    assert read(recorded / UPSTREAM) == read(REAL / UPSTREAM)


def test_a_recording_is_complete(recorded: Path) -> None:
    """What is recorded can be told again: the story, its files and its config.json are in it."""
    names = [path.name for path in sorted(recorded.glob("[0-9]*.json"))]
    assert names == CASES
    assert [read(recorded / name)["request"] for name in CASES] == [
        read(REAL / name)["request"] for name in CASES
    ]
    assert read(recorded / "config.json") == read(REAL / "config.json")
    assert (recorded / FILES / MANUAL.name).read_bytes() == MANUAL.read_bytes()


@pytest.mark.parametrize("size", ["300", "400"])
def test_a_document_is_cut_as_the_real_one_cut_it(
    double: FastGpt, lab: Lab, recorded: Path, size: str
) -> None:
    double.ready()
    lab.upstream.reset()
    dataset = double.dataset()
    made = double.upload(MANUAL.name, MANUAL.read_bytes(), datasetId=dataset, chunkSize=int(size))
    refused = data(made)["results"]["overToken"]
    double.indexed(dataset)
    taken = sorted(body["input"][0] for body in lab.upstream.bodies("/v1/embeddings"))
    assert taken == read(REAL / "chunks.json")[size]
    assert len(refused) == {"300": 0, "400": 2}[size]


def test_a_recording_holds_no_secret(recorded: Path) -> None:
    kept = "".join(path.read_text(encoding="utf-8") for path in recorded.glob("*.json"))
    assert ROOT_PASSWORD not in kept
    assert "eyJ" not in kept
    assert not re.search(r"fastgpt-\w{52}", kept)


def test_a_story_that_breaks_off_leaves_the_recording_as_it_is(
    double: FastGpt, recorded: Path
) -> None:
    before = {path: path.read_bytes() for path in REAL.rglob("*.json")}
    env = {**os.environ, "UPSTREAM": new_address(), "SERVICE": "fastgpt"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.contract.record"],
        cwd=ROOT,
        env={**env, "URL": str(double.http.base_url)},
        input="not-this-one",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "the story broke off" in run.stderr
    assert "not-this-one" not in run.stderr
    assert {path: path.read_bytes() for path in REAL.rglob("*.json")} == before

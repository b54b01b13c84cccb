"""The double answers as the real FastGPT v4.8.8-fix2 was recorded (docs/facts/measured.md §1).

Each file of the recording is a case. The double is recorded as a real service would be, by the code
behind `make record`, and the two recordings have to be equal file by file.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fastgpt_subject import ROOT_PASSWORD, FastGpt, Stage, data
from tests.contract.processes import new_address
from tests.contract.record import FILES, REAL, UPSTREAM, main, record_fastgpt

MANUAL = REAL / FILES / "lab-manual.pdf"
CASES = sorted(path.name for path in REAL.glob("[0-9]*.json"))


@pytest.fixture(scope="module")
def double(stage: Stage) -> FastGpt:
    """The double with the recorded config.json."""
    return stage.fastgpt("replay", (REAL / "config.json").read_text(encoding="utf-8")).up()


@pytest.fixture(scope="module")
def recorded(stage: Stage, double: FastGpt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the double answered to the recorded story."""
    into = tmp_path_factory.mktemp("recordings")
    return record_fastgpt(str(double.http.base_url), ROOT_PASSWORD, stage.upstream, into)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*CASES, UPSTREAM, "config.json"])
def test_the_double_is_recorded_as_the_real_one(recorded: Path, name: str) -> None:
    """Every answer, and what it asks of its upstream; the story can be told again."""
    assert read(recorded / name) == read(REAL / name)


def test_every_recording_is_replayed(
    recorded: Path, record_property: Callable[[str, object], None]
) -> None:
    told = sorted(path.name for path in recorded.glob("[0-9]*.json"))
    of_all = f"{len({*told} & {*CASES})} of {len(CASES)} recordings replayed"
    record_property("counted", f"FastGPT 4.8.8: {of_all}, and what it asked of its upstream")
    assert told == CASES


def test_a_recording_is_complete_and_holds_no_secret(recorded: Path) -> None:
    assert (recorded / FILES / MANUAL.name).read_bytes() == MANUAL.read_bytes()
    kept = "".join(path.read_text(encoding="utf-8") for path in recorded.glob("*.json"))
    assert not re.search(rf"{ROOT_PASSWORD}|eyJ|fastgpt-\w{{52}}", kept)


@pytest.mark.parametrize(("size", "too_long"), [("300", 0), ("400", 2)])
def test_a_document_is_cut_as_the_real_one_cut_it(
    double: FastGpt, stage: Stage, recorded: Path, size: str, too_long: int
) -> None:
    double.ready()
    stage.upstream.forget()
    dataset = double.dataset()
    made = double.upload(MANUAL.name, MANUAL.read_bytes(), datasetId=dataset, chunkSize=int(size))
    double.indexed(dataset)
    taken = sorted(body["input"][0] for body in stage.upstream.bodies("/v1/embeddings"))
    assert taken == read(REAL / "chunks.json")[size]
    assert len(data(made)["results"]["overToken"]) == too_long


def test_a_story_that_breaks_off_leaves_the_recording_as_it_is(
    double: FastGpt, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in REAL.rglob("*.json")}
    monkeypatch.setenv("UPSTREAM", new_address())
    monkeypatch.setenv("RECORD_PASSWORD", "not-this-one")
    with pytest.raises(SystemExit, match="the story broke off") as error:
        main("fastgpt", str(double.http.base_url))
    assert "not-this-one" not in str(error.value)
    assert {path: path.read_bytes() for path in REAL.rglob("*.json")} == before

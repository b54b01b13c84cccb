"""Which releases are taken, warned of and refused, and who may come to a FastGPT with a way in."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from provisioning.problems import Problem
from provisioning.releases import STALE_DAYS, release_problems, verdict
from provisioning.settings import Settings
from tests.unit.program import given
from tools.advisories import main

LOOKED_AT = date(2026, 11, 25)
DOOR = {"CVE-2026-40351", "CVE-2026-26075"}
# MinIO's makers have given it up.
UNMENDED = {f"CVE-2026-{number}" for number in (33322, 33419, 34204, 39414, 40344)}


def problems(part: str, release: str, today: date = LOOKED_AT, **changes: Any) -> list[Problem]:
    settings = Settings.model_validate(given("dev", Path("no-key")) | changes)
    return list(release_problems([verdict(part, release)], settings, today))


@pytest.mark.parametrize(
    ("part", "release", "word", "holes"),
    [
        ("fastgpt", "v4.8.8-fix2", "warned", DOOR),
        ("fastgpt", "v4.14.9.5", "refused", {"CVE-2026-44284", "CVE-2026-55418"}),
        ("fastgpt", "v4.16.0", "good", set()),
        ("fastgpt", "v4.16.2", "unknown", set()),
        ("redis", "7.2.11-alpine", "warned", {"CVE-2026-23479"}),
        ("redis", "7.2.10", "warned", {"CVE-2025-49844", "CVE-2026-23479"}),
        ("minio", "RELEASE.2025-10-15T17-29-55Z", "unknown", UNMENDED),
        ("minio", "RELEASE.2025-09-07T16-13-09Z", "warned", UNMENDED | {"CVE-2025-62506"}),
        ("fastgpt", "dev", "unknown", DOOR),
        ("xinference", "v2.12.0-cpu", "warned", {"GHSA-jw93-m5fq-h5vc"}),
        ("xinference", "2.7.0", "unknown", {"GHSA-jw93-m5fq-h5vc"}),
        ("mongo", "5.0.33", "warned", {"CVE-2026-11933"}),
        ("mongo", "5.0.34", "good", set()),
        ("mysql", "8.4.7", "good", set()),
        ("pg", "0.8.2-pg15", "good", set()),
    ],
)
def test_a_release_is_judged(part: str, release: str, word: str, holes: set[str]) -> None:
    found = verdict(part, release)
    assert (found.word, {hole.id for hole in found.holes}) == (word, holes)


@pytest.mark.parametrize(("accepted", "warning"), [(False, False), (True, True)])
def test_an_unknown_release_is_refused_unless_accepted(accepted: bool, warning: bool) -> None:
    (told,) = problems("mongo", "6.0.0", acceptUnknownVersions=accepted)
    assert (told.path, told.warning) == ("images.mongo", warning)
    assert "acceptUnknownVersions" in told.right


@pytest.mark.parametrize("release", ["2.6.0", "2.6.2", "2.5.0", "1.17.1"])
def test_a_dangerous_release_is_refused_even_if_accepted(release: str) -> None:
    told = problems("xinference", release, acceptUnknownVersions=True)
    refused = [problem for problem in told if not problem.warning]
    assert {problem.path for problem in refused} == {"xinferenceVersion"}
    assert any("CVE-2026-61539" in str(problem) for problem in refused)


@pytest.mark.parametrize(
    ("release", "changes", "said"),
    [
        ("v4.8.8-fix2", {"publicChat": True}, {"publicChat": False}),
        (
            "v4.8.8-fix2",
            {"publicChat": True, "letAnybodyLogInAsRoot": True},
            {"letAnybodyLogInAsRoot": True},
        ),
        ("v4.8.8-fix2", {"visitorCidrs": ["198.18.7.0/24"]}, {"visitorCidrs": True}),
        ("v4.16.0", {"publicChat": True, "visitorCidrs": ["198.18.7.0/24"]}, {}),
    ],
)
def test_strangers_reach_no_fastgpt_that_lets_them_in(
    release: str, changes: dict[str, Any], said: dict[str, bool]
) -> None:
    told = {each.path: each.warning for each in problems("fastgpt", release, **changes)}
    told.pop("images.fastgpt", None)
    assert told == said


@pytest.mark.parametrize(
    ("part", "release", "said"),
    [("mongo", "5.0.18", "mongo 5.0.34 has none of them"), ("fastgpt", "v4.8.8-fix2", "")],
)
def test_a_release_without_the_holes_is_named_where_it_was_tried(
    part: str, release: str, said: str
) -> None:
    (told,) = problems(part, release)
    assert said in told.right
    assert ("has none of them" in told.right) == bool(said)


def test_advisories_that_the_table_does_not_know_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(name: str, **told: Any) -> None:
        (tmp_path / f"{name}.json").write_text(json.dumps({"id": name, **told}))

    fixed = [{"events": [{"introduced": "0"}, {"fixed": "2.9.0"}, {"fixed": "2.13.1"}]}]
    package = {"package": {"name": "xinference"}, "ranges": fixed}
    write("GHSA-new", summary="Worse than before", affected=[package])
    write("GHSA-known", aliases=["CVE-2026-61539"], summary="In xinference")
    write("CVE-1", summary="Something in FastGPT's share links")
    write("CVE-2", summary="Of no concern", affected=[{"package": {"name": "left-pad"}}])
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[:5] == ["fastgpt", "CVE-1", "fixed", "in", "?"]
    assert said[1].split()[:5] == ["xinference", "GHSA-new", "fixed", "in", "2.13.1"]
    assert said[2].startswith("2 advisories")
    assert main([str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize(("days", "said"), [(STALE_DAYS, 0), (STALE_DAYS + 1, 1)])
def test_an_old_list_is_said(days: int, said: int) -> None:
    assert len(problems("mongo", "5.0.34", LOOKED_AT + timedelta(days=days))) == said

"""The double answers as the real FastGPT 4.16.0 was recorded
(docs/facts/fastgpt-current-measured.md)."""

from collections.abc import Callable, Iterator

import httpx
import pytest
import yaml

from tests.contract.fastgpt_subject import ROOT_PASSWORD, Stage, sha256
from tests.contract.replay import CURRENT, RERANKER, Replay, Stub, recorded
from tests.tables import CASES

TABLE = yaml.safe_load((CASES / "fastgpt_current_replay.yaml").read_text(encoding="utf-8"))
PLAYED = [step if isinstance(step, str) else step.get("play") for step in TABLE["story"]]
RECORDED = sorted(path.stem for path in CURRENT.glob("[0-9]*.json"))
Found = dict[str, list[str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """How the answers of the whole story differ from the recorded ones, by recording."""
    stage = Stage(tmp_path_factory.mktemp("current"), Stub)
    stage.plugin().wait_until_listening()
    fastgpt = stage.current("app", REHEARSAL_RETRY_SECONDS="1.5", REHEARSAL_FROM_SOURCE="1").up()
    values = {
        "<SHA256_OF_PASSWORD>": sha256(ROOT_PASSWORD),
        "<RERANK_AUTH>": "rerank-auth-1",
        RERANKER: "xinference:9997",
    }
    assert isinstance(stage.upstream, Stub)

    def restart(environment: dict[str, str]) -> httpx.Client:
        fastgpt.stop()
        return fastgpt.up(**environment).http

    replay = Replay(fastgpt.http, stage.upstream, values, restart)
    found: Found = {}
    for step, name in zip(TABLE["story"], PLAYED, strict=True):
        differences = replay.tell(step)
        if name:
            found.setdefault(name, []).extend(differences)
    yield found
    stage.stop()


@pytest.mark.parametrize("name", dict.fromkeys(filter(None, PLAYED)))
def test_the_double_answers_as_the_real_one(told: Found, name: str) -> None:
    assert told[name] == []


@pytest.mark.parametrize(
    ("field", "value", "is_seen"),
    [
        ("name", "full", False),
        ("updateTime", "added", True),
        ("name", "another", True),
        ("showCite", 1, True),
        ("teamId", 5, True),
        ("limit", {"QPM": 61, "maxUsagePoints": -1}, True),
    ],
)
def test_another_answer_is_told(field: str, value: object, is_seen: bool) -> None:
    """What the comparison would say of a link that is not as recorded."""
    name = "72-outLink-list"
    body = recorded(name)["answer"]["body"]
    body["data"][0][field] = value
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    stub = Stub()
    with httpx.Client(transport=transport, base_url="http://double") as http:
        assert bool(Replay(http, stub, {}).tell(name)) is is_seen
    stub.stop()


def test_every_recording_is_replayed(record_property: Callable[[str, object], None]) -> None:
    by_rows = sum(isinstance(step, dict) and "rows" in step for step in TABLE["story"])
    played = set(filter(None, PLAYED))
    of_all = f"{len(played)} of {len(RECORDED)} recordings replayed"
    record_property("counted", f"FastGPT 4.16.0: {of_all}, rows of {by_rows} by shape only")
    assert sorted(played) == RECORDED

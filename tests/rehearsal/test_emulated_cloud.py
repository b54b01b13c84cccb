"""The emulated cloud under the real engine: what a mocked run cannot show is that the answers of
create, read and diff fit each other, so that a second run changes nothing."""

import pytest

from rehearsal.control import World
from rehearsal.engine import EngineError
from tests.rehearsal.conftest import MakeEngine


def test_a_server_comes_stays_and_goes(bare_world: World, engine_for: MakeEngine) -> None:
    engine = engine_for("server")
    made = engine.up()
    assert made.operations == {"create": 7}
    rented = bare_world.call("servers")[0]
    assert engine.outputs()["address"] == rented["address"]
    assert rented["address"].startswith(bare_world.prefix)
    whats = sorted(line["what"] for line in bare_world.call("bill")["billable"])
    assert whats == ["disk cloud_essd 100 GiB", "server ecs.gn7i-c16g1.4xlarge"]

    # The last one in the region is ours now: nothing may make the engine look for another.
    assert set(bare_world.call("stock").values()) == {0}
    assert engine.up("--refresh").changes == 0

    engine.destroy()
    assert bare_world.call("bill")["billable"] == []
    assert bare_world.call("inventory") == []


def test_a_server_taken_back_by_the_cloud_is_seen_and_rented_anew(
    bare_world: World, engine_for: MakeEngine
) -> None:
    engine = engine_for("server")
    engine.up()
    before = engine.outputs()["address"]
    bare_world.call("release")
    seen = engine.refresh()
    assert [(op, name) for op, _, name in seen.changed] == [("delete", "server")]
    assert engine.up().operations["create"] == 1
    assert engine.outputs()["address"] != before


def test_the_cloud_says_no_in_the_providers_words(
    bare_world: World, engine_for: MakeEngine
) -> None:
    bare_world.call("set_quota", cores=8)
    engine = engine_for("server")
    with pytest.raises(EngineError, match=r"Code: QuotaExceed\.ElasticQuota"):
        engine.up()
    assert bare_world.call("bill")["billable"] == []
    bare_world.call("set_quota", cores=64)
    assert "server" in [name for _, _, name in engine.up().changed]

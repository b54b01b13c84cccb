"""The channel map in memory: stale, deadly with one bad row (docs/facts/oneapi.md §2, traps 2,
8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.oneapi.subject import OneApi, error_of
from tests.contract.upstream import Upstream

Start = Callable[..., OneApi]
ON = {"MEMORY_CACHE_ENABLED": "True"}


def test_a_new_channel_needs_a_restart(start: Start, upstream: Upstream) -> None:
    """Cache on: a new channel answers 503 though /v1/models lists it; a restart helps (trap 2)."""
    oneapi = start(**ON)
    oneapi.become_root()
    channel = oneapi.add_channel(name="c", models="m", base_url=upstream.base_url)
    refused = oneapi.chat("m")
    assert refused.status_code == 503
    assert error_of(refused)["message"] == "当前分组 default 下对于模型 m 无可用渠道"
    assert oneapi.models() == ["m"]
    assert oneapi.api("GET", f"/api/channel/test/{channel}")["success"]
    # A key that names the channel goes past the map.
    assert oneapi.chat("m", f"sk-lab-{channel}").status_code == 200
    assert oneapi.chat("m").status_code == 503
    oneapi.program.stop()
    assert start(**ON).chat("m").status_code == 200


def test_the_map_follows_after_the_sync_period(start: Start, upstream: Upstream) -> None:
    """Cache on, SYNC_FREQUENCY=1: a channel comes and goes late, by itself (§2)."""
    oneapi = start(**ON, SYNC_FREQUENCY="1")
    oneapi.become_root()
    channel = oneapi.add_channel(name="c", models="m", base_url=upstream.base_url)
    oneapi.wait_for_chat("m", 200)
    oneapi.api("PUT", "/api/channel/", {"id": channel, "status": 2})
    assert oneapi.models() == []
    oneapi.wait_for_chat("m", 503)


@pytest.mark.parametrize("value", ["false", "1", ""])
def test_the_cache_is_off_unless_true(start: Start, upstream: Upstream, value: str) -> None:
    """Only `true` turns the cache on; without it a channel routes on the next request (§1, §2)."""
    oneapi = start(MEMORY_CACHE_ENABLED=value)
    oneapi.become_root()
    oneapi.add_channel(name="c", models="m", base_url=upstream.base_url)
    assert oneapi.chat("m").status_code == 200


def test_one_bad_row_is_a_crash_loop(start: Start) -> None:
    """Cache on: a half-made row as first channel ends this and every later boot (traps 7, 8)."""
    oneapi = start(**ON, SYNC_FREQUENCY="1")
    oneapi.become_root()
    half_made = {"type": 1, "key": "none", "name": "half", "models": "m,m"}
    assert not oneapi.api("POST", "/api/channel/", half_made)["success"]
    assert oneapi.program.wait_exit() == 2
    assert "assignment to entry in nil map" in oneapi.program.log
    again = start(listens=False, **ON)
    assert again.program.wait_exit() == 2
    rescue = start()
    rescue.access_token = oneapi.access_token
    half = rescue.channels_named("half")
    assert len(half) == 1
    assert rescue.api("DELETE", f"/api/channel/{half[0]['id']}")["success"]
    rescue.program.stop()
    start(**ON)


def test_the_map_and_priorities(start: Start, upstream: Upstream) -> None:
    """Cache on: the highest priority above zero wins (§4)."""
    first = start()
    first.become_root()
    first.add_channel(name="a", models="m", base_url=upstream.base_url, key="low", priority=1)
    first.add_channel(name="b", models="m", base_url=upstream.base_url, key="high", priority=9)
    first.program.stop()
    oneapi = start(**ON)
    for _ in range(6):
        assert oneapi.chat("m").status_code == 200
    assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer high"}

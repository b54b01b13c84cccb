"""`PLUGIN=real`: what the engine is told, so that the real plugin asks the emulated region."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rehearsal import real_plugin
from rehearsal.control import World


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine with a home of its own; the operator's is elsewhere."""
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "operator"))
    return SimpleNamespace(environment={"PULUMI_HOME": str(tmp_path / "home")})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world with two attached providers."""
    ports = {"alicloud": 1, "docker": 2}
    return World(tmp_path, 1, ports, 4711, "127.9.", 22, "198.18.0.5", 3, "token")


def test_the_installed_plugin_takes_the_attached_one_s_place(
    engine: Any,
    world: World,
    tmp_path: Path,
) -> None:
    installed = tmp_path / "operator/plugins/resource-alicloud-v4.0.0"
    installed.mkdir(parents=True)
    real_plugin.use(engine, world)
    assert engine.environment["PULUMI_DEBUG_PROVIDERS"] == "docker:2"
    assert (tmp_path / "home/plugins" / installed.name).resolve() == installed
    assert engine.environment["SSL_CERT_FILE"] == str(tmp_path / "region.pem")
    endpoints = real_plugin.config(world.region_port)["alicloud:endpoints"][0]
    assert endpoints["ecs"] == endpoints["vpc"] == "127.0.0.1:4711"


def test_where_it_is_not_installed_the_command_is_named(engine: Any, world: World) -> None:
    with pytest.raises(real_plugin.NoPlugin, match=r"plugin install resource alicloud 4\.0\.0"):
        real_plugin.use(engine, world)

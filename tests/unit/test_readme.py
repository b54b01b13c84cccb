"""Both READMEs give the same commands; tests/rehearsal/test_readme.py runs them."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from tests.readme import RUN, STOP, TRY, commands

PROJECT = Path(__file__).resolve().parents[2]
ENGLISH = PROJECT / "README.md"
CHINESE = PROJECT / "README.zh-CN.md"


@pytest.mark.parametrize("section", [TRY, RUN, STOP])
def test_both_languages_give_the_same_commands(section: str) -> None:
    assert commands(ENGLISH, section).strip()
    assert commands(ENGLISH, section) == commands(CHINESE, section)


def test_the_plugins_are_those_that_the_packages_ask_for() -> None:
    named = re.findall(r"plugin install resource (\S+) v(\S+)$", commands(ENGLISH, RUN), re.M)
    installed = {name: importlib.metadata.version(f"pulumi-{name}") for name, _ in named}
    assert dict(named) == installed
    assert {"alicloud", "command", "docker"} == set(installed)

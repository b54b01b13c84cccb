"""What is said of a catalogue of models before anything is paid: `tests/cases/models.yaml`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from provisioning.cards import gpus_of
from provisioning.catalogue import Model
from provisioning.channel_problems import channel_problems
from provisioning.fastgpt_config import config_problems
from provisioning.gpu import fit
from provisioning.launch_checks import launch_problems
from provisioning.problems import Problem
from provisioning.regions import region
from provisioning.versions import xinference_release
from tests.unit.plans import cases, model

MAINLAND, ABROAD = region("cn-hangzhou", {}), region("ap-southeast-1", {})
A10 = gpus_of("ecs.gn7i-c16g1.4xlarge")
CHECKS: dict[str, Callable[[Sequence[Model]], Iterable[Problem]]] = {
    "channels": channel_problems,
    "mainland": lambda models: channel_problems(models, mainland=True),
    "launch": lambda models: launch_problems(models, MAINLAND),
    "abroad": lambda models: launch_problems(models, ABROAD),
    "successor": lambda models: launch_problems(models, ABROAD, xinference_release("4.1.0")),
    "fastgpt": config_problems,
    "memory": lambda models: fit(models, A10).problems,
}
TABLE = [(check, case) for check, given in cases("models.yaml").items() for case in given]


@pytest.mark.parametrize(("check", "case"), TABLE)
def test_what_is_said_of_a_catalogue(check: str, case: dict[str, Any]) -> None:
    told = case["models"] if "models" in case else [case["model"]]
    problems = list(CHECKS[check]([model(**each) for each in told]))
    if "at" not in case:
        assert problems == []
        return
    (problem,) = problems
    at = case["at"] if case["at"].startswith("models") else f"models[0].{case['at']}"
    assert (problem.path, problem.warning) == (at, case.get("warning", False))
    assert [words for words in case["says"] if words not in str(problem)] == []
    assert "hush" not in str(problem), "a password is not repeated"

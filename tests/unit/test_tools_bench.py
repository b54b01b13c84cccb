"""What `make bench` writes, and the programs that it compares."""

import ast
from pathlib import Path

import yaml

from tools.bench import Measured, page, programs


def test_each_program_goes_a_step_further_and_the_first_is_empty(tmp_path: Path) -> None:
    places = list(programs(tmp_path).values())
    sources = [(place / "__main__.py").read_text() for place in places]
    assert sources[0] == ""
    assert sources[2].startswith(sources[1])
    assert "from stack.server import rent_server" in sources[1]
    assert "plan(load_settings(" in sources[2]
    for source in sources:
        ast.parse(source)
    settings = yaml.safe_load((places[0] / "Pulumi.yaml").read_text())["config"]
    assert "leaseHours" in settings


def test_the_page_compares_medians() -> None:
    seconds = {"empty": [1.0, 9.0, 1.0], "planned": [1.5, 1.5, 1.5], "the lab": [2.0, 2.5, 3.0]}
    text = page(Measured(seconds, 115))
    assert "**2.50 times an empty program**, for 115 resources." in text
    assert "| empty | 1.00 | 1.00 | 1.00 to 9.00 |" in text
    assert "| planned | 0.50 | 1.50 | 1.50 to 1.50 |" in text
    assert "| the lab | 1.00 | 2.50 | 2.00 to 3.00 |" in text

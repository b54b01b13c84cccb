"""`make models`: what fits, and that what it says fits is taken by the settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from provisioning.catalogue import Model
from provisioning.gpu import fit
from provisioning.launch_checks import launch_problems
from tools.environment import ROOT
from tools.models import CannotSay, asked, fitting, main, show


def rows(**environ: str) -> Any:
    return fitting(asked(environ, ROOT))


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CARD": "T4"},
        {"CARD": "A100"},
        {"TYPE": "ecs.gn7i-8x.16xlarge"},
        {"STACK": "abroad", "MODEL": "qwen3"},
    ],
)
def test_everything_that_it_shows_is_taken_by_the_settings(environ: dict[str, str]) -> None:
    question = asked(environ, ROOT)
    found = fitting(question)
    assert found
    for row in found:
        assert fit([*question.beside, row.model], question.gpus).problems == ()
        refused = launch_problems([row.model], question.place)
        assert not [problem for problem in refused if not problem.warning]
        assert row.longest >= row.model.context


def test_the_reference_labs_own_model_fits() -> None:
    (mine,) = (row for row in rows() if row.listed.name == "qwen2.5-instruct")
    source = mine.model.xinference
    assert (source.format, source.size, source.quantization) == ("awq", 14, "Int4")
    assert source.memory_share <= 0.7


def test_one_row_a_model_and_the_most_useful_first() -> None:
    found = rows()
    names = [row.listed.name for row in found]
    assert len(names) == len(set(names))
    assert "tools" in found[0].listed.abilities
    assert not found[0].thinks
    assert found[-1].thinks
    assert "baichuan-2-chat" not in names  # not for vLLM
    assert "qwen2.5" not in names  # continues texts


def test_every_form_of_one_model() -> None:
    found = rows(MODEL="qwen3")
    assert {row.listed.name for row in found} == {"qwen3"}
    forms = {(str(row.spec.size), row.spec.format) for row in found}
    assert {("14", "awq"), ("14", "gptq"), ("8", "fp8"), ("0_6", "pytorch")} <= forms
    assert ("32", "awq") not in forms


def test_a_larger_card_holds_more() -> None:
    here, there = ({row.listed.name: row.rank for row in rows(CARD=c)} for c in ("A10", "L20"))
    assert here.keys() < there.keys()
    assert all(there[name] >= rank for name, rank in here.items())


def test_what_lies_beside_is_the_stacks(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    big = {"name": "Qwen3-Reranker-4B", "kind": "rerank", "xinference": {}}
    broken = {"name": "no kind"}
    told = {"config": {"ai-lab:models": [big, broken]}}
    (tmp_path / "Pulumi.mine.yaml").write_text(yaml.safe_dump(told))
    question = asked({"STACK": "mine"}, tmp_path)
    assert question.instance_type == "ecs.gn7i-c16g1.4xlarge"
    assert [model.name for model in question.beside] == ["Qwen3-Reranker-4B"]
    assert question.left < asked({}, ROOT).left


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STACK": "typo"}, "STACK may be abroad, cpu, dev"),
        ({"TYPE": "ecs.gn7i-c16g1.4xlarg"}, "did you mean ecs.gn7i-c16g1.4xlarge?"),
        ({"TYPE": "ecs.gn6v-c8g1.2xlarge"}, "V100"),
        ({"CARD": "H100"}, "NVIDIA L20"),
        ({"STACK": "cpu"}, "TYPE= or CARD="),
        ({"MODEL": "qwen33"}, "did you mean 'qwen3'?"),
    ],
)
def test_what_cannot_be_answered_says_why(
    environ: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CannotSay, match=said.replace("?", r"\?")):
        asked(environ, ROOT)
    assert main(environ, ROOT) == 2
    assert said in capsys.readouterr().err


def test_in_a_pipe_no_line_is_broken_and_the_entry_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main({}, ROOT) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.strip().startswith("qwen2.5-instruct "))
    assert row.split()[:4] == ["qwen2.5-instruct", "14", "awq", "Int4"]
    entry = next(line for line in lines if line.strip().startswith("- {"))
    (pasted,) = yaml.safe_load(entry)
    assert Model.model_validate(pasted) == rows()[0].model


def test_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    question = asked({"MODEL": "llama-3.3-instruct"}, ROOT)
    assert main({"MODEL": "llama-3.3-instruct"}, ROOT) == 1
    show(Console(), question, [])
    assert "larger TYPE" in capsys.readouterr().out

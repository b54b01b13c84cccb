"""`make plan`, and the reading of stack files behind it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.program import PROJECT, given
from tools.plan import main
from tools.stack_file import CannotRead, read_stack


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text((PROJECT / "Pulumi.yaml").read_text())
    (tmp_path / "documents").symlink_to(PROJECT / "documents")
    return tmp_path


def write(root: Path, key: Path, **changes: Any) -> None:
    """A stack `mine`: the reference lab with an operator's key and address, and changes."""
    config = {k: v for k, v in given("dev", key).items() if k != "region"}
    named = {f"ai-lab:{k}": v for k, v in (config | changes).items()}
    text = yaml.safe_dump({"config": {"alicloud:region": "cn-hangzhou", **named}})
    (root / "Pulumi.mine.yaml").write_text(text)


def told(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main({"STACK": "mine", "JSON": "1"}, root)
    return code, json.loads(capsys.readouterr().out)


def test_a_lab_that_can_be_built(root: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, key, tokens=[{"name": "notebook"}, {"name": "bot", "models": ["m3e-base"]}])
    assert main({"STACK": "mine"}, root) == 0
    said = capsys.readouterr().out
    for line in (
        "ecs.gn7i-c16g1.4xlarge, 1 x NVIDIA A10",
        "price an hour: CNY 12.19",
        "qwen2.5-instruct (chat): card 0, 15.5 GiB",
        "xinference-embedding: m3e-base\n",
        "notebook: every model\n  bot: m3e-base\n",
        "redis:7.2.11-alpine (warned)\n",
        "    SQL_DSN=oneapi:<mysql>@tcp(mysql:3306)/oneapi\n",
        "9997 (Xinference): 198.18.0.5/32",
        "mysql: mysql:8.4.7 (good)",
    ):
        assert line in said
    assert all("known holes" in line for line in said.partition("problems\n")[2].splitlines())


def test_files_in_oss_are_named_with_what_they_cost(
    root: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root, key, storage="oss")
    assert main({"STACK": "mine"}, root) == 0
    said = capsys.readouterr().out
    assert "files: in two buckets of OSS" in said
    assert "paid beside this price" in said
    assert "    STORAGE_SECRET_ACCESS_KEY=<storage>\n" in said
    assert told(root, capsys)[1]["plan"]["storage"] == "oss"


def test_the_reference_lab_is_shown_although_its_address_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main({}, PROJECT) == 1
    said = capsys.readouterr().out
    assert "  22 (SSH): 203.0.113.5/32\n" in said
    assert "  allowedCidrs[0]: 203.0.113.5/32 is the example" in said


def test_a_warning_is_marked_and_unknown_cards_are_not_called_the_cpu(
    root: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root, key, diskCategory="cloud_essd_entry")
    assert main({"STACK": "mine"}, root) == 0
    assert "  warning: diskCategory: " in capsys.readouterr().out
    write(root, key, instanceType="ecs.gn99-c8g1.2xlarge")
    assert main({"STACK": "mine"}, root) == 1
    assert "m3e-base (embedding): the cards are not known" in capsys.readouterr().out


def test_the_keys_for_programs(root: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, key)
    code, whole = told(root, capsys)
    assert (code, whole["stack"]) == (0, "mine")
    assert all(problem["warning"] for problem in whole["problems"])
    plan = whole["plan"]
    assert list(plan) == [
        *("region", "instanceType", "spot", "leaseHours", "gpus", "disk", "storage", "price"),
        "openPorts",
        *("images", "releases", "hostSteps", "models", "launches", "channels", "tokens"),
        "environments",
    ]
    assert plan["openPorts"]["22"] == ["198.18.0.5/32"]
    row = next(each for each in plan["releases"] if each["part"] == "oneapi")
    assert (row["release"], row["verdict"]) == ("0.6.6", "warned")
    assert plan["launches"]["m3e-base"]["model_type"] == "embedding"
    assert plan["models"][0]["cards"] == [0]
    assert plan["environments"]["pg"]["POSTGRES_PASSWORD"] == "<pg>"
    assert set(plan["environments"]) == set(plan["images"])


def test_without_anything_to_plan_with_the_problem_is_said(
    root: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change in ({"xinferenceVersion": "nine"}, {"diskSizeGiB": "much"}):
        write(root, key, **change)
        code, whole = told(root, capsys)
        assert (code, whole["plan"]) == (1, None)
        assert set(change) <= {problem["path"] for problem in whole["problems"]}


def test_a_secret_is_known_by_its_mapping_and_never_shown(
    root: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = {"name": "qwen-plus", "kind": "chat", "remote": {"provider": "dashscope"}}
    models = [*given("dev", key)["models"], remote]
    write(root, key, models=models, **{"key-dashscope": {"secure": "v1:never:shown"}})
    assert main({"STACK": "mine"}, root) == 0
    assert main({"STACK": "mine", "JSON": "1"}, root) == 0
    said = capsys.readouterr().out
    assert "with the secret key-dashscope" in said
    assert "never:shown" not in said
    write(root, key, tags={"team": {"secure": "v1:never:shown"}}, **{"key-dashscope": "in-plain"})
    code, whole = told(root, capsys)
    assert code == 1
    assert {"tags", "key-dashscope"} <= {problem["path"] for problem in whole["problems"]}
    assert "never:shown" not in json.dumps(whole)
    assert "in-plain" not in json.dumps(whole)
    remote = {"provider": "openai", "baseUrl": "https://me:never-shown@models.example"}
    write(root, key, models=[{"name": "gpt", "kind": "chat", "remote": remote}])
    assert main({"STACK": "mine"}, root) == main({"STACK": "mine", "JSON": "1"}, root) == 1
    said = capsys.readouterr().out
    assert "it holds a user name or password" in said
    assert "https://models.example" in said
    assert "never-shown" not in said


def test_scalars_stay_as_they_are_written(root: Path) -> None:
    (root / "Pulumi.mine.yaml").write_text(
        "config:\n"
        "  alicloud:region: cn-hangzhou\n"
        "  aws:region: nowhere\n"
        "  ai-lab:xinferenceVersion: 2.10\n"
        "  ai-lab:spot: yes\n"
        '  ai-lab:tokens: \'[{"name": "notebook"}]\'\n'
    )
    settings = read_stack(root, "mine").settings
    assert (settings["region"], settings["xinferenceVersion"]) == ("cn-hangzhou", "2.10")
    assert (settings["spot"], settings["diskSizeGiB"]) == ("yes", "1000")
    assert settings["tokens"] == [{"name": "notebook"}]


@pytest.mark.parametrize("text", ["config: [", "- a list", "config: text"])
def test_a_file_that_is_no_stack_s(
    root: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "Pulumi.mine.yaml").write_text(text)
    with pytest.raises(CannotRead, match=r"Pulumi\.mine\.yaml is no stack's file"):
        read_stack(root, "mine")
    assert main({"STACK": "mine"}, root) == 2
    assert "is no stack's file" in capsys.readouterr().err

"""The private copy of a stack file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal import stack_file
from tools.stack_file import CannotRead, config_of

KEY = Path("/tmp/key")


def _rewrite(**config: Any) -> stack_file.Rewritten:
    return stack_file.rewrite({f"ai-lab:{k}": v for k, v in config.items()}, KEY, 2222)


def test_every_secret_becomes_a_placeholder() -> None:
    models = [
        {"name": "a", "remote": {"provider": "dashscope"}},
        {"name": "b", "remote": {"provider": "baidu", "apiKey": "ernie"}},
        {"name": "c", "xinference": {}},
    ]
    made = stack_file.rewrite(
        {
            "ai-lab:models": models,
            "ai-lab:key-other": {"secure": "v1:AAAA"},
            "alicloud:secretKey": {"secure": "v1:BBBB"},
        },
        KEY,
        2222,
    )
    assert set(made.placeholders) == {
        "ai-lab:key-dashscope",
        "ai-lab:key-ernie",
        "ai-lab:key-other",
        "alicloud:secretKey",
    }
    assert made.placeholders["ai-lab:key-ernie"].count("|") == 1  # Baidu's keys are pairs
    assert "secure" not in str(made.config)


def test_a_secret_inside_a_list_is_refused() -> None:
    with pytest.raises(CannotRead, match="ai-lab:models holds a `secure:` value"):
        _rewrite(models=[{"name": "a", "key": {"secure": "v1:AAAA"}}])


def test_files_in_oss_are_not_rehearsed() -> None:
    with pytest.raises(CannotRead, match="has no OSS"):
        _rewrite(storage="oss")


def test_the_operator_comes_in_beside_ones_own_networks_and_instead_of_examples() -> None:
    made = _rewrite(allowedCidrs=["203.0.113.5/32", "198.51.100.0/24", "10.1.2.0/24", "nonsense"])
    assert made.config["ai-lab:allowedCidrs"] == ["10.1.2.0/24", "nonsense", "198.18.0.5/32"]


def test_key_and_port_are_the_rehearsals() -> None:
    made = _rewrite(sshKeyFile="~/.ssh/mine", sshPort=22, sshAgent=True)
    assert made.config["ai-lab:sshKeyFile"] == str(KEY)
    assert made.config["ai-lab:sshPort"] == 2222
    assert "ai-lab:sshAgent" not in made.config


def test_a_missing_stack_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}")
    with pytest.raises(CannotRead, match="STACK may be dev"):
        config_of(tmp_path / "Pulumi.mine.yaml")


def test_short_keys_get_the_projects_name_and_scalars_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text("encryptionsalt: v1:abc\nconfig: {leaseHours: 2.10, 'alicloud:region': r}")
    assert config_of(path) == {"ai-lab:leaseHours": "2.10", "alicloud:region": "r"}
    stack_file.write(tmp_path / "new", {"a": 1}, like=path)
    assert yaml.safe_load((tmp_path / "new").read_text()) == {
        "encryptionsalt": "v1:abc",
        "config": {"a": 1},
    }


def test_the_hosts_that_documents_link_to() -> None:
    links = ["https://b.example/x", "http://a.example", "https://b.example", "nonsense"]
    documents = [{"link": link} for link in links] + [{"file": "a.md"}, "nonsense"]
    config = {"ai-lab:knowledge": {"bases": [{"documents": documents}, "nonsense"]}}
    assert stack_file.linked_hosts(config) == ["a.example", "b.example"]
    assert stack_file.linked_hosts({}) == []

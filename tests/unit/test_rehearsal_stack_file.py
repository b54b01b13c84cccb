"""The private copy of a stack file."""

from pathlib import Path
from typing import Any

import pytest

from rehearsal import stack_file
from rehearsal.stack_file import StackFileError

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
    with pytest.raises(StackFileError, match="ai-lab:models holds a `secure:` value"):
        _rewrite(models=[{"name": "a", "key": {"secure": "v1:AAAA"}}])


def test_the_manuals_example_network_becomes_one_that_is_accepted() -> None:
    made = _rewrite(allowedCidrs=["203.0.113.5/32", "198.51.100.0/24"])
    assert made.config["ai-lab:allowedCidrs"] == ["198.18.0.5/32"]
    assert made.operator == "198.18.0.5"


def test_ones_own_network_is_kept_and_the_operator_is_in_it() -> None:
    made = _rewrite(allowedCidrs=["10.1.2.0/24"])
    assert made.config["ai-lab:allowedCidrs"] == ["10.1.2.0/24"]
    assert made.operator == "10.1.2.1"


def test_a_network_that_is_none_is_left_for_the_program_to_refuse() -> None:
    assert _rewrite(allowedCidrs=["nonsense"]).config["ai-lab:allowedCidrs"] == ["nonsense"]


def test_key_and_port_are_the_rehearsals() -> None:
    made = _rewrite(sshKeyFile="~/.ssh/mine", sshPort=22)
    assert made.config["ai-lab:sshKeyFile"] == str(KEY)
    assert made.config["ai-lab:sshPort"] == 2222


def test_a_missing_stack_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}")
    with pytest.raises(StackFileError, match="STACK may be dev"):
        stack_file.read(tmp_path / "Pulumi.mine.yaml")


def test_short_keys_get_the_projects_name(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text("encryptionsalt: v1:abc\nconfig: {leaseHours: 3, 'alicloud:region': r}")
    assert stack_file.read(path) == {"ai-lab:leaseHours": 3, "alicloud:region": "r"}
    assert stack_file.encryption_of(path) == {"encryptionsalt": "v1:abc"}


@pytest.mark.parametrize(
    ("knowledge", "hosts"),
    [
        ({"bases": [{"documents": [{"link": "https://b.example/x"}, {"file": "a.md"}]}]}, "b"),
        ({"bases": [{"documents": [{"link": f"http://{h}.example"}]} for h in "ab"]}, "ab"),
        ({"bases": [{"documents": [{"link": "https://[broken"}, {"link": "nonsense"}]}]}, ""),
        ({"bases": "nonsense"}, ""),
        ({"bases": ["nonsense", {"documents": ["nonsense"]}]}, ""),
        (None, ""),
    ],
)
def test_the_hosts_that_documents_link_to(knowledge: Any, hosts: str) -> None:
    found = stack_file.linked_hosts({"ai-lab:knowledge": knowledge})
    assert found == [f"{host}.example" for host in hosts]

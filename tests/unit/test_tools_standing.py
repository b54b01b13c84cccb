"""Which lab stands, and what its outputs tell."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from rehearsal import lab as rehearsed
from tools import standing
from tools.standing import CURRENT, NoLab, Stack, find_lab, read_lab, which_stack

SECRETS = ("fastgpt-secret", "oneapi-secret", "access-secret", "sk-secret")
OUTPUTS: dict[str, Any] = {
    "serverAddress": "127.0.0.9",
    "sshPort": 22,
    "sshUser": "root",
    "sshHostKey": "ssh-ed25519 AAAA",
    "sshKeyFile": "~/.ssh/id_rsa",
    "fastgptUrl": "http://127.0.0.9:3000",
    "fastgptPassword": SECRETS[0],
    "fastgptToken": SECRETS[3],
    "oneapiUrl": "http://127.0.0.9:3001",
    "oneapiPassword": SECRETS[1],
    "oneapiAccessToken": SECRETS[2],
    "xinferenceUrl": "http://127.0.0.9:9997",
    "models": [
        {"name": "qwen", "kind": "chat", "servedBy": "xinference"},
        {"name": "m3e", "kind": "embedding", "servedBy": "xinference"},
        {"name": "bge", "kind": "rerank", "servedBy": "xinference"},
        {"name": "qwen-max", "kind": "chat", "servedBy": "dashscope"},
    ],
    "shareLinks": {"Guide/visitors": "http://127.0.0.9:3000/chat/share?shareId=abc"},
    "hourlyPrice": {"total": 12.0, "currency": "CNY", "parts": {}, "note": ""},
    "leaseStarted": "2026-11-22T10:00:00Z",
    "leaseEnds": "2026-11-22T20:01:00Z",
}
REAL = Stack("dev", False, {})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose `pulumi` writes down how it was called and answers `answer`."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    pulumi = bin_dir / "pulumi"
    pulumi.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >{tmp_path}/called\nenv >{tmp_path}/environment\n'
        f"cat {tmp_path}/answer\ncat {tmp_path}/errors >&2\nexit $(cat {tmp_path}/code)\n"
    )
    pulumi.chmod(0o755)
    answer(tmp_path, json.dumps(OUTPUTS))
    monkeypatch.setattr(
        standing,
        "pulumi_environment",
        lambda environ: {**environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"},
    )
    return tmp_path


def answer(root: Path, output: str = "", errors: str = "", code: int = 0) -> None:
    for name, text in (("answer", output), ("errors", errors), ("code", str(code))):
        (root / name).write_text(text)


def leave_standing(root: Path, stack: str, pid: int) -> None:
    """As `KEEP=1 make rehearse` does, with the world in process `pid`."""
    folder = root / ".rehearsal" / "1"
    (folder / "world").mkdir(parents=True)
    world = {
        "pid": pid,
        "providers": {},
        "prefix": "127.9.",
        "ssh_port": 1,
        "region_port": 1,
        "operator": "",
        "control_port": 1,
        "token": "t",
    }
    (folder / "world" / "world.json").write_text(json.dumps(world))
    current = {
        "folder": str(folder),
        "stack": stack,
        "environment": {"PULUMI_HOME": "/rehearsal/home", "PATH": "/nowhere"},
    }
    (root / CURRENT).write_text(json.dumps(current))


def test_the_place_is_the_one_that_the_rehearsal_writes() -> None:
    assert Path(".rehearsal") / rehearsed.CURRENT == CURRENT


def test_a_living_rehearsal_goes_first_and_brings_its_own_pulumi_settings(root: Path) -> None:
    leave_standing(root, "cpu", os.getpid())

    lab = find_lab({"PULUMI_ACCESS_TOKEN": "operator", "PULUMI_HOME": "/operator"}, root)

    assert (lab.stack.name, lab.stack.rehearsed) == ("cpu", True)
    environment = (root / "environment").read_text()
    assert "PULUMI_HOME=/rehearsal/home" in environment
    assert "operator" not in environment
    assert (root / "called").read_text().strip() == (
        "stack output --json --show-secrets --stack cpu --non-interactive --color=never"
    )


def test_one_that_has_ended_is_passed_over_and_mentioned(root: Path) -> None:
    leave_standing(root, "dev", pid=2**22 + 1)
    answer(root, errors="error: no stack named 'dev' found", code=6)

    assert not which_stack({}, root).rehearsed
    with pytest.raises(
        NoLab, match=r"has ended\.\nWithout a cloud account: `KEEP=1 make rehearse`"
    ):
        find_lab({}, root)


@pytest.mark.parametrize(("stack", "is_rehearsed"), [("dev", False), ("cpu", True), ("", True)])
def test_a_stack_that_is_named_must_be_the_rehearsed_one(
    root: Path, stack: str, is_rehearsed: bool
) -> None:
    leave_standing(root, "cpu", os.getpid())
    (root / "Pulumi.dev.yaml").touch()

    found = which_stack({"STACK": stack}, root)

    assert found.rehearsed is is_rehearsed
    assert found.name == (stack or "cpu")


def test_without_rehearsal_it_is_the_stack_dev(root: Path) -> None:
    assert which_stack({}, root).name == "dev"
    (root / "Pulumi.mine.yaml").touch()
    assert which_stack({"STACK": "mine"}, root).name == "mine"


def test_a_mistyped_stack_is_called_that_before_anybody_is_asked(root: Path) -> None:
    with pytest.raises(NoLab, match=r"There is no Pulumi\.typo\.yaml"):
        find_lab({"STACK": "typo"}, root)
    assert not (root / "called").exists()


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ("error: no stack named 'dev' found", "make up STACK=dev"),
        ("error: PULUMI_ACCESS_TOKEN must be set for login", "pulumi login --local"),
        ("error: unable to find either `PULUMI_CONFIG_PASSPHRASE`", "PULUMI_CONFIG_PASSPHRASE"),
    ],
)
def test_no_outputs_says_why_and_never_what_was_printed(root: Path, errors: str, said: str) -> None:
    answer(root, output="half of a secret", errors=errors, code=255)

    with pytest.raises(NoLab) as error:
        find_lab({}, root)

    assert said in str(error.value)
    assert "half of a secret" not in str(error.value)


def test_an_empty_stack_is_no_lab_and_a_half_one_goes_on(root: Path) -> None:
    with pytest.raises(NoLab, match="No lab stands in the stack dev"):
        read_lab(REAL, {})
    half = {k: v for k, v in OUTPUTS.items() if k not in ("oneapiAccessToken", "sshHostKey")}
    with pytest.raises(NoLab, match=r"no sshHostKey, oneapiAccessToken yet\.\n`make up STACK=dev`"):
        read_lab(REAL, half)


def test_outputs_become_a_lab_that_shows_no_secret() -> None:
    lab = read_lab(REAL, OUTPUTS)

    assert lab.access_token == "access-secret"
    assert lab.server.place == "root@127.0.0.9:22"
    assert lab.server.key_file == Path.home() / ".ssh" / "id_rsa"
    assert [model.served_by for model in lab.models][-1] == "dashscope"
    assert lab.hourly_price == 12.0
    assert lab.lease_started == datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
    assert not any(secret in repr(lab) for secret in SECRETS)


def test_no_lease_no_price_no_xinference() -> None:
    lean = {
        **OUTPUTS,
        "leaseEnds": "never: ends with destroy only",
        "hourlyPrice": {"total": None, "currency": "CNY"},
    }
    del lean["xinferenceUrl"], lean["shareLinks"]

    lab = read_lab(REAL, lean)

    assert lab.lease_ends is None
    assert lab.hourly_price is None
    assert lab.xinference_url == ""
    assert lab.share_links == {}

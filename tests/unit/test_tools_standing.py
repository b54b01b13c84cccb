"""Which lab stands, and what its outputs tell."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from rehearsal import lab as rehearsed
from tests.tables import table
from tests.unit.standing import OUTPUTS, REAL, SECRETS
from tools import standing
from tools.standing import CURRENT, NoLab, find_lab, read_lab, which_stack


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
    monkeypatch.setattr("rehearsal.control.command_of", lambda pid: "python -m rehearsal.world")
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
    numbers = dict.fromkeys(("ssh_port", "region_port", "control_port"), 1)
    texts = dict.fromkeys(("prefix", "token"), "")
    world = {"pid": pid, "providers": {}, **numbers, **texts}
    (folder / "world" / "world.json").write_text(json.dumps(world))
    environment = {"PULUMI_HOME": "/rehearsal/home", "PATH": "/nowhere"}
    current = {
        "folder": str(folder),
        "stack": stack,
        "environment": environment,
        "config_file": str(folder / f"Pulumi.{stack}.yaml"),
    }
    (root / CURRENT).write_text(json.dumps(current))


def test_a_living_rehearsal_goes_first_and_brings_its_own_pulumi_settings(root: Path) -> None:
    assert Path(".rehearsal") / rehearsed.CURRENT == CURRENT
    leave_standing(root, "cpu", os.getpid())
    lab = find_lab({"PULUMI_ACCESS_TOKEN": "operator", "PULUMI_HOME": "/operator"}, root)
    assert (lab.stack.name, lab.stack.rehearsed) == ("cpu", True)
    assert lab.stack.config_file == root / ".rehearsal" / "1" / "Pulumi.cpu.yaml"
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


def test_a_stack_that_is_named_is_taken_and_a_mistyped_one_told_before_anybody_is_asked(
    root: Path,
) -> None:
    def found(**environ: str) -> tuple[str, bool]:
        stack = which_stack(environ, root)
        return stack.name, stack.rehearsed

    assert found() == ("dev", False)
    (root / "Pulumi.dev.yaml").touch()
    leave_standing(root, "cpu", os.getpid())
    assert found(STACK="dev") == ("dev", False)
    assert found(STACK="cpu") == ("cpu", True)
    assert found(STACK="") == ("cpu", True)
    with pytest.raises(NoLab, match=r"There is no Pulumi\.typo\.yaml"):
        find_lab({"STACK": "typo"}, root)
    assert not (root / "called").exists()


@table("tools_standing")
def test_no_outputs_says_why_and_never_what_was_printed(errors: str, said: str, root: Path) -> None:
    answer(root, output="half of a secret", errors=errors, code=255)

    with pytest.raises(NoLab) as error:
        find_lab({}, root)

    assert said in str(error.value)
    assert "half of a secret" not in str(error.value)


def test_outputs_become_a_lab_that_shows_no_secret() -> None:
    lab = read_lab(REAL, OUTPUTS)
    assert lab.access_token == "access-secret"
    assert lab.server.place == "root@127.0.0.9:22"
    assert lab.server.key_file == Path.home() / ".ssh" / "id_rsa"
    assert [model.served_by for model in lab.models][-1] == "dashscope"
    assert lab.hourly_price == 12.0
    assert lab.lease_started == datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
    assert not any(secret in repr(lab) for secret in SECRETS)

    price = {"total": None, "currency": "CNY"}
    lean = {**OUTPUTS, "leaseEnds": "never: ends with destroy only", "hourlyPrice": price}
    del lean["xinferenceUrl"], lean["shareLinks"]
    lab = read_lab(REAL, lean)
    assert (lab.lease_ends, lab.hourly_price) == (None, None)
    assert (lab.xinference_url, lab.share_links) == ("", {})
    with pytest.raises(NoLab, match="No lab stands in the stack dev"):
        read_lab(REAL, {})
    half = {k: v for k, v in OUTPUTS.items() if k not in ("oneapiAccessToken", "sshHostKey")}
    with pytest.raises(NoLab, match=r"no sshHostKey, oneapiAccessToken yet\.\n`make up STACK=dev`"):
        read_lab(REAL, half)

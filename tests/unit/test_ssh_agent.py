"""The setting `sshAgent`: the operator's agent signs, and no private key is an input."""

import json
import subprocess
from pathlib import Path

import pytest

from provisioning.ssh_keys import key_problems
from tests.ssh_agent import add, lock, needs_openssh, ssh_agent
from tests.unit.program import configured, make_key, run_program

pytestmark = needs_openssh


def refused(key: Path, agent: bool = True) -> list[str]:
    return [str(problem) for problem in key_problems(str(key), agent) if not problem.warning]


def test_the_agent_has_to_hold_the_key_and_to_offer_it_in_time(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    with ssh_agent():
        assert refused(key, agent=False) == []
        [problem] = refused(key)
        assert f"run `ssh-add {key}`" in problem
        add(key)
        assert refused(key) == []
        subprocess.run(["ssh-add", "-qD"], check=True)
        for number in range(6):
            other = tmp_path / f"other-{number}"
            subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", other], check=True)
            add(other)
        add(key)
        [problem] = refused(key)
        assert "offers 6 keys before" in problem
    [problem] = refused(key)
    assert f'eval "$(ssh-agent)" && ssh-add {key}' in problem


def test_an_agent_that_is_gone_is_told_before_commands_fail_by_it(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    [problem] = refused(key, agent=False)
    assert "unset SSH_AUTH_SOCK" in problem


@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_a_key_that_the_agent_holds_may_have_a_passphrase(tmp_path: Path, form: str) -> None:
    key = make_key(tmp_path)
    lock(key, form)
    with ssh_agent():
        assert "run `ssh-add" in "".join(refused(key))
        add(key)
        assert refused(key) == []
        assert "sshAgent: true" in "".join(refused(key, agent=False))


def test_no_command_is_given_the_private_key(key: Path) -> None:
    with ssh_agent():
        add(key)
        lab = run_program(configured("dev", key, {"sshAgent": True}))
    given = [r.inputs for r in (*lab.of_type(":Command"), *lab.of_type(":CopyToRemote"))]
    assert given
    assert not any({"privateKey", "agentSocketPath"} & set(one["connection"]) for one in given)
    assert "PRIVATE KEY" not in json.dumps([r.raw for r in lab.resources])

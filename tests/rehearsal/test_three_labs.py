"""The labs beside the reference one: without a GPU, and abroad. (`test_rehearse` has the third.)"""

import json
from pathlib import Path

import pytest

from rehearsal.engine import Outcome
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from tests.rehearsal.labs import ask, bill, done_to, lab_of, up

# Several runs of the engine each, on a machine that may be busy.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

# What stands in for hosts that the mainland does not reach (docs/facts/alicloud.md §3). The mirror
# in the cloud's own network is none of them: its images come with it.
MAINLAND = (
    "mirrors.aliyun.com",
    "registry.cn-",
    "registry-vpc.cn-",
    "modelscope",
    "tsinghua",
    "ustc.edu.cn",
    "daocloud",
    "1ms.run",
    "hf-mirror",
)


def stands_and_answers(lab: Lab, chat: str, embedding: str) -> Outcome:
    """A lab's whole life but for its last step; returns what the first `up` did."""
    first = up(lab)
    with Probe(lab.outputs) as probe:
        assert probe.chat(chat)["answer"]
        assert probe.embedding(embedding)["dimensions"] > 0
    said = ask(lab)
    assert "pulumi destroy" in said["answer"]
    assert said["citations"][0]["source"] == "lab-manual.pdf"
    assert done_to(lab.engine.up()) == {}, "a second up changes nothing"
    return first


def goes(lab: Lab) -> None:
    lab.engine.destroy()
    assert bill(lab) == []
    assert lab.world.call("inventory") == []
    assert lab.world.call("processes") == []


def test_a_lab_without_a_gpu(tmp_path: Path) -> None:
    with lab_of(tmp_path, "cpu") as lab:
        made = done_to(stands_and_answers(lab, "qwen-turbo", "text-embedding-v1"))
        of_a_gpu = ("xinference", "driver", "toolkit", "9997")
        assert not [name for name in made if any(word in name.lower() for word in of_a_gpu)]
        assert "xinferenceUrl" not in lab.outputs
        assert lab.world.call("servers")[0]["type"] == "ecs.c7.xlarge"
        goes(lab)


def test_a_lab_abroad_uses_no_mirror_of_the_mainland(tmp_path: Path) -> None:
    with lab_of(tmp_path, "abroad") as lab:
        stands_and_answers(lab, "qwen2.5-instruct", "m3e-base")
        server = lab.world.call("servers")[0]
        assert server["zone"].startswith("ap-southeast-1")
        assert mainland_in(json.dumps(lab.engine.export())) == []
        written = sorted(_texts(Path(server["folder"])))
        assert any("daemon.json" in name for name, _ in written), "nothing to look at"
        assert [name for name, text in written if mainland_in(text)] == []
        goes(lab)


def test_the_reference_lab_would_be_found_out() -> None:
    """The search above finds what the mainland's lab has."""
    assert mainland_in("deb https://mirrors.aliyun.com/docker-ce/linux/ubuntu jammy stable")
    assert mainland_in('{"registry-mirrors": ["https://docker.m.daocloud.io"]}')


def mainland_in(text: str) -> list[str]:
    """Mainland hosts that a text names."""
    return [host for host in MAINLAND if host in text]


def _texts(server: Path) -> list[tuple[str, str]]:
    """What the lab has written on its server: path to text."""
    found = []
    for folder in ("etc", "root"):
        for place in (server / folder).rglob("*"):
            if place.is_file() and not place.is_symlink():
                found.append((str(place.relative_to(server)), place.read_text(errors="replace")))
    return found

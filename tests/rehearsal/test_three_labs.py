"""The labs beside the reference one: without a GPU, and abroad. (`test_rehearse` has the third.)"""

import json
import re
from collections.abc import Iterator
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
MAINLAND = re.compile(
    r"mirrors\.aliyun\.com|registry(-vpc)?\.cn-|modelscope|tsinghua|ustc\.edu\.cn"
    r"|daocloud|1ms\.run|hf-mirror"
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
    with lab_of(tmp_path, "cpu", diskEncryption=True) as lab:
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
        assert not MAINLAND.search(json.dumps(lab.engine.export()))
        written = dict(_texts(Path(server["folder"])))
        assert any("daemon.json" in name for name in written), "nothing to look at"
        assert [name for name, text in written.items() if MAINLAND.search(text)] == []
        goes(lab)


def _texts(server: Path) -> Iterator[tuple[str, str]]:
    """What the lab has written on its server: path to text."""
    for place in (*server.glob("etc/**/*"), *server.glob("root/**/*")):
        if place.is_file() and not place.is_symlink():
            yield str(place.relative_to(server)), place.read_text(errors="replace")

"""The labs beside the reference one: without a GPU, and abroad. (`test_rehearse` has the third.)"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rehearsal.cloud import ACCESS_KEY, market
from rehearsal.engine import EngineError, Outcome
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from rehearsal.providers.alicloud import Client
from tests.rehearsal.labs import ask, bill, change, done_to, lab_of, up

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


def own_network(lab: Lab) -> tuple[str, str]:
    """A VPC and a vSwitch that the operator made before."""
    region = str(lab.settings["alicloud:region"])
    cloud = Client(f"127.0.0.1:{lab.world.region_port}", ACCESS_KEY, region)
    ask = partial(cloud.call, "operator", "vpc")
    vpc = ask("CreateVpc", CidrBlock="10.7.0.0/16")["VpcId"]
    place = {"VpcId": vpc, "CidrBlock": "10.7.1.0/24", "ZoneId": market.zones(region)[1]}
    return vpc, ask("CreateVSwitch", **place)["VSwitchId"]


def goes(lab: Lab, *left: str) -> None:
    lab.engine.destroy()
    assert bill(lab) == []
    assert sorted(lab.world.call("inventory")) == sorted(left)
    assert lab.world.call("processes") == []


def test_a_lab_without_a_gpu(tmp_path: Path) -> None:
    with lab_of(tmp_path, "cpu", diskEncryption=True) as lab:
        change(lab, vswitchId="vsw-gone")
        with pytest.raises(EngineError, match="vswitchId: there is no vsw-gone in cn-hangzhou"):
            up(lab)
        assert lab.world.call("inventory") == []
        network = own_network(lab)
        change(lab, vswitchId=network[1])
        made = done_to(stands_and_answers(lab, "qwen-turbo", "text-embedding-v1"))
        of_a_gpu = ("xinference", "driver", "toolkit", "9997")
        assert not [name for name in made if any(word in name.lower() for word in of_a_gpu)]
        assert "xinferenceUrl" not in lab.outputs
        server = lab.world.call("servers")[0]
        assert (server["type"], server["zone"]) == ("ecs.c7.xlarge", "cn-hangzhou-g")
        goes(lab, *network)


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

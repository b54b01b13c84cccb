"""The whole program, run once under a recording mock; what it asked for, as plain data.

Asserts belong on what is recorded here, never inside an `apply` (`docs/facts/engine.md`, "Mocks").
"""

import asyncio
import copy
import json
import os
import runpy
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pulumi
import yaml
from google.protobuf import json_format  # type: ignore[import-untyped]
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.settings import set_root_resource
from pulumi.runtime.stack import run_in_stack

PROJECT = Path(__file__).parents[2]
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
_SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"


@dataclass
class Recorded:
    """One registered resource; inputs as the engine would get them, secrets marked."""

    type: str
    name: str
    urn: str
    inputs: dict[str, Any]
    depends_on: frozenset[str]
    deleted_with: str
    replace_with: tuple[str, ...]
    custom: bool
    replace_on_changes: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False)


class Recording:
    """Everything one run asked for."""

    def __init__(self) -> None:
        self.resources: list[Recorded] = []
        self.outputs: dict[str, Any] = {}
        self.raw_outputs: dict[str, Any] = {}

    def of_type(self, ending: str) -> list[Recorded]:
        """All resources whose type ends so: `:Container`, `oneapi:Channel`."""
        return [resource for resource in self.resources if resource.type.endswith(ending)]

    def one(self, ending: str, name: str | None = None) -> Recorded:
        """The one resource of that type (and name); several or none is an error."""
        found = [r for r in self.of_type(ending) if name in (None, r.name)]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} resources {ending} {name}, wanted one")
        return found[0]

    def before(self, resource: Recorded) -> set[str]:
        """URNs of everything that must exist before `resource`, however far back."""
        by_urn = {r.urn: r for r in self.resources}
        seen: set[str] = set()
        todo = list(resource.depends_on)
        while todo:
            urn = todo.pop()
            if urn in seen:
                continue
            seen.add(urn)
            todo += by_urn[urn].depends_on if urn in by_urn else []
        return seen


class _Monitor(MockMonitor):
    def __init__(self, mocks: Mocks, recording: Recording) -> None:
        super().__init__(mocks)
        self._recording = recording

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type == "pulumi:pulumi:Stack":
            return answer
        raw = json_format.MessageToDict(request.object)
        self._recording.resources.append(
            Recorded(
                type=request.type,
                name=request.name,
                urn=answer.urn,
                inputs=_open(raw),
                depends_on=frozenset(request.dependencies),
                deleted_with=request.deletedWith,
                replace_with=tuple(request.replace_with),
                custom=request.custom,
                replace_on_changes=tuple(request.replaceOnChanges),
                raw=raw,
            )
        )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if "pulumi:pulumi:Stack" in request.urn:
            self._recording.raw_outputs = json_format.MessageToDict(request.outputs)
            self._recording.outputs = _open(self._recording.raw_outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class Cloud(Mocks):
    """Answers as the real providers do (`docs/facts/provider-states.json`), with telling values."""

    zones: tuple[str, ...] = ("cn-hangzhou-i", "cn-hangzhou-j")
    state: ClassVar[Mapping[str, Any]] = {}
    region: ClassVar[Mapping[str, Any]] = {}

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = {k: v for k, v in args.inputs.items() if v is not None}
        answers = next((_ANSWERS[end] for end in _ANSWERS if args.typ.endswith(end)), None)
        if answers is not None:
            outputs.update(answers(args))
        return f"id-{args.name}", outputs

    def call(self, args: MockCallArgs) -> Any:
        if "getInstanceTypes" in args.token:
            offered = [{"id": args.args["instanceType"], "availabilityZones": list(self.zones)}]
            return {"instanceTypes": offered if self.zones else []}
        if "getImages" in args.token:
            with_driver = "gpu" in args.args["nameRegex"]
            names = _DRIVER_IMAGES if with_driver else _PLAIN_IMAGES
            return {"images": [{"id": n, "name": n, "creationTime": n[-14:-4]} for n in names]}
        if "readStackResourceOutputs" in args.token:
            return {"outputs": self.state}
        if listed := _LISTINGS.get(args.token.rpartition(":")[2]):
            return {listed: self.region.get(listed, [])}
        if "getSwitches" in args.token and args.args.get("ids"):
            there = [id for id in args.args["ids"] if id == "vsw-mine"]
            return {
                "vswitches": [
                    {"id": id, "vpcId": "vpc-mine", "zoneId": self.zones[0]} for id in there
                ]
            }
        if "getSwitches" in args.token:
            return {"vswitches": self.region.get("vswitches", [])}
        raise AssertionError(f"an unexpected look-up: {args.token}")


_LISTINGS = {
    "getInstances": "instances",
    "getEcsDisks": "disks",
    "getEipAddresses": "addresses",
    "getEcsKeyPairs": "pairs",
    "getSecurityGroups": "groups",
    "getNetworks": "vpcs",
}
# The newest are no good: one has an old driver, one does not say which.
_DRIVER_IMAGES = [
    "ubuntu_22_04_x64_20G_gpu_580.126.09_alibase_20260801.vhd",
    "ubuntu_22_04_x64_20G_gpu_570.195.03_alibase_20260901.vhd",
    "ubuntu_24_04_x64_20G_gpu_alibase_20260902.vhd",
]
_PLAIN_IMAGES = [
    "ubuntu_22_04_x64_20G_alibase_20260801.vhd",
    "ubuntu_22_04_x64_20G_alibase_20260901.vhd",
]
_ANSWERS: dict[str, Any] = {
    ":Instance": lambda args: {
        "publicIp": "198.18.7.7",
        "privateIp": "172.16.0.9",
        "memory": 61440,
        "systemDiskId": "d-1",
    },
    ":AccessKey": lambda args: {"secret": "plain-storage-password"},
    ":EipAddress": lambda args: {"ipAddress": "198.18.7.8"},
    "lab:Password": lambda args: {"result": f"plain-{args.name}-password"},
    ":Command": lambda args: {"stdout": "", "stderr": ""},
    ":RemoteImage": lambda args: {"imageId": f"sha256:{args.name}"},
    "server:Choice": lambda args: {
        "type": args.inputs["offers"][0]["type"],
        "zone": (args.inputs["offers"][0]["zones"] or [""])[0],
        "image": (args.inputs["offers"][0]["images"] or [""])[0],
        "subnet": args.inputs["generation"] - 1,
    },
    "server:Lease": lambda args: {
        "started_at": "2026-11-22T12:00:00Z",
        "ends": "2026-11-23T12:01:00Z" if args.inputs["hours"] else "",
    },
    "server:HostKey": lambda args: {"host_key": "ssh-ed25519 AAAAhostkey"},
    "server:ContainersReady": lambda args: {"generation": 1},
    "oneapi:Root": lambda args: {"access_token": "plain-access-token"},
    "oneapi:Token": lambda args: {"key": f"sk-plain-{args.name}"},
    "fastgpt:ApiKey": lambda args: {"key": f"fastgpt-plain-{args.name}"},
    "fastgpt:Answer": lambda args: {"answer": "pulumi destroy", "citations": []},
}


def configured(
    name: str, key_file: Path, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A stack file as the program gets it: with defaults, an operator's key and address."""
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    config = {f"ai-lab:{k}": v["default"] for k, v in declared.items() if "default" in v}
    config |= yaml.safe_load((PROJECT / f"Pulumi.{name}.yaml").read_text())["config"]
    config |= {"ai-lab:allowedCidrs": ["198.18.0.5/32"], "ai-lab:sshKeyFile": str(key_file)}
    config |= {k if ":" in k else f"ai-lab:{k}": v for k, v in (changes or {}).items()}
    return config


def given(name: str, key_file: Path) -> dict[str, Any]:
    config = configured(name, key_file)
    plain = {k.removeprefix("ai-lab:"): v for k, v in config.items() if k.startswith("ai-lab:")}
    return copy.deepcopy({"region": config["alicloud:region"], **plain})


def make_key(folder: Path) -> Path:
    """An operator's SSH key without a passphrase, of the kind that the cloud's manual names."""
    key = folder / "ai-lab"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key)], check=True
    )
    return key


def run_program(
    config: Mapping[str, Any], secrets: Mapping[str, str] | None = None, cloud: Cloud | None = None
) -> Recording:
    """Run `__main__.py` once. `config`: full names to values, as in a stack file; `secrets`: full
    names to values that were set with `--secret`."""
    recording = Recording()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks = cloud or Cloud()
    monitor = _Monitor(mocks, recording)
    pulumi.runtime.set_mocks(mocks, project="ai-lab", stack="dev", preview=False, monitor=monitor)
    # The mocks bring a root of their own, which would swallow the program's outputs.
    set_root_resource(None)  # type: ignore[arg-type]
    values = {k: _flat(v) for k, v in {**config, **(secrets or {})}.items()}
    pulumi.runtime.set_all_config(values, list(secrets or {}))
    here = Path.cwd()
    os.chdir(PROJECT)
    try:
        loop.run_until_complete(run_in_stack(_program))
    finally:
        os.chdir(here)
        loop.close()
        asyncio.set_event_loop(None)
    return recording


def _program() -> None:
    runpy.run_path(str(PROJECT / "__main__.py"))


def on_server(recording: Recording) -> Iterator[Recorded]:
    """All that lives on the rented server."""
    kinds = (":Command", ":CopyToRemote", "docker:index", "dynamic/ailab/")
    elsewhere = ("server:Choice", "server:Lease", "lab:Password")
    for resource in recording.resources:
        if any(k in resource.type for k in kinds) and not resource.type.endswith(elsewhere):
            yield resource


def plain_strings(raw: Any) -> Iterator[str]:
    """Every string that is not under a secret."""
    if _is_secret(raw):
        return
    if isinstance(raw, str):
        yield raw
    for value in raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ():
        yield from plain_strings(value)


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(_SIGNATURE_KEY) == SECRET_SIGNATURE


def _open(value: Any) -> Any:
    if _is_secret(value):
        return _open(value["value"])
    if isinstance(value, dict):
        return {k: _open(v) for k, v in value.items()}
    return [_open(v) for v in value] if isinstance(value, list) else value

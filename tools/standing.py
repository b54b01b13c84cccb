"""The lab that stands: which one it is, what it says about itself.

The outputs hold passwords. They are read into memory, what is needed is taken, and the rest is
forgotten; nothing of them is written or printed here.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from provisioning.editions import EditionName
from provisioning.tunnel import SshServer
from rehearsal.control import read_world
from tools.cloud import stack_problem
from tools.environment import ROOT, NotSetUp, pulumi_environment

OUTPUT_SECONDS = 120.0
"""For the outputs: a backend in the cloud may be slow to answer."""

CURRENT = Path(".rehearsal") / "current.json"
"""Where a rehearsal that was left standing tells about itself (`rehearsal.lab.keep`)."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class NoLab(Exception):
    """There is no lab to ask or to look at; the text says why and what to do."""


@dataclass(frozen=True)
class Stack:
    """Whose outputs are read.

    Attributes:
        name: the stack's name.
        rehearsed: whether it stands on this machine, left by `KEEP=1 make rehearse`.
        environment: in which `pulumi` finds it; may hold the operator's credentials.
        ended: the rehearsal that `current.json` names has ended.
        config_file: where its settings are; None for the checkout's `Pulumi.<name>.yaml`.
    """

    name: str
    rehearsed: bool
    environment: Mapping[str, str] = field(repr=False)
    ended: bool = False
    config_file: Path | None = None

    @property
    def title(self) -> str:
        """What to call it in messages."""
        return f"{self.name} (rehearsed on this machine)" if self.rehearsed else self.name


@dataclass(frozen=True)
class ServedModel:
    """A model of the catalogue; `served_by` is `xinference` or the provider's name."""

    name: str
    kind: str
    served_by: str


@dataclass(frozen=True)
class Lab:
    """What a lab's outputs tell.

    Attributes:
        server: how its SSH server is reached.
        fastgpt_url, oneapi_url, xinference_url: from outside; the last is "" without Xinference.
        xinference_key: of its API.
        access_token: of OneAPI's management interface.
        edition: of FastGPT.
        fastgpt_password: of its user root.
        share_links: `app/link` to URL.
        releases: part to its release, `mongo` to `5.0.18`.
        hourly_price: in `currency`, an estimate; None where it is not known.
        lease_started, lease_ends: in UTC; no end where there is no lease.
    """

    stack: Stack
    server: SshServer
    fastgpt_url: str
    oneapi_url: str
    xinference_url: str
    xinference_key: str = field(repr=False)
    access_token: str = field(repr=False)
    share_links: Mapping[str, str]
    models: tuple[ServedModel, ...]
    releases: Mapping[str, str]
    hourly_price: float | None
    currency: str
    lease_started: datetime | None
    lease_ends: datetime | None
    edition: EditionName = "seeds"
    fastgpt_password: str = field(default="", repr=False)


def find_lab(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Lab:
    """The rehearsed lab where one stands, else the real one of `STACK` (default `dev`).

    A `STACK` that names another one than the rehearsed goes past the rehearsed.

    Raises:
        NoLab: none stands, or it cannot be asked for its outputs.
    """
    stack = which_stack(environ, root)
    return read_lab(stack, _outputs(stack, root))


def which_stack(environ: Mapping[str, str], root: Path) -> Stack:
    """See `find_lab`.

    Raises:
        NoLab: the tools are not set up, or nobody ever wrote down such a stack.
    """
    try:
        environment = pulumi_environment(environ)
    except NotSetUp as error:
        raise NoLab(str(error)) from None
    wanted = environ.get("STACK") or ""
    current = _current(root / CURRENT)
    name = str(current.get("stack") or "")
    fits = bool(name) and wanted in ("", name)
    if fits and read_world(Path(current["folder"]) / "world") is not None:
        theirs = _rehearsed_environment(environment, current)
        return Stack(name, True, theirs, config_file=Path(current["config_file"]))
    if wanted and (missing := stack_problem(wanted, root)):
        raise NoLab(missing)
    return Stack(wanted or "dev", False, environment, ended=fits)


def read_lab(stack: Stack, outputs: Mapping[str, Any]) -> Lab:
    """The lab that `pulumi stack output --json --show-secrets` describes.

    Raises:
        NoLab: nothing stands, or only a part of it.
    """
    missing = [name for name in _NEEDED if not outputs.get(name)]
    if len(missing) == len(_NEEDED):
        raise NoLab(f"No lab stands in the stack {stack.title}.\n{_how_to_get_one(stack)}")
    if missing:
        raise NoLab(
            f"The lab {stack.title} is not finished: it has no {', '.join(missing)} yet.\n"
            f"{up_command(stack)} goes on where it ended."
        )
    price = outputs.get("hourlyPrice") or {}
    return Lab(
        stack=stack,
        server=SshServer(
            host=str(outputs["serverAddress"]),
            port=int(outputs["sshPort"]),
            user=str(outputs["sshUser"]),
            host_key=str(outputs["sshHostKey"]),
            key_file=Path(outputs["sshKeyFile"]).expanduser(),
        ),
        fastgpt_url=str(outputs["fastgptUrl"]),
        oneapi_url=str(outputs["oneapiUrl"]),
        xinference_url=str(outputs.get("xinferenceUrl") or ""),
        xinference_key=str(outputs.get("xinferenceKey") or ""),
        access_token=str(outputs["oneapiAccessToken"]),
        share_links={name: str(url) for name, url in (outputs.get("shareLinks") or {}).items()},
        models=tuple(
            ServedModel(str(row["name"]), str(row["kind"]), str(row["servedBy"]))
            for row in outputs.get("models") or []
        ),
        # Without the verdict of that day.
        releases={
            part: str(each).partition(" ")[0]
            for part, each in (outputs.get("releases") or {}).items()
        },
        hourly_price=None if price.get("total") is None else float(price["total"]),
        currency=str(price.get("currency") or ""),
        lease_started=_moment(outputs.get("leaseStarted")),
        lease_ends=_moment(outputs.get("leaseEnds")),
        # A lab of before there were two tells none.
        edition=outputs.get("fastgptEdition") or "seeds",
        fastgpt_password=str(outputs.get("fastgptPassword") or ""),
    )


def ask_pulumi(stack: Stack, root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What a command that only reads says of the stack; what it prints may hold secrets.

    Raises:
        NoLab: it did not answer in time.
    """
    try:
        return subprocess.run(
            ["pulumi", *command, "--stack", stack.name, "--non-interactive", "--color=never"],
            cwd=root,
            env=dict(stack.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=OUTPUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoLab(
            f"`pulumi {' '.join(command[:2])}` did not answer within {OUTPUT_SECONDS:.0f} s: is "
            "the backend you logged in to within reach?"
        ) from None


def up_command(stack: Stack, options: str = "") -> str:
    """What to type to bring the lab to what the settings say."""
    if stack.rehearsed:
        # Its state is in a place of its own, which `make up` does not look at.
        return "`make rehearse-stop` and then `KEEP=1 make rehearse`"
    given = f' ARGS="{options}"' if options else ""
    return f"`make up STACK={stack.name}{given}`"


def sweep_command(stack: Stack) -> str:
    """What to type to remove what the state does not know."""
    return f"`make sweep STACK={stack.name}`"


def destroy_command(stack: Stack) -> str:
    """What to type to end the lab."""
    return "`make rehearse-stop`" if stack.rehearsed else f"`make destroy STACK={stack.name}`"


_NEEDED = (
    "serverAddress",
    "sshPort",
    "sshUser",
    "sshHostKey",
    "sshKeyFile",
    "fastgptUrl",
    "oneapiUrl",
    "oneapiAccessToken",
)


def _current(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "folder" in found else {}


def _rehearsed_environment(
    environment: Mapping[str, str], current: Mapping[str, Any]
) -> dict[str, str]:
    """`environment` with the rehearsal's Pulumi settings and none of the operator's."""
    theirs = current.get("environment") or {}
    return {
        **{k: v for k, v in environment.items() if not k.startswith("PULUMI_")},
        **{k: str(v) for k, v in theirs.items() if k.startswith("PULUMI_")},
    }


def _outputs(stack: Stack, root: Path) -> dict[str, Any]:
    answer = ask_pulumi(stack, root, "stack", "output", "--json", "--show-secrets")
    if answer.returncode:
        # Its errors hold no secrets; what it prints to the other stream would.
        raise NoLab(no_outputs(stack, answer.stderr))
    found = json.loads(answer.stdout or "{}")
    return found if isinstance(found, dict) else {}


def no_outputs(stack: Stack, errors: str, what: str = "outputs") -> str:
    """What to say where `pulumi` failed with `errors` and so did not tell `what`."""
    if no_stack(errors):
        return f"No lab stands: there is no stack {stack.name}.\n{_how_to_get_one(stack)}"
    said = f"The {what} of the stack {stack.title} cannot be read:\n{errors.strip()}"
    if "PULUMI_ACCESS_TOKEN" in errors or "login" in errors:
        said += (
            "\n\nLog in to where the lab's state is kept: `pulumi login` or `pulumi login --local`."
            f"\n{_how_to_get_one(stack)}"
        )
    return said


def no_stack(errors: str) -> bool:
    """Whether `pulumi` failed with `errors` because nothing was ever made in such a stack."""
    return "no stack named" in errors or "no previous deployment" in errors


def _how_to_get_one(stack: Stack) -> str:
    ended = "The rehearsal that was left standing has ended.\n" if stack.ended else ""
    return (
        f"{ended}Without a cloud account: `KEEP=1 make rehearse` leaves one standing here.\n"
        f"In the cloud, which costs money: `make up STACK={stack.name}`."
    )


def _moment(text: object) -> datetime | None:
    """A time of the outputs; None for `never: ...`."""
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None

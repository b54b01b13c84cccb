"""`make plan`: what a stack would rent, serve and open, and everything that is wrong with it.

python -m tools.plan          STACK and JSON in the environment

Neither Pulumi nor an account is asked: only the stack's file. Every problem is one line, `path:
what is wrong; what would be right`. The exit code: 0 the lab can be built, 1 a problem keeps it
from that (a warning does not), 2 there is no such stack.

JSON=1 writes one object for other programs. Its keys are kept:

    stack       the stack's name
    problems    [{path, wrong, right, warning}]
    plan        null where the problems leave nothing to plan with, else
      region, instanceType, spot, leaseHours (0: no end)
      gpus      null, or {card, count, memoryMiB, usableMiB}
      disk      {category, gib}
      price     {total, currency, parts, note}; an hour, amounts null where not known
      openPorts port to networks
      storage   minio or oss
      images    service to reference
      hostSteps names, in order
      releases  [{part, release, verdict, holes}]; verdict: good, warned, unknown or refused
      models    [{name, kind, servedBy, cards, neededMiB, how}]; cards by index, MiB of each
      launches  model to the body of its launch in Xinference
      channels  [{name, kind, models, baseUrl, secret}]; secret is a name, or null for Xinference
      tokens    [{name, models}]; without models: all
      environments  container to its variables; a secret's value is its name, `<mysql>`
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provisioning.plan import Plan, plan
from provisioning.ports import names
from provisioning.problems import PlanError, Problem
from provisioning.settings import Settings
from provisioning.validation import read_settings
from tools.environment import ROOT
from tools.stack_file import CannotRead, read_stack


def main(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> int:
    """The command line."""
    stack = environ.get("STACK") or "dev"
    try:
        file = read_stack(root, stack)
    except CannotRead as error:
        print(error, file=sys.stderr)
        return 2
    settings, problems = read_settings(file.settings, file.secrets, root)
    planned = _planned(settings, problems)
    if environ.get("JSON"):
        told = as_json(settings, planned) if settings and planned else None
        whole = {"stack": stack, "plan": told, "problems": [asdict(each) for each in problems]}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        lines = list(_told(settings, planned)) if settings and planned else []
        print("\n".join([*lines, *_problem_lines(problems)]))
    return 1 if any(not problem.warning for problem in problems) else 0


def _planned(settings: Settings | None, problems: list[Problem]) -> Plan | None:
    try:
        return plan(settings) if settings else None
    except PlanError as error:
        if all(problem.warning for problem in problems):
            problems.append(error.problem)
        return None


def as_json(settings: Settings, planned: Plan) -> dict[str, Any]:
    """The plan with the keys that this module's docstring names."""
    gpus = settings.gpus
    return {
        "region": planned.region.id,
        "instanceType": settings.instance_type,
        "spot": settings.spot,
        "leaseHours": settings.lease_hours,
        "gpus": gpus
        and {
            "card": gpus.card,
            "count": gpus.count,
            "memoryMiB": gpus.memory_mib,
            "usableMiB": gpus.usable_mib,
        },
        "disk": {"category": settings.disk_category, "gib": settings.disk_size_gib},
        "storage": settings.storage,
        "price": asdict(planned.price),
        "openPorts": {str(port): list(who) for port, who in planned.open_ports.items()},
        "images": {name: each.image for name, each in planned.containers.items()},
        "releases": [
            {
                "part": each.part,
                "release": each.release,
                "verdict": each.word,
                "holes": [hole.id for hole in each.holes],
            }
            for each in planned.verdicts
        ],
        "hostSteps": [step.name for step in planned.steps],
        "models": list(_models(settings, planned)),
        "launches": dict(planned.launches),
        "channels": [
            {
                "name": channel.name,
                "kind": channel.kind,
                "models": list(channel.models),
                "baseUrl": re.sub("//[^/]*@", "//", channel.base_url),
                "secret": channel.api_key,
            }
            for channel in planned.channels
        ],
        "tokens": [{"name": each.name, "models": list(each.models)} for each in settings.tokens],
        "environments": {
            name: _shown(each.environment) for name, each in planned.containers.items()
        },
    }


def _shown(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: re.sub(r"{(\w+)}", r"<\1>", environment[name]) for name in sorted(environment)}


def _models(settings: Settings, planned: Plan) -> Iterator[dict[str, Any]]:
    # Of a type whose cards nobody knows, nothing tells what lies on them.
    known = settings.gpus or not settings.wants_gpu
    rows = {row.model.name: row for row in planned.fit.rows if known}
    for model in settings.models:
        row = rows.get(model.name)
        yield {
            "name": model.name,
            "kind": model.kind,
            "servedBy": model.served_by,
            "cards": list(row.cards) if row else [],
            "neededMiB": row.needed_mib if row else 0,
            "how": row.how if row else "",
        }


def _told(settings: Settings, planned: Plan) -> Iterator[str]:
    yield from _rented(settings, planned)
    yield "models"
    for model in _models(settings, planned):
        yield f"  {model['name']} ({model['kind']}): {_where(model)}"
    if gpus := settings.gpus:
        most = f"{_gib(planned.fit.needed_mib)} of {_gib(gpus.usable_mib)} usable"
        yield f"  the fullest card has {most}, by estimate"
    yield "channels"
    for channel in planned.channels:
        key = f", with the secret {channel.api_key}" if channel.api_key else ""
        yield f"  {channel.name}: {', '.join(channel.models)}{key}"
    if settings.tokens:
        yield "tokens, beside FastGPT's"
    for token in settings.tokens:
        yield f"  {token.name}: {', '.join(token.models) or 'every model'}"
    yield "open ports"
    for port, networks in planned.open_ports.items():
        yield f"  {port} ({names(settings).get(port, 'SSH')}): {', '.join(networks)}"
    yield "containers, and their environments; <names> are secrets"
    for name, container in planned.containers.items():
        word = next((each.word for each in planned.verdicts if each.part == name), "")
        yield f"  {name}: {container.image} ({word})"
        yield from (f"    {key}={value}" for key, value in _shown(container.environment).items())


def _rented(settings: Settings, planned: Plan) -> Iterator[str]:
    price, gpus = planned.price, settings.gpus
    cards = f", {gpus.count} x {gpus.card}" if gpus else ""
    lease = f"{settings.lease_hours} h" if settings.lease_hours else "without an end"
    types = " or ".join((settings.instance_type, *settings.instance_types))
    yield f"server: {types}{cards}{', at the spot price' if settings.spot else ''}"
    where = ", ".join(filter(None, (settings.zone or planned.region.id, settings.vswitch_id)))
    yield f"  in {where}, rented {lease}"
    address = ", and an address that outlives it" if settings.elastic_ip else ""
    yield f"  {settings.disk_size_gib} GiB {settings.disk_category}{address}"
    total = "not known" if price.total is None else f"{price.currency} {price.total:.2f}"
    yield f"price an hour: {total}"
    yield f"  {price.note}"
    if settings.storage == "oss":
        yield "files: in two buckets of OSS, by a RAM user of the lab's own, paid beside this price"
        yield "  they outlive the lease, and go with `pulumi destroy`"


def _where(model: Mapping[str, Any]) -> str:
    if model["servedBy"] != "xinference":
        return f"from {model['servedBy']}"
    if not model["cards"]:
        return str(model["how"] or "the cards are not known")
    cards = ", ".join(str(card) for card in model["cards"])
    return f"card {cards}, {_gib(model['neededMiB'])} ({model['how']})"


def _problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    yield "problems" if problems else "no problems"
    for problem in problems:
        yield f"  {'warning: ' if problem.warning else ''}{problem}"


def _gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main())

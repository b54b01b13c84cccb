"""What the Describe actions tell, by `described.json`; and tags.

There, an action's `show` says how a thing of that kind looks: a string with braces is filled in
from the thing, and `Tags` is the id whose tags it bears. A caller picks things with one of the
parameters in `by`, which are fields of the answer, or the plural of one.
"""

import json
import re
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import Thing

_TABLES = json.loads(Path(__file__).with_suffix(".json").read_text())
_WHOLE = re.compile(r"\{0\.([\w.]+)\}")


def shown(kind: str, thing: object) -> Answer:
    """How the API shows a thing of that kind."""
    filled: Answer = _filled(_TABLES["shown"][kind], thing)
    return filled


def _filled(form: Any, thing: object) -> Any:  # noqa: ANN401
    if isinstance(form, dict):
        return {name: _filled(part, thing) for name, part in form.items()}
    if isinstance(form, list):
        return [_filled(part, thing) for part in form]
    if not isinstance(form, str):
        return form
    # Alone, a value keeps its type.
    whole = _WHOLE.fullmatch(form)
    return attrgetter(whole[1])(thing) if whole else form.format(thing)


def _described(name: str, cloud: Cloud, request: Request) -> Answer:
    told = _TABLES["answers"][name]
    held: dict[Any, Thing] = getattr(cloud, told["of"])
    if "one" in told:
        return _bearing_tags(cloud, name, shown(told["show"], request.named(told["one"], held)))
    here = [shown(told["show"], one) for one in held.values() if one.region == request.region]
    asked = {named.removesuffix("s"): request.listed(named) for named in told["by"]}
    rows = [
        _bearing_tags(cloud, name, row)
        for row in here
        if all(not ids or row[field] in ids for field, ids in asked.items())
        and _tagged(cloud, row, request)
    ]
    return request.page(told["rows"], rows)


def _tagged(cloud: Cloud, row: Answer, request: Request) -> bool:
    """Whether it bears all tags that the request filters by; one without a value: any value."""
    wanted = request.tags()
    has = cloud.tags.get(row["Tags"], {}) if wanted else {}
    return all(key in has and value in ("", has[key]) for key, value in wanted.items())


def _bearing_tags(cloud: Cloud, name: str, row: Answer) -> Answer:
    if "Tags" not in row:
        return row
    lead = "Tag" if name.startswith("ecs:") else ""
    pairs = cloud.tags.get(row["Tags"], {}).items()
    tags = [{f"{lead}Key": key, f"{lead}Value": value} for key, value in pairs]
    return {**row, "Tags": {"Tag": tags}}


for _name in _TABLES["answers"]:
    action(_name)(partial(_described, _name))


@action("ecs:DescribeTags")
def _tags(cloud: Cloud, request: Request) -> Answer:
    pairs = cloud.tags.get(request.text("ResourceId"), {}).items()
    return request.page("Tags.Tag", [{"TagKey": key, "TagValue": value} for key, value in pairs])


@action("ecs:TagResources")
@action("vpc:TagResources")
def _tag(cloud: Cloud, request: Request) -> None:
    for id in request.listed("ResourceId"):
        cloud.tags.setdefault(id, {}).update(request.tags())


@action("ecs:UntagResources")
@action("vpc:UnTagResources")
def _untag(cloud: Cloud, request: Request) -> None:
    for id in request.listed("ResourceId"):
        for key in request.listed("TagKey"):
            cloud.tags.get(id, {}).pop(key, None)

"""Tags of everything that has an id (a key pair: its name), under both products."""

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.rpc import Answer, Request, action


@action("ecs", "TagResources")
@action("vpc", "TagResources")
def _tag(cloud: Cloud, request: Request) -> Answer:
    for id in request.many("ResourceId"):
        cloud.tags.setdefault(id, {}).update(request.tags())
    return {}


@action("ecs", "UntagResources")
@action("vpc", "UntagResources")
def _untag(cloud: Cloud, request: Request) -> Answer:
    for id in request.many("ResourceId"):
        for key in request.many("TagKey"):
            cloud.tags.get(id, {}).pop(key, None)
    return {}


@action("ecs", "ListTagResources")
@action("vpc", "ListTagResources")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        {
            "ResourceId": id,
            "ResourceType": request.text("ResourceType"),
            "TagKey": key,
            "TagValue": value,
        }
        for id in request.many("ResourceId")
        for key, value in cloud.tags.get(id, {}).items()
    ]
    return {"TagResources": {"TagResource": rows}, "NextToken": ""}


@action("ecs", "DescribeTags")
def _describe(cloud: Cloud, request: Request) -> Answer:
    pairs = cloud.tags.get(request.text("ResourceId"), {}).items()
    return request.page("Tags", "Tag", [{"TagKey": key, "TagValue": value} for key, value in pairs])

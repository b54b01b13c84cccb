"""What FastGPT keeps files in with `storage: oss`: two buckets, and a RAM user for them alone."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_alicloud import oss, ram

from provisioning.plan import Plan
from provisioning.server_problems import OWN_TAG
from stack.part import part
from stack.server import Server

# What FastGPT's adapter calls (docs/facts/fastgpt-current.md §2), a copy being a get and a put.
_OF_BUCKETS = ("oss:ListObjects",)
_OF_OBJECTS = ("oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload")
_KINDS = ("public", "private")


def make_storage(plan: Plan, server: Server) -> Mapping[str, pulumi.Output[str]]:
    """What the containers' templates name of it; nothing where MinIO keeps the files.

    Another server gets others, and those of the last go, because what is in them is known to
    its databases alone. No bucket is open to the world: the server's network reads the public one,
    and only from there the key opens anything. At the end the key goes first, so that nothing is
    written into a bucket that is being emptied.
    """
    if plan.settings.storage != "oss":
        return {}
    parent = part("Storage")
    tags = {OWN_TAG: pulumi.get_stack(), **plan.settings.tags}
    name = server.host_key.apply(_name)
    buckets = _buckets(name, tags, parent)
    oss.BucketPolicy(
        "public-read",
        bucket=buckets["public"],
        policy=pulumi.Output.all(buckets["public"], server.network).apply(_public_policy),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    document = pulumi.Output.all([buckets[kind] for kind in _KINDS], server.network).apply(
        _user_policy
    )
    key = _key(name, document, plan.settings.password_rotation, tags, parent)
    parent.register_outputs({})
    names = {f"{kind}_bucket": buckets[kind] for kind in _KINDS}
    return {**names, "storage_id": key.id, "storage": pulumi.Output.secret(key.secret)}


def _name(host_key: str) -> str:
    """`ai-lab-dev-0123456789`: what buckets, users and policies may be called, with room for what
    follows. Buckets share their names with the whole world, the others with the account, and the
    host key is drawn, by each server anew."""
    stack = re.sub("[^a-z0-9]+", "-", pulumi.get_stack().lower())
    drawn = hashlib.sha256(host_key.encode()).hexdigest()[:10]
    return f"ai-lab-{stack[:36].strip('-')}-{drawn}"


def _buckets(
    name: pulumi.Output[str], tags: Mapping[str, str], parent: pulumi.Resource
) -> dict[str, pulumi.Output[str]]:
    return {
        kind: oss.Bucket(
            f"{kind}-bucket",
            bucket=pulumi.Output.concat(name, f"-{kind}"),
            force_destroy=True,
            server_side_encryption_rule={"sse_algorithm": "AES256"},
            tags=tags,
            opts=pulumi.ResourceOptions(parent=parent),
        ).bucket
        for kind in _KINDS
    }


def _key(
    name: pulumi.Output[str],
    document: pulumi.Output[str],
    rotation: int,
    tags: Mapping[str, str],
    parent: pulumi.Resource,
) -> ram.AccessKey:
    opts = pulumi.ResourceOptions(parent=parent)
    user = ram.User("storage-user", name=name, force=True, tags=tags, opts=opts)
    policy = ram.Policy(
        "storage-policy",
        policy_name=name,
        policy_document=document,
        force=True,
        tags=tags,
        opts=opts,
    )
    attached = ram.UserPolicyAttachment(
        "storage-policy-of-user",
        policy_name=policy.policy_name,
        policy_type="Custom",
        user_name=user.name,
        opts=opts,
    )
    return ram.AccessKey(
        "storage-key",
        user_name=user.name,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=[attached],
            replacement_trigger=rotation,
        ),
    )


def _user_policy(known: list[Any]) -> str:
    buckets, network = known
    whole = [f"acs:oss:*:*:{bucket}" for bucket in buckets]
    return _policy(
        _statement(_OF_BUCKETS, whole, network),
        _statement(_OF_OBJECTS, [f"{each}/*" for each in whole], network),
    )


def _public_policy(known: list[Any]) -> str:
    bucket, network = known
    objects = [f"acs:oss:*:*:{bucket}/*"]
    return _policy(_statement(("oss:GetObject",), objects, network) | {"Principal": ["*"]})


def _statement(actions: tuple[str, ...], resources: list[str], network: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": resources,
        "Condition": {"StringEquals": {"acs:SourceVpc": [network]}},
    }


def _policy(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "1", "Statement": statements})

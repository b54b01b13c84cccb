"""The whole program under a recording mock: where FastGPT's files are kept."""

import json
import re
from pathlib import Path

import pytest

from tests.unit.program import Recording, configured, plain_strings, run_program

IN_CLOUD = ("oss/", "ram/")


@pytest.fixture(scope="module")
def stored(key: Path) -> Recording:
    changes = {"storage": "oss", "domain": "lab.example.com", "tags": {"team": "a"}}
    return run_program(configured("dev", key, changes))


def buckets(stored: Recording) -> dict[str, str]:
    found = {r.name: r.inputs["bucket"] for r in stored.of_type("oss/bucket:Bucket")}
    return {name.removesuffix("-bucket"): bucket for name, bucket in found.items()}


def test_a_lab_with_minio_makes_nothing_of_it(lab: Recording) -> None:
    assert not [r.type for r in lab.resources if any(kind in r.type for kind in IN_CLOUD)]


def test_buckets_are_the_lab_s_own_and_go_with_it(stored: Recording) -> None:
    names = buckets(stored)
    assert set(names) == {"public", "private"}
    for kind, name in names.items():
        own = name.removesuffix(f"-{kind}")
        assert re.fullmatch("ai-lab-dev-[0-9a-f]{10}", own)
        bucket = stored.one("oss/bucket:Bucket", f"{kind}-bucket")
        assert bucket.inputs["forceDestroy"] is True
        assert bucket.inputs["tags"] == {"ai-lab": "dev", "team": "a"}
        assert bucket.inputs.get("acl") is None, "private"
    user = stored.one(":User").inputs
    assert (user["name"], user["force"], user["tags"]["ai-lab"]) == (own, True, "dev")
    assert stored.one(":Policy").inputs["policyName"] == own
    # A bucket is emptied only once nobody can write into it.
    (key,) = stored.of_type(":AccessKey")
    made = {r.urn for r in stored.resources if any(kind in r.type for kind in IN_CLOUD)}
    public = stored.one(":BucketPolicy").urn
    assert made - {key.urn, public} <= stored.before(key)
    # And another server, which its host key tells, has others.
    assert stored.one("server:HostKey").urn in stored.before(stored.one(":Bucket", "public-bucket"))


def test_the_key_opens_those_two_alone_and_from_the_lab_s_network(stored: Recording) -> None:
    names = buckets(stored)
    policy = json.loads(stored.one(":Policy").inputs["policyDocument"])
    whole = {f"acs:oss:*:*:{names[kind]}" for kind in names}
    wide, narrow = policy["Statement"]
    assert (set(wide["Resource"]), wide["Action"]) == (whole, ["oss:ListObjects"])
    assert set(narrow["Resource"]) == {f"{each}/*" for each in whole}
    assert {action.removeprefix("oss:") for action in narrow["Action"]} == {
        *("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")
    }
    public = stored.one(":BucketPolicy").inputs
    assert public["bucket"] == names["public"]
    (reading,) = json.loads(public["policy"])["Statement"]
    assert reading["Action"] == ["oss:GetObject"]
    assert reading["Resource"] == [f"acs:oss:*:*:{names['public']}/*"]
    network = stored.one("vpc/network:Network")
    for statement in (wide, narrow, reading):
        assert statement["Effect"] == "Allow"
        assert statement["Condition"] == {"StringEquals": {"acs:SourceVpc": [f"id-{network.name}"]}}
    attached = stored.one(":UserPolicyAttachment").inputs
    own = names["public"].removesuffix("-public")
    assert (attached["policyType"], attached["userName"]) == ("Custom", own)


def test_fastgpt_and_its_plugin_have_key_and_buckets_and_nobody_reads_the_key(
    stored: Recording,
) -> None:
    names = buckets(stored)
    containers = {r.name: r for r in stored.of_type(":Container")}
    assert "minio" not in containers
    assert not [r.name for r in stored.resources if "minio" in r.name]
    for name in ("fastgpt", "plugin"):
        told = dict(each.split("=", 1) for each in containers[name].inputs["envs"])
        assert {key: told[key] for key in told if key.startswith("STORAGE_")} == {
            "STORAGE_VENDOR": "oss",
            "STORAGE_REGION": "oss-cn-hangzhou",
            "STORAGE_OSS_ENDPOINT": "https://oss-cn-hangzhou-internal.aliyuncs.com",
            "STORAGE_OSS_SECURE": "true",
            "STORAGE_ACCESS_KEY_ID": "id-storage-key",
            "STORAGE_SECRET_ACCESS_KEY": "plain-storage-password",
            "STORAGE_PUBLIC_BUCKET": names["public"],
            "STORAGE_PRIVATE_BUCKET": names["private"],
        }
    assert f"PUBLIC_BUCKET={names['public']}" in containers["caddy"].inputs["envs"]
    for resource in stored.resources:
        assert not [s for s in plain_strings(resource.raw) if "plain-storage" in s], resource.name


@pytest.mark.parametrize("stack", ["Lab_One.two", "x" * 100])
def test_names_are_taken_whatever_the_stack_is_called(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stack import storage

    monkeypatch.setattr("pulumi.get_stack", lambda: stack)
    for suffix in ("-public", "-private"):
        name = storage._name("ssh-ed25519 AAAA") + suffix
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)

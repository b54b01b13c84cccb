"""Key pairs: public keys under a name, per region."""

import base64
import hashlib

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import Refusal, refusal
from rehearsal.cloud.rpc import Answer, Request, action, shown, shown_tags, tagged, to_the_minute
from rehearsal.cloud.state import KeyPair


@action("ecs", "ImportKeyPair")
def _import(cloud: Cloud, request: Request) -> Answer:
    name, public_key = request.needed("KeyPairName"), request.needed("PublicKeyBody")
    if (request.region, name) in cloud.key_pairs:
        raise Refusal(400, "KeyPair.AlreadyExist", f"The key pair {name} already exist.")
    if not public_key.startswith(("ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-")):
        raise refusal("InvalidPublicKeyBody.Malformed")
    made = KeyPair(name, public_key, cloud.now())
    cloud.key_pairs[request.region, name] = made
    cloud.tags[name] = request.tags()
    return {"KeyPairName": name, "KeyPairFingerPrint": _fingerprint(public_key)}


@action("ecs", "DescribeKeyPairs")
def _list(cloud: Cloud, request: Request) -> Answer:
    rows = [
        shown(
            "KeyPair",
            KeyPairName=pair.name,
            KeyPairFingerPrint=_fingerprint(pair.public_key),
            CreationTime=to_the_minute(pair.created),
            Tags=shown_tags(cloud, pair.name, "Tag"),
        )
        for (region, name), pair in cloud.key_pairs.items()
        if region == request.region
        and request.text("KeyPairName") in ("", name)
        and tagged(cloud, name, request)
    ]
    return request.page("KeyPairs", "KeyPair", rows)


@action("ecs", "DeleteKeyPairs")
def _delete(cloud: Cloud, request: Request) -> Answer:
    """Refused while a server has one of them."""
    for name in request.listed("KeyPairNames"):
        users = (i for i in cloud.instances.values() if i.region == request.region)
        if any(instance.key_name == name for instance in users):
            raise refusal("InvalidParameter.KeypairAlreadyAttachedInstance")
        cloud.key_pairs.pop((request.region, name), None)
        cloud.tags.pop(name, None)
    return {}


def _fingerprint(public_key: str) -> str:
    blob = public_key.split()[1]
    return hashlib.md5(base64.b64decode(blob + "==")).hexdigest()

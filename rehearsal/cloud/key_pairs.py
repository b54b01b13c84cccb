"""Key pairs: public keys under a name, per region."""

import base64
import hashlib

from rehearsal.cloud.account import Cloud
from rehearsal.cloud.refusals import Refusal, refusal
from rehearsal.cloud.rpc import Answer, Request, action
from rehearsal.cloud.state import KeyPair


@action("ecs:ImportKeyPair")
def _import(cloud: Cloud, request: Request) -> Answer:
    region, name = request.region, request.needed("KeyPairName")
    key = request.needed("PublicKeyBody")
    if (region, name) in cloud.key_pairs:
        raise Refusal(400, "KeyPair.AlreadyExist", f"The key pair {name} already exist.")
    if not key.startswith(("ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-")):
        raise refusal("InvalidPublicKeyBody.Malformed")
    try:
        blob = base64.b64decode(key.split()[1] + "==")
    except ValueError:
        raise refusal("InvalidPublicKeyBody.Malformed") from None
    made = KeyPair(
        id=name,
        region=region,
        name=name,
        created=cloud.now(),
        public_key=key,
        fingerprint=hashlib.md5(blob).hexdigest(),
    )
    cloud.key_pairs[region, name] = made
    cloud.tags[name] = request.tags()
    return {"KeyPairName": name, "KeyPairFingerPrint": made.fingerprint}


@action("ecs:DeleteKeyPairs")
def _delete(cloud: Cloud, request: Request) -> None:
    """Refused while a server has one of them."""
    for name in request.listed("KeyPairNames"):
        users = (i for i in cloud.instances.values() if i.region == request.region)
        if any(instance.key_name == name for instance in users):
            raise refusal("InvalidParameter.KeypairAlreadyAttachedInstance")
        cloud.key_pairs.pop((request.region, name), None)


@action("ecs:AttachKeyPair")
def _attach(cloud: Cloud, request: Request) -> None:
    """It gets in at the next boot."""
    name = request.needed("KeyPairName")
    if (request.region, name) not in cloud.key_pairs:
        raise refusal("InvalidKeyPair.NotFound")
    for id in request.listed("InstanceIds"):
        cloud.instance(id).key_name = name


@action("ecs:DetachKeyPair")
def _detach(cloud: Cloud, request: Request) -> None:
    for id in request.listed("InstanceIds"):
        cloud.instance(id).key_name = ""

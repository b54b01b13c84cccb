"""The rented server: network, ports, key, instance, lease, and the first contact."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_alicloud import ecs

from provisioning.plan import Plan
from provisioning.ports import page, share_page
from provisioning.prices import disk_level
from provisioning.server_problems import OWN_TAG
from provisioning.settings import Settings
from stack.adoption import what_stands
from stack.market import Offer, offers
from stack.network import Given, Order, given_switch, network, open_ports
from stack.part import dies_with, part
from stack.region import ADDRESS, JOINED, KEY, SERVER
from stack.resources.declaration import Endpoint, Login
from stack.resources.server.choice import ServerChoice
from stack.resources.server.host_key import ServerHostKey
from stack.resources.server.lease import Lease
from stack.resources.server.ready import ServerReady

USER = "root"
"""Login name on the server."""

_INSTANCE_TIMEOUTS = pulumi.CustomTimeouts(create="15m", delete="20m")


@dataclass(frozen=True)
class Server:
    """A standing server.

    Attributes:
        life: what all that lives on the server hangs on; it goes and comes with the instance.
        ready: the server answers, in this run too.
        login: the `endpoint` input of what looks at the server itself. The key that opens it is not
            part of it: it belongs to the operator, not to the state.
        address: public IPv4 address.
        network: id of the VPC that it stands in.
        host_key: its SSH host key, `ssh-ed25519 AAAA...`, known from the first contact on.
        settings: what it was rented for; its pages' addresses follow from them.
    """

    instance: ecs.Instance
    life: pulumi.Resource
    ready: pulumi.Resource
    login: Login
    address: pulumi.Output[str]
    network: pulumi.Output[str]
    host_key: pulumi.Output[str]
    lease: Lease
    settings: Settings

    def endpoint(self, port: int) -> Endpoint:
        """The `endpoint` input of what reaches a service on `port`, through one SSH tunnel."""
        return {**self.login, "port": port}

    def page(self, port: int) -> pulumi.Output[str]:
        """The address of what stands at `port`, from outside."""
        return self.address.apply(lambda host: page(self.settings, host, port))

    def share_page(self) -> pulumi.Output[str]:
        """The address that visitors have, from outside."""
        return self.address.apply(lambda host: share_page(self.settings, host))


def rent_server(plan: Plan) -> Server:
    """Everything that is rented, once the choice does not refuse it, and the server's host key."""
    order = _order(plan.settings)
    settings, given = plan.settings, given_switch(plan.settings)
    choice = _choice(order, plan, given)
    lease = Lease("lease", hours=settings.lease_hours, opts=order.opts())
    switch, group = network(order, choice, given)
    rules = open_ports(order, group, plan)
    instance = _instance(order, choice, lease, switch, group)
    address = _address(order, choice, instance)
    host_key = ServerHostKey(
        "host-key",
        host=address,
        port=settings.ssh_port,
        instance_id=instance.id,
        opts=order.opts(depends_on=rules, transformations=[dies_with(instance)]),
    )
    login: Login = {
        "host": address,
        "ssh_port": settings.ssh_port,
        "user": USER,
        "host_key": host_key.host_key,
    }
    ready = ServerReady(
        "ready", endpoint=login, opts=order.opts(transformations=[dies_with(host_key)])
    )
    order.place.register_outputs({})
    return Server(
        instance=instance,
        life=host_key,
        ready=ready,
        login=login,
        address=address,
        network=group.vpc_id,
        host_key=host_key.host_key,
        lease=lease,
        settings=settings,
    )


def _order(settings: Settings) -> Order:
    stack = pulumi.get_stack()
    name, tag = f"ai-lab-{stack}", {OWN_TAG: stack}
    # The provider never sends a changed public key (docs/facts/alicloud.md §1.1); another name
    # makes it another key pair.
    fingerprint = hashlib.sha256(settings.public_key.encode()).hexdigest()[:8]
    key_pair = f"{name}-{fingerprint}"
    standing = what_stands(settings, name, tag, key_pair)
    return Order(settings, part("Server"), name, {**tag, **settings.tags}, key_pair, standing)


def _choice(order: Order, plan: Plan, given: Given | None) -> ServerChoice:
    settings, driver, standing = order.settings, plan.release.minimum_driver, order.standing
    place, refusal = settings.zone or settings.region, pulumi.Output.from_input("")
    on_offer: pulumi.Input[Sequence[Offer]]
    if given is None:
        on_offer = pulumi.Output.from_input(offers(settings, driver))
    else:
        place = f"{place}, zone of {settings.vswitch_id}"
        on_offer = given.apply(lambda switch: offers(settings, driver, switch.zone))
        refusal = given.apply(lambda switch: switch.wrong)
    types = (settings.instance_type, *settings.instance_types)
    return ServerChoice(
        "choice",
        generation=settings.server_generation,
        offers=on_offer,
        held=standing.held,
        lost=standing.lost,
        settled=standing.settled,
        replacing=standing.replacing,
        wanted=f"{' or '.join(types)} in {place}",
        switch=settings.vswitch_id,
        edition=plan.edition,
        storage=settings.storage,
        refusal=refusal,
        region=settings.region,
        tag=order.tags[OWN_TAG],
        opts=order.opts(),
    )


def _instance(
    order: Order,
    choice: ServerChoice,
    lease: Lease,
    switch: pulumi.Output[str],
    group: ecs.SecurityGroup,
) -> ecs.Instance:
    """The server. Only another generation replaces it on purpose: a new name is a new server.

    FastGPT fetches links that strangers give it; the metadata's tokens keep it from handing those
    out. Their hop limit is 1 by default, so no container gets one. It is not set: the cloud offers
    it to invited accounts only, and where it reads back otherwise the provider would replace the
    server at every update.
    """
    settings, standing = order.settings, order.standing
    return ecs.Instance(
        "instance",
        instance_name=standing.name,
        availability_zone=choice.zone,
        image_id=choice.image,
        instance_type=standing.type or choice.type,
        vswitch_id=switch,
        security_groups=[group.id],
        key_name=_key_pair(order, choice).key_pair_name,
        **_disk(settings),
        internet_charge_type="PayByTraffic",
        internet_max_bandwidth_out=0 if settings.elastic_ip else settings.bandwidth_mbps,
        **_price(settings),
        auto_release_time=lease.ends.apply(lambda ends: ends or None),
        http_endpoint="enabled",
        http_tokens="required",
        tags=order.tags,
        volume_tags=order.tags,
        opts=order.opts(
            SERVER,
            replace_on_changes=["instanceName"],
            # The cloud tells which key of its own it took; to the provider that is a change, and
            # another server (docs/facts/alicloud.md §1.2).
            ignore_changes=[] if settings.disk_kms_key_id else ["systemDiskKmsKeyId"],
            custom_timeouts=_INSTANCE_TIMEOUTS,
        ),
    )


def _price(settings: Settings) -> dict[str, Any]:
    limit = settings.spot_price_limit
    spot = "SpotWithPriceLimit" if limit else "SpotAsPriceGo"
    return {
        "instance_charge_type": "PostPaid",
        "spot_strategy": spot if settings.spot else "NoSpot",
        "spot_price_limit": float(limit) if limit else None,
    }


def _disk(settings: Settings) -> dict[str, Any]:
    return {
        "system_disk_category": settings.disk_category,
        "system_disk_performance_level": disk_level(settings) or None,
        "system_disk_size": settings.disk_size_gib,
        # Never false: where the account encrypts whatever it makes, that would be a change, and
        # another server, at every update.
        "system_disk_encrypted": settings.disk_encryption or None,
        "system_disk_kms_key_id": settings.disk_kms_key_id or None,
    }


def _key_pair(order: Order, choice: ServerChoice) -> ecs.EcsKeyPair:
    return ecs.EcsKeyPair(
        "key",
        key_pair_name=order.key_pair,
        public_key=order.settings.public_key,
        tags=order.tags,
        opts=order.opts(KEY, depends_on=[choice]),
    )


def _address(order: Order, choice: ServerChoice, instance: ecs.Instance) -> pulumi.Output[str]:
    if not order.settings.elastic_ip:
        return instance.public_ip
    address = ecs.EipAddress(
        "address",
        address_name=order.name,
        bandwidth=str(order.settings.bandwidth_mbps),
        internet_charge_type="PayByTraffic",
        payment_type="PayAsYouGo",
        tags=order.tags,
        opts=order.opts(ADDRESS, depends_on=[choice]),
    )
    joined = ecs.EipAssociation(
        "address-of-server",
        allocation_id=address.id,
        instance_id=instance.id,
        # An address leaves the old server before the new one can have it.
        opts=order.opts(JOINED, delete_before_replace=True),
    )
    return pulumi.Output.all(address.ip_address, joined.id).apply(lambda known: str(known[0]))

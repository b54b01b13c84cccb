"""A rented server and nothing else: what the emulated cloud has to carry."""

import pulumi
import pulumi_alicloud as alicloud

config = pulumi.Config()
instance_type = config.get("type") or "ecs.gn7i-c16g1.4xlarge"

types = alicloud.ecs.get_instance_types(
    instance_type=instance_type, system_disk_category="cloud_essd"
).instance_types
zones = [zone for found in types for zone in found.availability_zones]
images = alicloud.ecs.get_images(owners="system", name_regex=r"^ubuntu_22_04_.*alibase").images
chosen_once = pulumi.ResourceOptions(
    ignore_changes=["zoneId", "availabilityZone", "autoReleaseTime"]
)

network = alicloud.vpc.Network("network", vpc_name="lab", cidr_block="172.16.0.0/16")
switch = alicloud.vpc.Switch(
    "switch",
    vpc_id=network.id,
    cidr_block="172.16.0.0/24",
    zone_id=zones[0] if zones else "",
    opts=chosen_once,
)
group = alicloud.ecs.SecurityGroup("group", security_group_name="lab", vpc_id=network.id)
alicloud.ecs.SecurityGroupRule(
    "ssh",
    security_group_id=group.id,
    type="ingress",
    ip_protocol="tcp",
    nic_type="intranet",
    port_range="22/22",
    cidr_ip="198.18.0.5/32",
)
key = alicloud.ecs.EcsKeyPair(
    "key",
    key_pair_name="lab",
    public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN4+WIQlXDz9Y2AkZx8pphaWsL4wfA3iALhLdZ901G1J",
)
server = alicloud.ecs.Instance(
    "server",
    instance_name="lab",
    instance_type=instance_type,
    availability_zone=zones[0] if zones else "",
    image_id=images[0].id,
    vswitch_id=switch.id,
    security_groups=[group.id],
    key_name=key.key_pair_name,
    system_disk_category=config.get("diskCategory") or "cloud_essd",
    system_disk_size=config.get_int("disk") or 100,
    instance_charge_type="PostPaid",
    internet_charge_type="PayByTraffic",
    internet_max_bandwidth_out=100,
    spot_strategy="NoSpot",
    auto_release_time=config.get("ends"),
    tags={"lab": "test"},
    opts=chosen_once,
)
pulumi.export("address", server.public_ip)

"""The settings: their shape. Nested shapes stand beside what they are of."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from provisioning.cards import Gpus, gpus_of
from provisioning.catalogue import Model, Shape, in_xinference
from provisioning.editions import EditionName
from provisioning.images import REFERENCE_FORMS
from provisioning.knowledge import KeyName, Knowledge

STRUCTURES = (
    "models",
    "tokens",
    "knowledge",
    "images",
    "mirrors",
    "tags",
    "allowedCidrs",
    "visitorCidrs",
    "instanceTypes",
)
"""The settings that are lists or mappings; Pulumi hands them over as JSON."""


class TokenSetting(Shape):
    """A further OneAPI token (`docs/facts/oneapi.md §5`)."""

    name: KeyName
    models: tuple[str, ...] = Field(default=(), description="What it may use; all if empty.")


_Network = Annotated[str, Field(title="a network", examples=["198.18.0.5/32"])]
_ImageReference = Annotated[str, Field(examples=[REFERENCE_FORMS])]


class Settings(Shape):
    """Every setting of a lab. Field names are those of Pulumi.yaml in snake_case."""

    region: str
    instance_type: str
    instance_types: tuple[str, ...] = ()
    zone: str = ""
    vswitch_id: str = Field(
        default="",
        pattern=r"^(vsw-[0-9a-z]+)?$",
        title="the id of a vSwitch",
        examples=["vsw-bp1s5fnvk4gn2tws0"],
    )
    image_id: str = ""
    disk_size_gib: int = Field(alias="diskSizeGiB", examples=["1000"])
    disk_category: str
    disk_performance_level: str
    disk_encryption: bool
    disk_kms_key_id: str = Field(
        default="",
        pattern=r"^[0-9a-zA-Z-]*$",
        title="the id of a key in KMS",
        examples=["key-hzz62f1cb66fa42qo7e5d"],
    )
    bandwidth_mbps: int = Field(ge=1, le=100)
    elastic_ip: bool
    spot: bool
    spot_price_limit: str = Field(
        default="",
        pattern=r"^(\d+(\.\d{1,3})?)?$",
        title="a price per hour, with a dot and at most three digits behind it",
        examples=["3.5"],
    )
    lease_hours: int = Field(ge=0, le=3 * 365 * 24 - 1)
    server_generation: int = Field(ge=1, le=999)
    tags: dict[str, str] = Field(default_factory=dict)
    allowed_cidrs: tuple[_Network, ...] = Field(
        min_length=1, title="a list of networks", examples=['["198.18.0.5/32"]']
    )
    visitor_cidrs: tuple[_Network, ...] = ()
    public_chat: bool
    let_anybody_log_in_as_root: bool
    domain: str = Field(
        default="",
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$|^$",
        title="a domain's name in small letters",
        examples=["lab.example.com"],
    )
    certificate_file: str = ""
    certificate_key_file: str = ""
    ssh_key_file: str
    ssh_agent: bool
    ssh_port: int = Field(ge=1, le=65535)
    models: tuple[Model, ...] = ()
    tokens: tuple[TokenSetting, ...] = ()
    knowledge: Knowledge = Knowledge()
    check_paid_channels: bool
    edition: EditionName
    code_sandbox: bool
    storage: Literal["minio", "oss"]
    xinference_version: str
    accept_unknown_versions: bool
    images: dict[str, _ImageReference] = Field(default_factory=dict)
    mirrors: dict[str, Any] = Field(default_factory=dict)
    model_deadline_minutes: int = Field(ge=1, le=24 * 60)
    document_deadline_minutes: int = Field(ge=1, le=24 * 60)
    password_rotation: int = Field(ge=1)

    @property
    def private_key_file(self) -> Path:
        """The operator's private SSH key."""
        return Path(self.ssh_key_file).expanduser()

    @property
    def public_key(self) -> str:
        """The operator's public SSH key, one line."""
        private = self.private_key_file
        return private.with_name(private.name + ".pub").read_text().strip()

    @property
    def gpus(self) -> Gpus | None:
        """The instance type's GPUs, or None where it has none."""
        return gpus_of(self.instance_type)

    @property
    def wants_gpu(self) -> bool:
        """Whether a model is to run on the server's cards."""
        return any(model.xinference.gpus for model in self.models if model.xinference)

    @property
    def uses_xinference(self) -> bool:
        """Whether any model is served by the lab itself."""
        return bool(in_xinference(self.models))


def parsed(key: str, value: Any) -> Any:  # noqa: ANN401 - whatever the operator wrote
    """A setting's value: a structure that was handed over as JSON, read; all else as it is."""
    if key not in STRUCTURES or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value

"""The editions of FastGPT that a lab may have: `seeds` is 4.8.8 of 2024, `current` is 4.16.

An edition is data and a client: nothing but these tables and the clients knows how they differ. Its
images stand in `images.json`, its own containers in a YAML file of its name in this folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

EditionName = Literal["seeds", "current"]
"""As the setting `edition` and the resources of FastGPT name it."""


@dataclass(frozen=True)
class Edition:
    """What is particular to one.

    Attributes:
        needs: the containers that have to be healthy before FastGPT is seeded.
        passwords: those that it has beside every lab's; each is drawn once more by a rotation.
        passwords_for_life: and those that never are.
        with_tls: FastGPT's environment beside its own, where it is served by TLS.
        with_oss: its and its plugin's environment in place of `STORAGE_*`, with `storage: oss`;
            `[region]` is the region's id.
        models_file: where FastGPT reads its models in its container; "" where they are a resource.
    """

    needs: tuple[str, ...]
    passwords: tuple[str, ...]
    passwords_for_life: tuple[str, ...] = ()
    models_file: str = ""
    with_tls: Mapping[str, str] = field(default_factory=dict)
    with_oss: Mapping[str, str] = field(default_factory=dict)


EDITIONS: Mapping[EditionName, Edition] = {
    "seeds": Edition(
        needs=("pg", "mongo", "sandbox", "fastgpt"),
        passwords=("fastgpt_login",),
        models_file="/app/data/config.json",
    ),
    "current": Edition(
        needs=("pg", "mongo", "redis", "minio", "code-sandbox", "plugin", "fastgpt"),
        passwords=(
            *("redis", "storage", "plugin", "plugin_sessions", "code_sandbox"),
            "fastgpt_callbacks",
        ),
        passwords_for_life=("fastgpt_stored",),
        with_tls={"AUTH_COOKIE_SECURE": "true"},
        # No STORAGE_EXTERNAL_ENDPOINT: the app would not start (docs/facts/fastgpt-current.md §2).
        with_oss={
            "STORAGE_VENDOR": "oss",
            "STORAGE_REGION": "oss-[region]",
            "STORAGE_OSS_ENDPOINT": "https://oss-[region]-internal.aliyuncs.com",
            "STORAGE_OSS_SECURE": "true",
            "STORAGE_ACCESS_KEY_ID": "{storage_id}",
            "STORAGE_SECRET_ACCESS_KEY": "{storage}",
            "STORAGE_PUBLIC_BUCKET": "{public_bucket}",
            "STORAGE_PRIVATE_BUCKET": "{private_bucket}",
        },
    ),
}


def containers_file(edition: EditionName) -> Path:
    """What only this edition has, in the form of `provisioning/containers.yaml`."""
    return Path(__file__).with_name(f"{edition}.yaml")

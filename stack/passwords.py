"""Every password of the lab."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from string import Formatter

import pulumi

from provisioning.editions import Edition
from stack.part import part
from stack.resources.lab.password import LabPassword


@dataclass(frozen=True)
class Passwords:
    """All secret.

    Attributes:
        pg, mongo, mysql, mysql_root: of the databases.
        mongo_key: key file of the replica set; its members know each other by it.
        oneapi_root, fastgpt_root: of user `root` in the web pages.
        xinference_key: of Xinference's API, and of user `root` in its page.
        relay_token: OneAPI's initial token, without `sk-`. Counts at the first start only, so it
            never rotates (`docs/facts/oneapi.md §2`).
        oneapi_session, fastgpt_files, fastgpt_admin: sign cookies and links.
        of_edition: by name, those that the edition of FastGPT has beside these.
    """

    pg: pulumi.Output[str]
    mongo: pulumi.Output[str]
    mongo_key: pulumi.Output[str]
    mysql: pulumi.Output[str]
    mysql_root: pulumi.Output[str]
    oneapi_root: pulumi.Output[str]
    fastgpt_root: pulumi.Output[str]
    xinference_key: pulumi.Output[str]
    relay_token: pulumi.Output[str]
    oneapi_session: pulumi.Output[str]
    fastgpt_files: pulumi.Output[str]
    fastgpt_admin: pulumi.Output[str]
    of_edition: Mapping[str, pulumi.Output[str]]

    @property
    def xinference_login(self) -> pulumi.Output[str]:
        """What a browser sends for root and the key, without `Basic `."""
        return self.xinference_key.apply(lambda key: b64encode(f"root:{key}".encode()).decode())

    def fill(self, template: str, **more: pulumi.Output[str]) -> pulumi.Output[str]:
        """The text with what it names in braces: passwords, or `more`; it depends on no others."""
        known = {**self.of_edition, **more}
        named = {name for _, name, _, _ in Formatter().parse(template) if name}
        values = {name: known[name] if name in known else getattr(self, name) for name in named}
        return pulumi.Output.format(template, **values)


OF_EVERY_EDITION = tuple(one.name for one in fields(Passwords) if one.name != "of_edition")
"""Names of the passwords that every lab has."""

# OneAPI's root takes 8 to 20 characters, its token 48 at the most (docs/facts/oneapi.md §2, §3);
# FastGPT's plugin and its call-backs take 32 or more (docs/facts/fastgpt-current.md §2).
_LENGTHS = {"mongo_key": 512, "relay_token": 48, "oneapi_session": 32}
_LENGTHS |= dict.fromkeys(("plugin", "plugin_sessions", "fastgpt_callbacks", "fastgpt_stored"), 32)
_FOR_LIFE = ("mongo_key", "relay_token")


def make_passwords(rotation: int, edition: Edition) -> Passwords:
    """All passwords of a lab. Raising `rotation` renews them, but for those that cannot follow."""
    parent = part("Passwords")
    for_life = (*_FOR_LIFE, *edition.passwords_for_life)
    of_edition = (*edition.passwords, *edition.passwords_for_life)
    made = {
        name: LabPassword(
            name.replace("_", "-"),
            length=_LENGTHS.get(name, 20),
            rotation=None if name in for_life else rotation,
            opts=pulumi.ResourceOptions(parent=parent),
        ).result
        for name in (*OF_EVERY_EDITION, *of_edition)
    }
    parent.register_outputs({})
    return Passwords(
        **{name: made[name] for name in OF_EVERY_EDITION},
        of_edition={name: made[name] for name in of_edition},
    )

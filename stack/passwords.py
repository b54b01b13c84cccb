"""Every password of the lab."""

from base64 import b64encode
from dataclasses import dataclass
from string import Formatter

import pulumi

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
        oneapi_session, fastgpt_login, fastgpt_files, fastgpt_admin: sign cookies and links.
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
    fastgpt_login: pulumi.Output[str]
    fastgpt_files: pulumi.Output[str]
    fastgpt_admin: pulumi.Output[str]

    @property
    def xinference_login(self) -> pulumi.Output[str]:
        """What a browser sends for root and the key, without `Basic `."""
        return self.xinference_key.apply(lambda key: b64encode(f"root:{key}".encode()).decode())

    def fill(self, template: str) -> pulumi.Output[str]:
        """The text with the passwords that it names in braces; it depends on no others."""
        named = {name for _, name, _, _ in Formatter().parse(template) if name}
        return pulumi.Output.format(template, **{name: getattr(self, name) for name in named})


# OneAPI's root takes 8 to 20 characters, its token 48 at the most (docs/facts/oneapi.md §2, §3).
_LENGTHS = {"mongo_key": 512, "relay_token": 48, "oneapi_session": 32}
_FOR_LIFE = ("mongo_key", "relay_token")


def make_passwords(rotation: int) -> Passwords:
    """All passwords of a lab. Raising `rotation` renews them, but for those that cannot follow."""
    parent = part("Passwords")
    made = {
        name: LabPassword(
            name.replace("_", "-"),
            length=_LENGTHS.get(name, 20),
            rotation=None if name in _FOR_LIFE else rotation,
            opts=pulumi.ResourceOptions(parent=parent),
        ).result
        for name in Passwords.__dataclass_fields__
    }
    parent.register_outputs({})
    return Passwords(**made)

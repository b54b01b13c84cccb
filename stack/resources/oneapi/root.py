"""OneAPI's user `root`: the first contact, and the access token for everything else."""

from dataclasses import dataclass, replace
from typing import Annotated

import pulumi

from provisioning.clients.errors import Unauthorized
from provisioning.clients.oneapi import FIRST_PASSWORD, OneApiClient
from stack.resources.base import LabResource
from stack.resources.declaration import OUTPUT, REACH, SECRET, Endpoint, Lab, Thing

ROOT = "root"


@dataclass(frozen=True, kw_only=True)
class Root(Thing):
    """OneAPI's user `root` with the given password (8 to 20 characters).

    Alone in logging in (20 logins per 20 minutes, successes count): once when it is made, and once
    in each refresh, because nothing else tells that the password was changed.

    Outputs: `access_token` (secret), for all management calls.
    """

    endpoint: Annotated[Endpoint, REACH]
    password: Annotated[str, SECRET]
    access_token: Annotated[str, OUTPUT, SECRET] = ""

    def create(self, lab: Lab) -> "Root":
        """Log in; with a fresh OneAPI's password first set to ours."""
        with self._client(lab, "") as client:
            try:
                # The right one first: logins are counted.
                token = client.login(ROOT, self.password)
            except Unauthorized as refused:
                token = self._first_login(client, refused)
        return replace(self, access_token=token)

    def read(self, lab: Lab) -> "Root | None":
        """Whether token and password are still the right ones. A login, once per refresh."""
        with self._client(lab, self.access_token) as client:
            try:
                client.me()
            except Unauthorized:
                client.check_database()
                # Rotated by hand, or a fresh database. Seen here, mended by `update`.
                return replace(self, access_token="")
            right = client.opens_with(ROOT, self.password)
        return self if right else replace(self, password="")

    def drift(self, lab: Lab, wanted: "Root") -> frozenset[str]:  # noqa: ARG002
        """A token that nobody accepts any more."""
        return frozenset() if self.access_token else frozenset({"access_token"})

    def update(self, lab: Lab, old: "Root", changed: frozenset[str]) -> "Root":
        """Set another password by the token; without one, make contact again."""
        if "access_token" in changed:
            return self.create(lab)
        with self._client(lab, old.access_token) as client:
            client.set_password(self.password)
        return self

    def _client(self, lab: Lab, token: str) -> OneApiClient:
        return OneApiClient(lab.address(self.endpoint), access_token=token, **lab.options)

    def _first_login(self, client: OneApiClient, refused: Unauthorized) -> str:
        try:
            token = client.login(ROOT, FIRST_PASSWORD)
        except Unauthorized:
            client.check_database()
            said = (
                f"{refused.answer}. Neither the lab's password nor a fresh OneAPI's is accepted: "
                "it was changed in the web page. Change it back there; `pulumi stack output "
                "oneapiPassword --show-secrets` tells it"
            )
            raise Unauthorized(refused.service, refused.call, said) from None
        client.set_password(self.password)
        return token


class OneApiRoot(LabResource, thing=Root, token="oneapi:Root"):
    access_token: pulumi.Output[str]

"""OneAPI's root user, channels and tokens, as resources (`docs/facts/oneapi.md`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypedDict

import pulumi
from pulumi.dynamic import Resource
from typing_extensions import override

from provisioning.clients.http import (
    Busy,
    NotFound,
    RateLimited,
    Unauthorized,
    Unexpected,
    Waiting,
    wait_until,
)
from provisioning.clients.oneapi import (
    ENABLED,
    EXHAUSTED,
    FIRST_PASSWORD,
    Channel,
    NoChannel,
    OneApiClient,
    OneApiRelay,
    Token,
    UpstreamFailed,
    clean_models,
)
from stack.resources.base import Endpoint, LabProvider, Props, changed_inputs, say, secret_outputs

ROOT = "root"
PROBE_SECONDS = 240.0
PROBE_POLL_SECONDS = 3.0
MOST_NAME_BYTES = 30
# An upstream that says one of these will say it again: wrong request, wrong key, no money.
_FINAL_UPSTREAM = frozenset({400, 401, 402, 403})


class _OneApiProvider(LabProvider):
    reach = frozenset({"endpoint", "access_token"})

    def client(self, props: Props, access_token: str | None = None) -> OneApiClient:
        token = props.get("access_token") if access_token is None else access_token
        return OneApiClient(
            self.address(props["endpoint"]),
            access_token=str(token or ""),
            transport=self.transport,
            clock=self.clock,
        )

    def needs_mending(self, olds: Props) -> frozenset[str]:
        """Outputs of the last look that no input stands for: disabled, or there twice."""
        wrong = set()
        if olds.get("status", ENABLED) != ENABLED:
            wrong.add("status")
        if olds.get("duplicates"):
            wrong.add("duplicates")
        return frozenset(wrong)


class Probe(TypedDict):
    """A real request that proves a channel: `kind` as in the catalogue, `relay_key` of root's."""

    kind: pulumi.Input[str]
    model: pulumi.Input[str]
    relay_key: pulumi.Input[str]


class OneApiRootProvider(_OneApiProvider):
    """Makes the first contact: sets root's password, hands on the access token."""

    reach = frozenset({"endpoint"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props, access_token="") as client:
            token = _log_in(client, str(props["password"]))
        return ROOT, {**props, "access_token": token}

    @override
    def look(self, props: Props) -> Props | None:
        with self.client(props) as client:
            try:
                client.me()
            except Unauthorized:
                client.check_database()
                # Rotated by hand, or a fresh database. Seen here, mended by `change`.
                return {**props, "access_token": ""}
            if not client.opens_with(ROOT, str(props["password"])):
                return {**props, "password": ""}
        return props

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        return frozenset() if olds.get("access_token") else frozenset({"access_token"})

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        if "access_token" in changed:
            return self.make(news)[1]
        token = str(olds["access_token"])
        with self.client(news, access_token=token) as client:
            client.set_password(str(news["password"]))
        return {**news, "access_token": token}

    @override
    def remove(self, props: Props) -> None:
        """Nothing: root belongs to OneAPI, and goes with its database."""

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        if "password" in news and not 8 <= len(str(news["password"])) <= 20:
            yield "password", "OneAPI takes 8 to 20 characters"


def _log_in(client: OneApiClient, password: str) -> str:
    """The access token, with `password` in force. The right one first: logins are counted."""
    try:
        return client.login(ROOT, password)
    except Unauthorized as error:
        refused = error
    try:
        token = client.login(ROOT, FIRST_PASSWORD)
    except Unauthorized:
        client.check_database()
        raise Unauthorized(
            refused.service,
            refused.call,
            f"{refused.answer}. Neither the lab's password nor a fresh OneAPI's is accepted: it "
            "was changed in the web page. Change it back there; `pulumi stack output "
            "oneapiPassword --show-secrets` tells it",
        ) from None
    client.set_password(password)
    return token


class OneApiRoot(Resource, module="lab", name="OneApiRoot"):
    """OneAPI's user `root` with the given password (8 to 20 characters).

    The only resource that ever logs in (20 logins per 20 minutes, successes count): once when it
    is made, and once in each refresh, because nothing else tells that the password was changed.

    Outputs: `access_token` (secret), for all management calls.
    """

    password: pulumi.Output[str]
    access_token: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        password: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            OneApiRootProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "password": pulumi.Output.secret(password),
                "access_token": None,
            },
            secret_outputs(opts, "password", "access_token"),
        )
        # The engine marks it as well; a test with mocks would see it in plain.
        self.access_token = pulumi.Output.secret(self.access_token)


class OneApiChannelProvider(_OneApiProvider):
    """Upserts one channel by its exact name."""

    # Which key a probe uses is only a way to the proof; `probe_of` is what it asks for.
    reach = frozenset({"endpoint", "access_token", "probe_key"})

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props) as client:
            channel_id = _upsert_channel(client, _wanted_channel(props), None)
        self._prove(props, channel_id)
        return str(props["name"]), _channel_outputs(props, channel_id)

    @override
    def look(self, props: Props) -> Props | None:
        wanted = _wanted_channel(props)
        with self.client(props) as client:
            named = client.channels_named(wanted.name)
            try:
                found = client.channel(int(props["channel_id"]))
                key = props["key"]
            except NotFound:
                if not named:
                    return None
                # Somebody made it again, with whatever key: ours has to be set.
                found, key = named[0], ""
        doubles = sum(channel.id != found.id for channel in named)
        return {**props, **_shown(props, wanted, found), "key": key, "duplicates": doubles}

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        return self.needs_mending(olds)

    @override
    def differing(self, olds: Props, news: Props) -> frozenset[str]:
        changed = changed_inputs(olds, news)
        if "probe" not in changed:
            return changed
        same_proof = _probe_of(olds.get("probe")) == _probe_of(news.get("probe"))
        return changed - {"probe"} | {"probe_key" if same_proof else "probe_of"}

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        channel_id = int(olds["channel_id"])
        if changed - self.reach - {"probe_of"}:
            with self.client(news) as client:
                channel_id = _upsert_channel(client, _wanted_channel(news), channel_id)
        self._prove(news, channel_id)
        return _channel_outputs(news, channel_id)

    @override
    def remove(self, props: Props) -> None:
        with self.client(props) as client:
            client.delete_channel(int(props["channel_id"]))
            for double in client.channels_named(str(props["name"])):
                client.delete_channel(double.id)

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        if "key" in news and not str(news["key"]).strip():
            yield "key", "OneAPI refuses an empty key; Xinference takes any"
        if "models" in news and not clean_models(news["models"]):
            yield "models", "a channel needs at least one model"
        if str(news.get("base_url") or "").rstrip("/").endswith("/v1"):
            yield "base_url", "OneAPI adds /v1 itself; leave it out"
        unrouted = sorted(set(news.get("model_mapping") or {}) - set(news.get("models") or []))
        if "models" in news and unrouted:
            yield "model_mapping", f"{', '.join(unrouted)} must be in models too"

    def _prove(self, props: Props, channel_id: int) -> None:
        """Send the probe until it goes through this channel, then until its model's name routes.

        By name alone, a channel made by hand that lists the same model could answer for ours, or
        fail for it; through ours alone, nothing shows that users reach it.
        """
        probe = props.get("probe")
        if not probe:
            return
        kind, model = str(probe["kind"]), str(probe["model"])
        with self._relay(props, channel_id) as relay:
            self._wait(
                f"a {kind} request for {model} to go through channel {props['name']}",
                lambda: _try(relay, kind, model),
                "is the model served (Xinference), and are the provider's key, address and model "
                "name right? OneAPI's web page shows the channel",
                str(props["name"]),
            )
        with self._relay(props, None) as relay:
            self._wait(
                f"a {kind} request for {model} to be routed",
                lambda: _try_by_name(relay, kind, model),
                f"channel {props['name']} itself answers. If another channel lists {model}, one "
                "made by hand, delete it in OneAPI's web page",
                str(props["name"]),
            )

    def _relay(self, props: Props, channel_id: int | None) -> OneApiRelay:
        return OneApiRelay(
            self.address(props["endpoint"]),
            str(props["probe"]["relay_key"]),
            channel_id=channel_id,
            transport=self.transport,
            clock=self.clock,
        )

    def _wait(
        self, what: str, look: Callable[[], bool | Waiting], advice: str, channel: str
    ) -> None:
        wait_until(
            what,
            look,
            service=OneApiRelay.service,
            deadline=PROBE_SECONDS,
            advice=advice,
            every=PROBE_POLL_SECONDS,
            clock=self.clock,
            progress=say(f"channel {channel}"),
        )


def _try(relay: OneApiRelay, kind: str, model: str) -> bool | Waiting:
    try:
        relay.probe(kind, model)
    except UpstreamFailed as error:
        if error.connected and error.status in _FINAL_UPSTREAM:
            raise
        return Waiting(error.answer)
    except (NoChannel, NotFound, Busy, RateLimited, Unexpected) as error:
        return Waiting(error.answer)
    return True


def _try_by_name(relay: OneApiRelay, kind: str, model: str) -> bool | Waiting:
    try:
        return _try(relay, kind, model)
    except UpstreamFailed as error:
        # Ours has just answered: this is somebody else's, and chance may choose ours next time.
        return Waiting(error.answer)


def _probe_of(probe: object) -> object:
    return (probe.get("kind"), probe.get("model")) if isinstance(probe, Mapping) else probe


def _wanted_channel(props: Props) -> Channel:
    return Channel(
        name=str(props["name"]),
        type=int(props["type"]),
        base_url=str(props.get("base_url") or "").rstrip("/"),
        models=clean_models(props["models"]),
        model_mapping=dict(props.get("model_mapping") or {}),
        priority=int(props.get("priority") or 0),
        key=str(props["key"]),
    )


def _upsert_channel(client: OneApiClient, wanted: Channel, known_id: int | None) -> int:
    """Bring the one channel of this name about; returns its id. Others of the name are removed."""
    named = client.channels_named(wanted.name)
    channel_id = _living_channel(client, known_id)
    if channel_id is None and named:
        channel_id = named[0].id
    if channel_id is None:
        return client.create_channel(wanted)
    client.update_channel(channel_id, wanted)
    for double in named:
        if double.id != channel_id:
            client.delete_channel(double.id)
    return channel_id


def _living_channel(client: OneApiClient, channel_id: int | None) -> int | None:
    if channel_id is None:
        return None
    try:
        return client.channel(channel_id).id
    except NotFound:
        return None


def _channel_outputs(props: Props, channel_id: int) -> Props:
    return {**props, "channel_id": channel_id, "status": ENABLED, "duplicates": 0}


def _shown(props: Props, wanted: Channel, found: Channel) -> Props:
    """What the channel is, in the inputs' words; an equal value keeps the form it was given in."""
    pairs: tuple[tuple[str, object, object], ...] = (
        ("name", wanted.name, found.name),
        ("type", wanted.type, found.type),
        ("base_url", wanted.base_url, found.base_url),
        ("models", list(wanted.models), list(found.models)),
        ("model_mapping", dict(wanted.model_mapping), dict(found.model_mapping)),
        ("priority", wanted.priority, found.priority),
    )
    shown = {name: props.get(name) if old == now else now for name, old, now in pairs}
    return {**shown, "status": found.status, "channel_id": found.id}


class OneApiChannel(Resource, module="lab", name="OneApiChannel"):
    """One channel: a source of models of one kind.

    Args:
        name: exact, unique; an existing channel of that name is adopted, doubles are removed.
        type: OneAPI's channel type id (1 for Xinference).
        base_url: without path; "" for the vendor's own address.
        models: public names; blanks stripped, doubles (whatever the case) dropped.
        model_mapping: public name -> upstream name.
        key: the upstream's API key; never empty (a dummy for Xinference).
        priority: the highest wins.
        probe: the request that must go through before the channel counts as made; None skips it.

    Outputs: `channel_id`, `status` (1 enabled), `duplicates`.
    """

    name: pulumi.Output[str]
    models: pulumi.Output[list[str]]
    channel_id: pulumi.Output[int]
    status: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        access_token: pulumi.Input[str],
        type: pulumi.Input[int],
        models: pulumi.Input[Sequence[pulumi.Input[str]]],
        key: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        base_url: pulumi.Input[str] = "",
        model_mapping: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        priority: pulumi.Input[int] = 0,
        probe: pulumi.Input[Probe] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            OneApiChannelProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "access_token": pulumi.Output.secret(access_token),
                "name": name if name is not None else resource_name,
                "type": type,
                "base_url": base_url,
                "models": models,
                "model_mapping": model_mapping if model_mapping is not None else {},
                "key": pulumi.Output.secret(key),
                "priority": priority,
                "probe": None if probe is None else pulumi.Output.secret(probe),
                "channel_id": None,
                "status": None,
                "duplicates": None,
            },
            secret_outputs(opts, "access_token", "key", "probe"),
        )


class OneApiTokenProvider(_OneApiProvider):
    """Upserts one relay token by its exact name."""

    @override
    def make(self, props: Props) -> tuple[str, Props]:
        with self.client(props) as client:
            token = _upsert_token(client, _wanted_token(props), None, set_quota=True)
        return str(props["name"]), _token_outputs(props, token)

    @override
    def look(self, props: Props) -> Props | None:
        wanted = _wanted_token(props)
        with self.client(props) as client:
            named = client.tokens_named(wanted.name)
            try:
                found = client.token(int(props["token_id"]))
            except NotFound:
                if not named:
                    return None
                found = named[0]
        models = props.get("models") if found.models == wanted.models else list(found.models)
        # That a quota was used up is what a quota is for, and no drift.
        used_up = found.status == EXHAUSTED and not (wanted.unlimited or found.unlimited)
        return {
            **props,
            "name": found.name,
            "models": models,
            "unlimited": found.unlimited,
            "expired_time": found.expired_time,
            "key": f"sk-{found.key}",
            "token_id": found.id,
            "status": ENABLED if used_up else found.status,
            "duplicates": sum(token.id != found.id for token in named),
        }

    @override
    def drifted(self, olds: Props, news: Props) -> frozenset[str]:
        return self.needs_mending(olds)

    @override
    def change(self, olds: Props, news: Props, changed: frozenset[str]) -> Props:
        set_quota = bool(changed & {"remain_quota", "unlimited"})
        known = int(olds["token_id"])
        with self.client(news) as client:
            token = _upsert_token(client, _wanted_token(news), known, set_quota=set_quota)
        return _token_outputs(news, token)

    @override
    def remove(self, props: Props) -> None:
        with self.client(props) as client:
            client.delete_token(int(props["token_id"]))
            for double in client.tokens_named(str(props["name"])):
                client.delete_token(double.id)

    @override
    def complaints(self, news: Props) -> Iterator[tuple[str, str]]:
        if len(str(news.get("name") or "").encode()) > MOST_NAME_BYTES:
            yield "name", f"OneAPI takes {MOST_NAME_BYTES} bytes at the most"
        if news.get("expired_time") == 0:
            yield "expired_time", "0 means expired long ago; -1 is never"


def _wanted_token(props: Props) -> Token:
    return Token(
        name=str(props["name"]),
        models=clean_models(props.get("models") or []),
        unlimited=bool(props.get("unlimited", True)),
        remain_quota=int(props.get("remain_quota") or 0),
        expired_time=int(props.get("expired_time", -1)),
    )


def _upsert_token(
    client: OneApiClient, wanted: Token, known_id: int | None, *, set_quota: bool
) -> Token:
    """Bring the one token of this name about. Others of the name are removed."""
    named = client.tokens_named(wanted.name)
    token_id = _living_token(client, known_id)
    if token_id is None and named:
        token_id = named[0].id
    if token_id is None:
        return client.create_token(wanted)
    token = client.update_token(token_id, wanted, set_quota=set_quota)
    for double in named:
        if double.id != token_id:
            client.delete_token(double.id)
    return token


def _living_token(client: OneApiClient, token_id: int | None) -> int | None:
    if token_id is None:
        return None
    try:
        return client.token(token_id).id
    except NotFound:
        return None


def _token_outputs(props: Props, token: Token) -> Props:
    return {
        **props,
        "key": f"sk-{token.key}",
        "token_id": token.id,
        "status": ENABLED,
        "duplicates": 0,
    }


class OneApiToken(Resource, module="lab", name="OneApiToken"):
    """One relay token, i.e. an API key for the lab's users.

    Args:
        name: exact, unique, at most 30 bytes.
        models: public names it may use; empty for all.
        unlimited: whether it has no quota.
        remain_quota: the quota to set, if limited; what is left of it later is not drift.
        expired_time: seconds since 1970; -1 for never.

    Outputs: `key` (secret, with `sk-`), `token_id`, `status` (1 enabled).
    """

    name: pulumi.Output[str]
    key: pulumi.Output[str]
    token_id: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        endpoint: pulumi.Input[Endpoint],
        access_token: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        models: pulumi.Input[Sequence[pulumi.Input[str]]] = (),
        unlimited: pulumi.Input[bool] = True,
        remain_quota: pulumi.Input[int] = 0,
        expired_time: pulumi.Input[int] = -1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            OneApiTokenProvider(),
            resource_name,
            {
                "endpoint": endpoint,
                "access_token": pulumi.Output.secret(access_token),
                "name": name if name is not None else resource_name,
                "models": list(models) if isinstance(models, tuple) else models,
                "unlimited": unlimited,
                "remain_quota": remain_quota,
                "expired_time": expired_time,
                "key": None,
                "token_id": None,
                "status": None,
                "duplicates": None,
            },
            secret_outputs(opts, "access_token", "key"),
        )
        # The engine marks it as well; a test with mocks would see it in plain.
        self.key = pulumi.Output.secret(self.key)

"""The lab's containers as data: databases, sandbox, OneAPI, Xinference, FastGPT.

No secret is in them: where one belongs stands its name as `<mysql>`, and the stack fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from provisioning import health
from provisioning.catalogue import Model
from provisioning.health import Health
from provisioning.host import (
    DRIVER_PROVED,
    KEYFILE_WRITTEN,
    MONGO_KEYFILE,
    VOCABULARY_FOLDER,
    VOCABULARY_WRITTEN,
    HostPlan,
    password_followed,
)
from provisioning.launch import XINFERENCE_HOME, xinference_command, xinference_environment
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.versions import XinferenceRelease

SEEDED = {
    "oneapi": ("mysql", "oneapi"),
    "fastgpt": ("pg", "mongo", "sandbox", "fastgpt"),
    "xinference": ("xinference",),
}
"""The services that are seeded, and the containers that have to be healthy for it."""

# A database writes out what it holds before it ends; it ends at once when it is done.
_DATABASE_GRACE_SECONDS = 120
# What the databases, OneAPI, FastGPT and the system itself need beside Xinference.
_MEMORY_FOR_THE_OTHERS_MIB = 10 * 1024


@dataclass(frozen=True)
class Container:
    """One container.

    Attributes:
        name: container, network alias, volume prefix, and key of its image.
        environment: values are templates; `<name>` is a secret's.
        published: port on the server to port in the container; empty for what nobody outside needs.
        data: where its named volume is mounted.
        files: path in the container to content.
        mounts: path on the server to path in the container, read-only.
        memory_mib: limit, swap included; only where one service could starve the others.
        rest_of_memory: limited to what the others leave of the server's (`memory_left`).
        gpu: whether it gets the cards, and the shared memory that engines on them want.
        grace_seconds: how long it may take to end when it is replaced; without, it is killed at
            once, and a database has to recover (`docs/facts/measured.md §3`).
        after: the containers that it needs healthy when it starts.
        steps: of the host's preparation that it needs done, beside its image.
    """

    name: str
    health: Health
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    published: Mapping[int, int] = field(default_factory=dict)
    data: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    memory_mib: int | None = None
    rest_of_memory: bool = False
    gpu: bool = False
    wait_seconds: int = 300
    grace_seconds: int | None = None
    after: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def containers(
    host: HostPlan, release: XinferenceRelease, models: Sequence[Model], config: str
) -> tuple[Container, ...]:
    """All containers of a lab, each after those that it needs.

    Args:
        config: text of FastGPT's config.json.
    """
    xinference = replace(
        _XINFERENCE,
        command=xinference_command(release),
        environment=xinference_environment(models, host.region, release),
        gpu=host.gpu,
    )
    fastgpt = replace(_FASTGPT, files={"/app/data/config.json": config})
    made = _FIXED | {"xinference": xinference, "fastgpt": fastgpt}
    return tuple(made[name] for name in NAMES if host.xinference or name != "xinference")


def memory_left(server_mib: int) -> int:
    """MiB that a server of this size has for Xinference."""
    return max(server_mib - _MEMORY_FOR_THE_OTHERS_MIB, server_mib // 2)


_PG = Container(
    name="pg",
    environment={
        "POSTGRES_USER": "fastgpt",
        "POSTGRES_PASSWORD": "<pg>",
        "POSTGRES_DB": "fastgpt",
    },
    data="/var/lib/postgresql/data",
    grace_seconds=_DATABASE_GRACE_SECONDS,
    health=health.PG,
    steps=(password_followed("pg"),),
)
_MONGO = Container(
    name="mongo",
    command=("mongod", "--replSet", "rs0", "--keyFile", "/etc/lab/keyfile", "--bind_ip_all"),
    environment={
        "MONGO_INITDB_ROOT_USERNAME": "fastgpt",
        "MONGO_INITDB_ROOT_PASSWORD": "<mongo>",
    },
    data="/data/db",
    mounts={f"/root/{MONGO_KEYFILE.rsplit('/', 1)[0]}": "/etc/lab"},
    grace_seconds=_DATABASE_GRACE_SECONDS,
    health=health.MONGO,
    steps=(KEYFILE_WRITTEN, password_followed("mongo")),
)
_MYSQL = Container(
    name="mysql",
    environment={
        "MYSQL_ROOT_PASSWORD": "<mysql_root>",
        "MYSQL_DATABASE": "oneapi",
        "MYSQL_USER": "oneapi",
        "MYSQL_PASSWORD": "<mysql>",
    },
    data="/var/lib/mysql",
    grace_seconds=_DATABASE_GRACE_SECONDS,
    health=health.MYSQL,
    steps=(password_followed("mysql"),),
)
_SANDBOX = Container(
    name="sandbox",
    health=health.SANDBOX,
    memory_mib=1024,  # it runs code that app authors wrote
)
_ONEAPI = Container(
    name="oneapi",
    environment={
        "SQL_DSN": "oneapi:<mysql>@tcp(mysql:3306)/oneapi",
        "SESSION_SECRET": "<oneapi_session>",
        "INITIAL_ROOT_TOKEN": "<relay_token>",
        "TIKTOKEN_CACHE_DIR": "/vocabulary",
        # The seeding, the health check and the operator share one address and so one limit.
        "GLOBAL_API_RATE_LIMIT": "20000",
        "GLOBAL_WEB_RATE_LIMIT": "2000",
        # MEMORY_CACHE_ENABLED stays unset: with it a new channel is not found for ten minutes.
        "TZ": "Asia/Shanghai",
    },
    data="/data",
    mounts={f"/root/{VOCABULARY_FOLDER}": "/vocabulary"},
    published={ONEAPI_PORT: 3000},
    health=health.ONEAPI,
    after=("mysql",),
    steps=(VOCABULARY_WRITTEN,),
)
_XINFERENCE = Container(
    name="xinference",
    data=XINFERENCE_HOME,
    published={XINFERENCE_PORT: 9997},
    rest_of_memory=True,
    wait_seconds=900,
    health=health.XINFERENCE,
    steps=(DRIVER_PROVED,),
)
_FASTGPT = Container(
    name="fastgpt",
    environment={
        "DEFAULT_ROOT_PSW": "<fastgpt_root>",
        "OPENAI_BASE_URL": "http://oneapi:3000/v1",
        "CHAT_API_KEY": "sk-<relay_token>",
        "TOKEN_KEY": "<fastgpt_login>",
        "FILE_TOKEN_KEY": "<fastgpt_files>",
        "ROOT_KEY": "<fastgpt_admin>",
        "MONGODB_URI": "mongodb://fastgpt:<mongo>@mongo:27017/fastgpt?authSource=admin",
        "PG_URL": "postgresql://fastgpt:<pg>@pg:5432/fastgpt",
        "SANDBOX_URL": "http://sandbox:3000",
        "DB_MAX_LINK": "30",
        "LOG_LEVEL": "info",
        "STORE_LOG_LEVEL": "warn",
        # Docker sets HOSTNAME to the container's id, and the server would listen on that name only.
        "HOSTNAME": "0.0.0.0",  # noqa: S104
        "TZ": "Asia/Shanghai",
    },
    published={FASTGPT_PORT: 3000},
    wait_seconds=600,
    health=health.FASTGPT,
    after=("pg", "mongo", "sandbox", "oneapi"),
)
_FIXED = {
    each.name: each for each in (_PG, _MONGO, _MYSQL, _SANDBOX, _ONEAPI, _XINFERENCE, _FASTGPT)
}
NAMES = tuple(_FIXED)
"""Of all containers that a lab may have: what others need comes first."""

"""The lab's services as containers: databases, sandbox, OneAPI, Xinference, FastGPT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi
import pulumi_docker as docker

from provisioning import health
from provisioning.host import MONGO_KEYFILE, VOCABULARY_FOLDER
from provisioning.images import Images
from provisioning.launch import (
    XINFERENCE_HOME,
    xinference_command,
    xinference_environment,
)
from provisioning.openssh import ssh_options
from provisioning.plan import Plan
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, XINFERENCE_PORT
from provisioning.settings import Settings
from stack.containers import Containers, Service
from stack.endpoints import login
from stack.host import Host
from stack.part import part
from stack.passwords import Passwords
from stack.resources.server.containers_ready import ServerContainersReady
from stack.server import Server

# What the databases, OneAPI, FastGPT and the system itself need beside Xinference.
_MEMORY_FOR_THE_REST_MIB = 10 * 1024
# A database writes out what it holds before it ends; it ends at once when it is done.
_DATABASE_GRACE_SECONDS = 120
_LONGEST_WAIT_SECONDS = 900


@dataclass(frozen=True)
class Services:
    """The running services.

    Attributes:
        oneapi, fastgpt, xinference: what others seed, healthy with all it needs beside it;
            Xinference only where used.
        oneapi_password, fastgpt_password: of user `root`, secret.
        relay_key: FastGPT's key for OneAPI, with `sk-`, secret.
    """

    oneapi: ServerContainersReady
    fastgpt: ServerContainersReady
    xinference: ServerContainersReady | None
    oneapi_password: pulumi.Output[str]
    fastgpt_password: pulumi.Output[str]
    relay_key: pulumi.Output[str]


def run_services(
    settings: Settings,
    plan: Plan,
    server: Server,
    host: Host,
    passwords: Passwords,
    lab: pulumi.Resource,
) -> Services:
    """Create every container; each is healthy when this is done."""
    parent = part("Services", lab)
    containers = Containers(host, _docker(settings, server, host, parent), parent)
    chosen = plan.images
    pg = containers.run(_pg(chosen, passwords.pg), after=[host.db_password["pg"]])
    mongo = containers.run(
        _mongo(chosen, passwords.mongo), after=[host.mongo_key, host.db_password["mongo"]]
    )
    mysql = containers.run(_mysql(chosen, passwords), after=[host.db_password["mysql"]])
    sandbox = containers.run(_sandbox(chosen))
    oneapi = containers.run(_oneapi(chosen, passwords), after=[mysql, host.vocabulary])
    xinference = None
    if settings.uses_xinference:
        xinference = containers.run(_xinference(settings, plan, server), after=[host.proven])
    fastgpt = containers.run(_fastgpt(plan, passwords), after=[pg, mongo, sandbox, oneapi])
    ready = partial(_ready, server, parent)
    parent.register_outputs({})
    return Services(
        oneapi=ready("oneapi", {"mysql": mysql, "oneapi": oneapi}),
        fastgpt=ready(
            "fastgpt", {"pg": pg, "mongo": mongo, "sandbox": sandbox, "fastgpt": fastgpt}
        ),
        xinference=ready("xinference", {"xinference": xinference}) if xinference else None,
        oneapi_password=passwords.oneapi_root,
        fastgpt_password=passwords.fastgpt_root,
        relay_key=pulumi.Output.concat("sk-", passwords.relay_token),
    )


def _ready(
    server: Server,
    parent: pulumi.Resource,
    name: str,
    containers: Mapping[str, docker.Container],
) -> ServerContainersReady:
    return ServerContainersReady(
        f"{name}-healthy",
        endpoint=login(server),
        containers={each: container.id for each, container in containers.items()},
        wait_seconds=_LONGEST_WAIT_SECONDS,
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _docker(
    settings: Settings, server: Server, host: Host, parent: pulumi.Resource
) -> docker.Provider:
    # The provider dials as soon as it is configured, so its address waits for Docker.
    address = pulumi.Output.all(server.address, host.docker_ready.stdout).apply(
        lambda known: f"ssh://{server.user}@{known[0]}:{server.ssh_port}"
    )
    return docker.Provider(
        "docker",
        host=address,
        ssh_opts=server.host_key.apply(lambda key: ssh_options(settings.private_key_file, key)),
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _pg(chosen: Images, password: pulumi.Output[str]) -> Service:
    return Service(
        name="pg",
        image=chosen.pg,
        envs={
            "POSTGRES_USER": "fastgpt",
            "POSTGRES_PASSWORD": password,
            "POSTGRES_DB": "fastgpt",
        },
        data="/var/lib/postgresql/data",
        grace_seconds=_DATABASE_GRACE_SECONDS,
        health=health.PG,
    )


def _mongo(chosen: Images, password: pulumi.Output[str]) -> Service:
    return Service(
        name="mongo",
        image=chosen.mongo,
        command=("mongod", "--replSet", "rs0", "--keyFile", "/etc/lab/keyfile", "--bind_ip_all"),
        envs={
            "MONGO_INITDB_ROOT_USERNAME": "fastgpt",
            "MONGO_INITDB_ROOT_PASSWORD": password,
        },
        data="/data/db",
        mounts={f"/root/{MONGO_KEYFILE.rsplit('/', 1)[0]}": "/etc/lab"},
        grace_seconds=_DATABASE_GRACE_SECONDS,
        health=health.MONGO,
    )


def _mysql(chosen: Images, passwords: Passwords) -> Service:
    return Service(
        name="mysql",
        image=chosen.mysql,
        envs={
            "MYSQL_ROOT_PASSWORD": passwords.mysql_root,
            "MYSQL_DATABASE": "oneapi",
            "MYSQL_USER": "oneapi",
            "MYSQL_PASSWORD": passwords.mysql,
        },
        data="/var/lib/mysql",
        grace_seconds=_DATABASE_GRACE_SECONDS,
        health=health.MYSQL,
    )


def _sandbox(chosen: Images) -> Service:
    return Service(
        name="sandbox",
        image=chosen.sandbox,
        health=health.SANDBOX,
        memory_mib=1024,  # it runs code that app authors wrote
    )


def _oneapi(chosen: Images, passwords: Passwords) -> Service:
    return Service(
        name="oneapi",
        image=chosen.oneapi,
        envs={
            "SQL_DSN": pulumi.Output.concat("oneapi:", passwords.mysql, "@tcp(mysql:3306)/oneapi"),
            "SESSION_SECRET": passwords.oneapi_session,
            "INITIAL_ROOT_TOKEN": passwords.relay_token,
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
    )


def _xinference(settings: Settings, plan: Plan, server: Server) -> Service:
    return Service(
        name="xinference",
        image=plan.images.xinference,
        command=xinference_command(plan.release),
        envs=xinference_environment(settings.models, plan.region, plan.release),
        data=XINFERENCE_HOME,
        published={XINFERENCE_PORT: 9997},
        gpus="all" if settings.gpus else None,
        shared_memory_mib=8192 if settings.gpus else None,
        memory_mib=server.instance.memory.apply(_what_is_left),
        wait_seconds=900,
        health=health.XINFERENCE,
    )


def _what_is_left(server_mib: int) -> int:
    return max(int(server_mib) - _MEMORY_FOR_THE_REST_MIB, int(server_mib) // 2)


def _fastgpt(plan: Plan, passwords: Passwords) -> Service:
    envs: dict[str, Any] = {
        "DEFAULT_ROOT_PSW": passwords.fastgpt_root,
        "OPENAI_BASE_URL": "http://oneapi:3000/v1",
        "CHAT_API_KEY": pulumi.Output.concat("sk-", passwords.relay_token),
        "TOKEN_KEY": passwords.fastgpt_login,
        "FILE_TOKEN_KEY": passwords.fastgpt_files,
        "ROOT_KEY": passwords.fastgpt_admin,
        "MONGODB_URI": pulumi.Output.concat(
            "mongodb://fastgpt:", passwords.mongo, "@mongo:27017/fastgpt?authSource=admin"
        ),
        "PG_URL": pulumi.Output.concat("postgresql://fastgpt:", passwords.pg, "@pg:5432/fastgpt"),
        "SANDBOX_URL": "http://sandbox:3000",
        "DB_MAX_LINK": "30",
        "LOG_LEVEL": "info",
        "STORE_LOG_LEVEL": "warn",
        # Docker sets HOSTNAME to the container's id, and the server would listen on that name only.
        "HOSTNAME": "0.0.0.0",  # noqa: S104
        "TZ": "Asia/Shanghai",
    }
    return Service(
        name="fastgpt",
        image=plan.images.fastgpt,
        envs=envs,
        files={"/app/data/config.json": plan.fastgpt_config},
        published={FASTGPT_PORT: 3000},
        wait_seconds=600,
        health=health.FASTGPT,
    )

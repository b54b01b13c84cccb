"""The server prepared: Docker ready, GPU seen, images pulled. Only commands over SSH."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_command as command

from provisioning.host import (
    DATABASE_SECRETS,
    DOCKER_INSTALLED,
    DOCKER_READY,
    DRIVER_PROVED,
    KEYFILE_WRITTEN,
    VOCABULARY_FOLDER,
    Step,
    image_pulled,
    password_followed,
    pulled_services,
)
from provisioning.plan import Plan
from provisioning.settings import Settings
from provisioning.vocabulary import (
    VOCABULARY_NAME,
    VOCABULARY_SHA256,
    VocabularyError,
    vocabulary_file,
)
from stack.endpoints import login
from stack.part import part
from stack.passwords import Passwords
from stack.resources.server.file import ServerFile
from stack.server import Server

# Together about five minutes: a server that boots refuses at first, and 1.2.1 counts every dial.
_DIALS = 60
_SECONDS_PER_DIAL = 15


@dataclass(frozen=True)
class Host:
    """A prepared server.

    Attributes:
        docker_ready: Docker runs with its final configuration.
        proven: driver and GPU were seen, on the host and in a container.
        mongo_key: MongoDB's key file is in place.
        vocabulary: OneAPI's token vocabulary is in place.
        pulled: by service, its image is on the server.
        db_password: by database, a standing one has its present password.
    """

    docker_ready: command.remote.Command
    proven: command.remote.Command
    mongo_key: command.remote.Command
    vocabulary: ServerFile
    pulled: Mapping[str, command.remote.Command]
    db_password: Mapping[str, command.remote.Command]


def prepare_host(
    settings: Settings, plan: Plan, server: Server, passwords: Passwords, lab: pulumi.Resource
) -> Host:
    """Run the steps of `provisioning/host`; each runs again when its content changes."""
    parent = part("Host", lab)
    runner = _Runner(settings, server, passwords, parent)
    done: dict[str, command.remote.Command] = {}
    for step in plan.steps:
        done[step.name] = runner.run(step, done)
    parent.register_outputs({})
    return Host(
        docker_ready=done[DOCKER_READY],
        proven=done[DRIVER_PROVED],
        mongo_key=done[KEYFILE_WRITTEN],
        vocabulary=_vocabulary(server, parent, done[DOCKER_INSTALLED]),
        pulled={name: done[image_pulled(name)] for name in pulled_services(plan.host)},
        db_password={name: done[password_followed(name)] for name in DATABASE_SECRETS},
    )


def _vocabulary(server: Server, parent: pulumi.Resource, after: pulumi.Resource) -> ServerFile:
    try:
        source = vocabulary_file()
    except VocabularyError as error:
        raise pulumi.RunError(str(error)) from error
    return ServerFile(
        "vocabulary",
        endpoint=login(server),
        path=f"{VOCABULARY_FOLDER}/{VOCABULARY_NAME}",
        source=str(source),
        sha256=VOCABULARY_SHA256,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[after]),
    )


class _Runner:
    def __init__(
        self,
        settings: Settings,
        server: Server,
        passwords: Passwords,
        parent: pulumi.Resource,
    ) -> None:
        self._passwords = passwords
        self._opts = pulumi.ResourceOptions(parent=parent)
        self._connection = command.remote.ConnectionArgs(
            host=server.address,
            port=server.ssh_port,
            user=server.user,
            private_key=pulumi.Output.secret(settings.private_key_file.read_text()),
            host_key=server.host_key,
            dial_error_limit=_DIALS,
            per_dial_timeout=_SECONDS_PER_DIAL,
        )

    def run(self, step: Step, done: Mapping[str, command.remote.Command]) -> command.remote.Command:
        """Upload the step's files and run its command; `done` are the steps before it."""
        files_after = [done[name] for name in step.files_after]
        sent = [
            self._upload(f"{step.name}-{path.rsplit('/', 1)[-1]}", path, text, files_after)
            for path, text in step.files.items()
        ]
        after = [done[name] for name in step.depends_on]
        return command.remote.Command(
            step.name,
            connection=self._connection,
            create=step.command,
            triggers=[step.trigger],
            stdin=self._passwords.fill(step.stdin) if step.stdin else None,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions.merge(
                self._opts,
                pulumi.ResourceOptions(
                    depends_on=[*sent, *after],
                    custom_timeouts=pulumi.CustomTimeouts(
                        create=f"{step.time_limit_seconds + 900}s"
                    ),
                ),
            ),
        )

    def _upload(
        self,
        name: str,
        path: str,
        text: str,
        after: Iterable[command.remote.Command],
    ) -> command.remote.CopyToRemote:
        return command.remote.CopyToRemote(
            name,
            connection=self._connection,
            source=pulumi.StringAsset(text),
            remote_path=path,
            opts=pulumi.ResourceOptions.merge(
                self._opts, pulumi.ResourceOptions(depends_on=list(after))
            ),
        )

"""The server prepared: Docker ready, GPU seen, images pulled. Only commands over SSH."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_command as command

from provisioning.host import VOCABULARY_FOLDER, Step
from provisioning.plan import Plan
from provisioning.settings import Settings
from provisioning.vocabulary import (
    VOCABULARY_NAME,
    VOCABULARY_SHA256,
    VocabularyError,
    vocabulary_file,
)
from stack.part import part
from stack.passwords import Passwords
from stack.resources.server.file import ServerFile
from stack.server import USER, Server
from stack.told import end

# Together about five minutes: a server that boots refuses at first, and 1.2.1 counts every dial.
_DIALS = 60
_SECONDS_PER_DIAL = 15


@dataclass(frozen=True)
class Host:
    """A prepared server: what is so once each of these is done, as in `HostSteps`."""

    docker_ready: command.remote.Command
    proven: command.remote.Command
    mongo_key: command.remote.Command
    vocabulary: ServerFile
    pulled: Mapping[str, command.remote.Command]
    db_password: Mapping[str, command.remote.Command]


def prepare_host(plan: Plan, server: Server, passwords: Passwords, lab: pulumi.Resource) -> Host:
    """Run the steps of `provisioning/host`; each runs again when its content changes."""
    parent = part("Host", lab)
    steps = plan.steps
    connection = _connection(plan.settings, server)
    done: dict[Step, command.remote.Command] = {}
    for step in steps:
        booted = [done[steps.booted]] if done else []
        sent = _sent(step, connection, pulumi.ResourceOptions(parent=parent, depends_on=booted))
        before = [done[step.after]] if step.after else []
        done[step] = command.remote.Command(
            step.name,
            connection=connection,
            create=step.command,
            triggers=[step.trigger],
            stdin=passwords.fill(step.stdin) if step.stdin else None,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=[*sent, *before],
                custom_timeouts=pulumi.CustomTimeouts(create=f"{step.time_limit_seconds + 900}s"),
            ),
        )
    parent.register_outputs({})
    return Host(
        docker_ready=done[steps.docker_ready],
        proven=done[steps.driver_proved],
        mongo_key=done[steps.keyfile_written],
        vocabulary=_vocabulary(server, parent, done[steps.docker_installed]),
        pulled={service: done[step] for service, step in steps.pulled.items()},
        db_password={name: done[step] for name, step in steps.password_followed.items()},
    )


def _connection(settings: Settings, server: Server) -> command.remote.ConnectionArgs:
    return command.remote.ConnectionArgs(
        host=server.address,
        port=settings.ssh_port,
        user=USER,
        private_key=_private_key(settings),
        host_key=server.host_key,
        dial_error_limit=_DIALS,
        per_dial_timeout=_SECONDS_PER_DIAL,
    )


def _private_key(settings: Settings) -> pulumi.Output[str] | None:
    """None where the agent signs. Its socket is the provider's to find: as an input, each new one
    would be a change."""
    if settings.ssh_agent:
        return None
    return pulumi.Output.secret(settings.private_key_file.read_text())


def _sent(
    step: Step, connection: command.remote.ConnectionArgs, opts: pulumi.ResourceOptions
) -> list[command.remote.CopyToRemote]:
    return [
        command.remote.CopyToRemote(
            f"{step.name}-{path.rsplit('/', 1)[-1]}",
            connection=connection,
            source=pulumi.StringAsset(text),
            remote_path=path,
            opts=opts,
        )
        for path, text in step.files.items()
    ]


def _vocabulary(server: Server, parent: pulumi.Resource, after: pulumi.Resource) -> ServerFile:
    try:
        source = vocabulary_file()
    except VocabularyError as error:
        end(str(error))
    return ServerFile(
        "vocabulary",
        endpoint=server.login,
        path=f"{VOCABULARY_FOLDER}/{VOCABULARY_NAME}",
        source=str(source),
        sha256=VOCABULARY_SHA256,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[after]),
    )

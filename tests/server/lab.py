"""The lab's containers on a rented server, made by `docker` itself as the plan has them."""

import shlex

from provisioning.channels import XINFERENCE_KEY
from provisioning.containers import Container
from provisioning.editions import EDITIONS
from stack.passwords import OF_EVERY_EDITION
from tests.contract.caddy import DOMAIN
from tests.server.conftest import SECRETS, Rented
from tests.server.shell import until


class Lab:
    """Containers on a rented server."""

    def __init__(self, rented: Rented) -> None:
        self.rented = rented
        # No password of the lab is missing, and none is another's.
        of_editions = (
            name
            for edition in EDITIONS.values()
            for name in (*edition.passwords, *edition.passwords_for_life)
        )
        names = (*OF_EVERY_EDITION, *of_editions, "xinference_login")
        # As long as the plugin wants its own.
        made = {name: f"{name.replace('_', '')}1secret".ljust(32, "x") for name in names}
        self.secrets = made | SECRETS
        self.known = dict.fromkeys(("page", "share_page"), f"https://{DOMAIN}")
        self.names = tuple(rented.plan.containers)
        self.out = rented.shell.out

    def run(self, name: str, container: Container | None = None) -> None:
        container = container or self.rented.plan.containers[name]
        words = ["docker", "create", "--name", name, *_options(container), *_network(name)]
        words += [f"--volume=ai-lab-{name}:{data}" for data in [container.data] if data]
        words += [
            f"--env={key}={value.format(**self.secrets, **self.known)}"
            for key, value in container.environment.items()
        ]
        self.out(shlex.join([*words, container.image, *container.command]))
        for other in container.reaches:
            self.out(f"docker network connect ai-lab-{other} {name}")
        for path, content in container.files.items():
            text = content.replace(XINFERENCE_KEY, self.secrets["xinference_key"])
            folder = f"/tmp/put-{name}"
            put = f"tar -C {folder} -c . | docker cp - {name}:/"
            self.out(f"install -D -m 644 /dev/stdin {folder}{path} && {put}", text)
        self.out(f"docker start {name}")
        self.becomes(name, "healthy")

    def replace(self, name: str, container: Container | None = None) -> None:
        self.out(f"docker stop {name} && docker rm {name}")
        self.run(name, container)

    def becomes(self, name: str, state: str) -> None:
        asked = f"docker inspect --format '{{{{.State.Health.Status}}}}' {name}"
        until(
            lambda: self.rented.shell.run(asked).said.strip() == state,
            f"{name} to be {state}",
            seen=lambda: self.out(
                f"docker inspect --format '{{{{json .State.Health}}}}' {name};"
                f"docker logs --tail 20 {name} 2>&1"
            ),
        )

    def inside(self, name: str, command: str) -> str:
        """What a command of the server prints in the network that a container sees."""
        process = self.out(f"docker inspect --format '{{{{.State.Pid}}}}' {name}").strip()
        return self.out(f"nsenter --target {process} --net {command}")

    def places(self, name: str) -> list[str]:
        """`address/port` of all that listens in a container, and of what is published of it."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        own = self.out(f"docker inspect --format '{form}' {name}").split()
        listens = (line.split()[3] for line in self.inside(name, "ss -Hltn").splitlines())
        ports = {
            place.rpartition(":")[2] for place in listens if not place.startswith("127.0.0.11")
        }
        published = self.rented.plan.containers[name].published
        return [
            *(f"{ip}/{port}" for ip in own for port in ports),
            *(f"{ip}/{port}" for ip in self.addresses() for port in published),
        ]

    def addresses(self) -> list[str]:
        """The server's own, those of its networks too."""
        return [ip for ip in self.out("hostname -I").split() if "." in ip]

    def sql(self, name: str, statement: str, password: str | None = None) -> str:
        """Run a statement as the lab's user, over the network and with a password."""
        secret = password or self.secrets[name]
        image = self.rented.plan.containers[name].image
        client = {
            "pg": f"PGPASSWORD={secret} psql -h pg -U fastgpt -d fastgpt -tA -v ON_ERROR_STOP=1",
            "mysql": f"MYSQL_PWD={secret} mysql -h mysql -u oneapi -N oneapi",
        }[name]
        command = shlex.join(["sh", "-c", client])
        return self.out(f"docker run --rm -i --network ai-lab-{name} {image} {command}", statement)


def _options(container: Container) -> list[str]:
    kind, *rest = container.health.tests
    limited = [f"={mib}m" for mib in [container.memory_mib] if mib]
    return [
        *("--restart", "unless-stopped"),
        *("--security-opt=no-new-privileges:true", "--cap-drop=ALL"),
        *(f"--cap-add={capability}" for capability in container.capabilities),
        *(f"--user={user}" for user in [container.user] if user),
        *(f"--ulimit=nproc={most}" for most in [container.processes] if most),
        *(["--read-only"] if container.read_only is not None else []),
        *(f"--tmpfs={folder}" for folder in container.read_only or ()),
        f"--stop-timeout={container.grace_seconds or 10}",
        *(
            f"--publish={'127.0.0.1:' if out in container.at_home else ''}{out}:{inside}"
            for out, inside in container.published.items()
        ),
        *(f"--volume={there}:{here}:ro" for there, here in container.mounts.items()),
        *(f"--{limit}{mib}" for limit in ("memory", "memory-swap") for mib in limited),
        *(["--gpus=all"] if container.gpu else []),
        *("--health-cmd", rest[0] if kind == "CMD-SHELL" else shlex.join(rest)),
        *("--health-timeout", container.health.timeout, "--health-retries", "3"),
        # More often than the lab's, so that a test need not wait for ten seconds three times.
        *("--health-interval", "1s", "--health-start-interval", "1s"),
        *("--health-start-period", f"{container.health.start_minutes}m"),
    ]


def _network(name: str) -> list[str]:
    aliases = (f"--network-alias={alias}" for alias in (name, f"{name}.own"))
    return [f"--network=ai-lab-{name}", *aliases]

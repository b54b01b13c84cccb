"""What the official database images do before their server runs.

The environment acts on an empty data directory only; a missing password ends the container with the
image's own words (docs/facts/fastgpt.md §9). Each image also reads `<NAME>_FILE` instead of
`<NAME>`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import ClassVar

from rehearsal import inside
from rehearsal.doubles.database_kinds import Kind, Mongo, MySql, Postgres
from rehearsal.doubles.database_store import Store


class StartRefused(Exception):
    """The container ends with this text on stderr and this exit code."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Image:
    """One image's start: its options, its environment, its data directory."""

    data_path: ClassVar[str]
    marker: ClassVar[str]
    program: ClassVar[str]
    file_variables: ClassVar[tuple[str, ...]]
    ready_text: ClassVar[str]
    lock_file: ClassVar[str]
    recovery_text: ClassVar[str]

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._env = env
        self._options = _options(command, self.program)

    @property
    def directory(self) -> Path:
        """The data directory, on its volume."""
        place = inside.path(self.data_path)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def is_empty(self) -> bool:
        """Whether this is the first boot on this volume."""
        return not (self.directory / self.marker).exists()

    def mark_initialised(self) -> None:
        """From now on the environment's users and passwords are not looked at."""
        (self.directory / self.marker).write_text("")

    def lock(self) -> str:
        """Note that the data are in use; what the server says where the last one never let go."""
        place = self.directory / self.lock_file
        left_over = place.exists()
        place.write_text("")
        return self.recovery_text if left_over else ""

    def unlock(self) -> None:
        """All is written out: the next start has nothing to recover."""
        (self.directory / self.lock_file).unlink(missing_ok=True)

    def open_store(self) -> Store:
        """The data on the volume."""
        return Store(self.directory)

    def secrets(self) -> dict[str, str]:
        """The environment with every `<NAME>_FILE` read.

        Raises:
            StartRefused: both forms are given, or the file is missing.
        """
        found = dict(self._env)
        for name in self.file_variables:
            path = self._env.get(f"{name}_FILE")
            if path and self._env.get(name):
                raise StartRefused(self.both_text(name))
            if path:
                found[name] = _read(path)
        return found

    def both_text(self, name: str) -> str:
        """The image's words for a variable given twice."""
        return f"error: both {name} and {name}_FILE are set (but are exclusive)"

    def check_environment(self) -> None:
        """Raise StartRefused when a first boot lacks what it needs."""

    def check_options(self) -> None:
        """Raise StartRefused when the server would not start with these options."""

    def kind(self, store: Store, first_boot: bool) -> Kind:
        """The server itself."""
        raise NotImplementedError


class MySqlImage(Image):
    """`mysql:8.0`: `MYSQL_ROOT_PASSWORD`, `MYSQL_DATABASE`, `MYSQL_USER`, `MYSQL_PASSWORD`."""

    data_path = "/var/lib/mysql"
    marker = "mysql.ibd"
    program = "mysqld"
    file_variables = ("MYSQL_ROOT_PASSWORD", "MYSQL_PASSWORD", "MYSQL_USER", "MYSQL_DATABASE")
    ready_text = "[System] [MY-010931] [Server] mysqld: ready for connections."
    lock_file = "rehearsal-in-use"
    recovery_text = "[System] [MY-010229] [Server] Starting XA crash recovery..."

    def both_text(self, name: str) -> str:
        return f"[ERROR] [Entrypoint]: Both {name} and {name}_FILE are set (but are exclusive)"

    def check_environment(self) -> None:
        env = self.secrets()
        if not env.get("MYSQL_ROOT_PASSWORD"):
            raise StartRefused(
                "[ERROR] [Entrypoint]: Database is uninitialized and password option is not "
                "specified\n"
                "    You need to specify one of the following as an environment variable:\n"
                "    - MYSQL_ROOT_PASSWORD\n"
                "    - MYSQL_ALLOW_EMPTY_PASSWORD\n"
                "    - MYSQL_RANDOM_ROOT_PASSWORD"
            )
        if env.get("MYSQL_USER") == "root":
            raise StartRefused(
                '[ERROR] [Entrypoint]: MYSQL_USER="root", MYSQL_USER and MYSQL_PASSWORD are for '
                "configuring a regular user and cannot be used for the root user"
            )
        if any(self.directory.iterdir()):
            raise StartRefused(
                "[ERROR] [MY-010457] [Server] --initialize specified but the data directory has "
                "files in it. Aborting."
            )

    def check_options(self) -> None:
        # Removed in 8.4 (docs/facts/oneapi.md §8): a server of that age refuses to start with it.
        plugin = self._options.get("--default-authentication-plugin")
        if plugin and _release(self._env) >= (8, 4):
            raise StartRefused(
                "[ERROR] [MY-000067] [Server] unknown variable "
                f"'default-authentication-plugin={plugin}'.\n[ERROR] [MY-010119] [Server] Aborting"
            )

    def kind(self, store: Store, first_boot: bool) -> Kind:
        return MySql(store)


class PostgresImage(Image):
    """`postgres:15` and `pgvector`: `POSTGRES_USER`, `POSTGRES_PASSWORD`, `POSTGRES_DB`."""

    data_path = "/var/lib/postgresql/data"
    marker = "PG_VERSION"
    program = "postgres"
    file_variables = ("POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB")
    ready_text = "LOG:  database system is ready to accept connections"
    lock_file = "postmaster.pid"
    recovery_text = (
        "LOG:  database system was not properly shut down; automatic recovery in progress"
    )

    @property
    def directory(self) -> Path:
        place = inside.path(self._env.get("PGDATA") or self.data_path)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def check_environment(self) -> None:
        env = self.secrets()
        if not env.get("POSTGRES_PASSWORD") and env.get("POSTGRES_HOST_AUTH_METHOD") != "trust":
            raise StartRefused(
                "Error: Database is uninitialized and superuser password is not specified.\n"
                "       You must specify POSTGRES_PASSWORD to a non-empty value for the\n"
                '       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".\n'
                "\n"
                '       You may also use "POSTGRES_HOST_AUTH_METHOD=trust" to allow all\n'
                "       connections without a password. This is *not* recommended.\n"
                "\n"
                '       See PostgreSQL documentation about "trust":\n'
                "       https://www.postgresql.org/docs/current/auth-trust.html"
            )
        if any(self.directory.iterdir()):
            inner = self._env.get("PGDATA") or self.data_path
            raise StartRefused(f'initdb: error: directory "{inner}" exists but is not empty')

    def kind(self, store: Store, first_boot: bool) -> Kind:
        return Postgres(store)


class MongoImage(Image):
    """`mongo:5`: `MONGO_INITDB_ROOT_USERNAME` and `_PASSWORD`; `--replSet`, `--keyFile`."""

    data_path = "/data/db"
    marker = "WiredTiger"
    program = "mongod"
    file_variables = ("MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD")
    ready_text = '{"s":"I","c":"NETWORK","msg":"Waiting for connections","attr":{"port":27017}}'
    lock_file = "mongod.lock"
    recovery_text = (
        '{"s":"W","c":"STORAGE","id":22271,"msg":"Detected unclean shutdown - Lock file is not '
        'empty","attr":{"lockFile":"/data/db/mongod.lock"}}'
    )

    MONGO_UID = 999
    """The image's `mongodb` user, to whom the entry point steps down."""

    def check_environment(self) -> None:
        env = self.secrets()
        user = env.get("MONGO_INITDB_ROOT_USERNAME")
        password = env.get("MONGO_INITDB_ROOT_PASSWORD")
        if bool(user) != bool(password):
            raise StartRefused(
                "error: missing 'MONGO_INITDB_ROOT_USERNAME' or 'MONGO_INITDB_ROOT_PASSWORD'\n"
                "       both must be specified for a user to be created"
            )

    def check_options(self) -> None:
        key_file = self._options.get("--keyFile")
        if key_file:
            self._check_key_file(key_file)
        elif self._has_root() and "--replSet" in self._options:
            raise StartRefused(
                "BadValue: security.keyFile is required when authorization is enabled with "
                "replica sets\ntry 'mongod --help' for more information",
                2,
            )

    def kind(self, store: Store, first_boot: bool) -> Kind:
        if first_boot:
            return Mongo(store, replica_set=None, authorization=False)
        locked = self._has_root() or "--keyFile" in self._options or "--auth" in self._options
        return Mongo(store, self._options.get("--replSet"), authorization=locked)

    def _has_root(self) -> bool:
        return bool(
            self._env.get("MONGO_INITDB_ROOT_USERNAME")
            or self._env.get("MONGO_INITDB_ROOT_USERNAME_FILE")
        )

    def _check_key_file(self, inner: str) -> None:
        place = inside.path(inner)
        if not place.is_file():
            raise _key_file_refused(f"Error opening file {inner}: No such file or directory")
        mode = stat.S_IMODE(place.stat().st_mode)
        owner = recorded_owner(place)
        readable_by_all = mode & 0o004
        if owner not in (None, self.MONGO_UID) and not readable_by_all:
            raise _key_file_refused(f"Error opening file {inner}: Permission denied")
        if mode & 0o077:
            raise _key_file_refused(f"permissions on {inner} are too open")
        if not 6 <= len("".join(place.read_text().split())) <= 1024:
            raise _key_file_refused(f"security key in {inner} has length out of 6-1024 characters")


def image_for(name: str, command: list[str], env: dict[str, str]) -> Image:
    """The image called `mysql`, `postgres` or `mongo`.

    Raises:
        StartRefused: no such image, or a command that is not its server.
    """
    images = {"mysql": MySqlImage, "postgres": PostgresImage, "mongo": MongoImage}
    if name not in images:
        raise StartRefused(f"no rehearsed database is called {name!r}; known: {', '.join(images)}")
    return images[name](command, env)


def recorded_owner(place: Path) -> int | None:
    """The numeric owner that a rehearsed `chown` or an upload recorded, or None when nobody did.

    Nobody here is root, so ownership is an extended attribute of the real file.
    """
    try:
        return int(os.getxattr(place.resolve(), "user.rehearsal.owner"))
    except (OSError, ValueError):
        return None


def _key_file_refused(reason: str) -> StartRefused:
    return StartRefused(
        '{"s":"I","c":"ACCESS","id":20254,"ctx":"main","msg":"Read security file failed",'
        '"attr":{"error":{"code":30,"codeName":"InvalidPath","errmsg":"' + reason + '"}}}'
    )


def _options(command: list[str], program: str) -> dict[str, str]:
    """The server's options; the image's entry point lets a command begin with an option, too.

    Raises:
        StartRefused: another program than the server, which the double does not run.
    """
    words = [word for word in command if word != "docker-entrypoint.sh"]
    if words and not words[0].startswith("-"):
        if Path(words[0]).name != program:
            raise StartRefused(
                f"the rehearsed image runs {program} and its options only, not: {words[0]}",
                127,
            )
        words = words[1:]
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        if word.startswith("-"):
            name, _, value = word.partition("=")
            following = words[place + 1] if place + 1 < len(words) else ""
            found[name] = value or ("" if following.startswith("-") else following)
    return found


def _read(inner: str) -> str:
    try:
        return inside.path(inner).read_text().rstrip("\n")
    except OSError as error:
        raise StartRefused(f"{inner}: {error.strerror}") from error


def _release(env: dict[str, str]) -> tuple[int, ...]:
    numbers = env.get("REHEARSAL_IMAGE_TAG", "").split("-")[0].split(".")
    return tuple(int(each) for each in numbers if each.isdigit())

"""The Docker provider's way in: what `ssh OPTIONS -- HOST docker system dial-stdio` would do.

The real provider starts the operator's `ssh`; here asyncssh honours the same options and fails with
the same texts, so that a wrong key, a changed host key or a closed port shows as it would.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from rehearsal.providers.remote import private_key

_CONNECT_SECONDS = 30.0
_COMMAND_SECONDS = 10.0
_WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"
_WITHOUT_VALUE = "46AaCfGgKkMNnqsTtVvXxYy"
_KNOWN = frozenset(
    [
        "addkeystoagent",
        "batchmode",
        "bindaddress",
        "certificatefile",
        "checkhostip",
        "ciphers",
        "compression",
        "connectionattempts",
        "connecttimeout",
        "controlmaster",
        "controlpath",
        "controlpersist",
        "escapechar",
        "exitonforwardfailure",
        "forwardagent",
        "globalknownhostsfile",
        "hashknownhosts",
        "hostkeyalgorithms",
        "hostkeyalias",
        "identitiesonly",
        "identityagent",
        "identityfile",
        "kbdinteractiveauthentication",
        "kexalgorithms",
        "knownhostscommand",
        "loglevel",
        "macs",
        "nohostauthenticationforlocalhost",
        "numberofpasswordprompts",
        "passwordauthentication",
        "port",
        "preferredauthentications",
        "pubkeyacceptedalgorithms",
        "pubkeyauthentication",
        "requesttty",
        "serveralivecountmax",
        "serveraliveinterval",
        "stricthostkeychecking",
        "tcpkeepalive",
        "updatehostkeys",
        "user",
        "userknownhostsfile",
        "verifyhostkeydns",
    ]
)


class SshFailure(Exception):
    """ssh ended with 255; the text is what it wrote to stderr."""


@dataclass
class SshOptions:
    """Options of one ssh command line. Names in lower case; as with ssh, the first value counts."""

    values: dict[str, str] = field(default_factory=dict)
    identities: list[Path] = field(default_factory=list)

    @classmethod
    def parse(cls, words: Sequence[str]) -> SshOptions:
        """Read `-i FILE -o Name=value ...`.

        Raises:
            SshFailure: with ssh's own complaint.
        """
        found = cls()
        queue = list(words)
        while queue:
            word = queue.pop(0)
            letter, attached = word[1:2], word[2:]
            if not word.startswith("-") or not letter:
                raise SshFailure(
                    f"ssh: Could not resolve hostname {word}: Name or service not known"
                )
            if letter in _WITH_VALUE:
                if not attached and not queue:
                    raise SshFailure(f"option requires an argument -- {letter}")
                found._take(letter, attached or queue.pop(0))
            elif set(word[1:]) - set(_WITHOUT_VALUE):
                raise SshFailure(f"unknown option -- {letter}")
        return found

    def _take(self, letter: str, value: str) -> None:
        if letter == "i":
            self.identities.append(Path(value).expanduser())
        elif letter == "p":
            self.values.setdefault("port", value)
        elif letter == "l":
            self.values.setdefault("user", value)
        elif letter == "o":
            self._take_named(value)

    def _take_named(self, text: str) -> None:
        match = re.fullmatch(r"\s*(\w+)\s*(?:=|\s)\s*(.*)", text, re.DOTALL)
        name = match[1].lower() if match else text.lower()
        if match is None or name not in _KNOWN:
            raise SshFailure(f"command-line: line 0: Bad configuration option: {name}")
        if not match[2].strip():
            raise SshFailure(f"command-line line 0: no argument after keyword {match[1]!r}")
        if name == "identityfile":
            self.identities.append(Path(match[2]).expanduser())
        self.values.setdefault(name, match[2].strip())

    def get(self, name: str, default: str = "") -> str:
        """The value of an option, without quotes around it."""
        return self.values.get(name, default)

    @property
    def strict(self) -> str:
        """yes, accept-new, no or ask."""
        value = self.get("stricthostkeychecking", "ask").lower()
        return {"off": "no", "true": "yes", "false": "no"}.get(value, value)

    @property
    def connect_seconds(self) -> float:
        """Time limit for connecting, host key and login's beginning included."""
        return float(self.get("connecttimeout", str(_CONNECT_SECONDS)))

    @property
    def known_hosts_files(self) -> list[Path]:
        """Where known keys are looked up; the first one is where new keys are added."""
        user = self.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        shared = self.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")
        names = [*shlex.split(user), *shlex.split(shared)]
        return [Path(name).expanduser() for name in names if name != "none"]


@dataclass
class _HostKeys(asyncssh.SSHClient):
    """Decides about the host key as ssh does; remembers why it said no."""

    options: SshOptions
    known: str
    complaint: str = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        name = self.options.get("hostkeyalias", host)
        name = name if port == 22 or "hostkeyalias" in self.options.values else f"[{name}]:{port}"
        kind = key.get_algorithm().removeprefix("ssh-").upper()
        trusted = _trusted(self.known, name)
        if key in trusted:
            return True
        if self.options.strict == "no":
            return True
        if trusted:
            self.complaint = (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n"
                f"Host key for {name} has changed and you have requested strict checking.\n"
                "Host key verification failed."
            )
            return False
        if self.options.strict == "accept-new":
            self._remember(name, key)
            return True
        self.complaint = "Host key verification failed."
        if self.options.strict == "yes":
            self.complaint = (
                f"No {kind} host key is known for {name} and you have requested strict "
                f"checking.\n{self.complaint}"
            )
        return False

    def _remember(self, name: str, key: asyncssh.SSHKey) -> None:
        place = self.options.known_hosts_files[0]
        if place == Path(os.devnull):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        line = " ".join(key.export_public_key().decode().split()[:2])
        with place.open("a") as file:
            file.write(f"{name} {line}\n")


def _trusted(known: str, name: str) -> list[asyncssh.SSHKey]:
    """The keys that lines in known_hosts form give for `name`.

    asyncssh's own reader takes `*` for a host and asks the network for its address.
    """
    found = []
    for line in known.splitlines():
        hosts, _, key = line.strip().partition(" ")
        if not key or hosts.startswith(("#", "@")) or not _names(hosts, name):
            continue
        with contextlib.suppress(asyncssh.KeyImportError):
            found.append(asyncssh.import_public_key(key.strip()))
    return found


def _names(hosts: str, name: str) -> bool:
    if hosts.startswith("|1|"):
        _, _, salt, wanted = hosts.split("|")
        made = hmac.new(base64.b64decode(salt), name.encode(), "sha1").digest()
        return made == base64.b64decode(wanted)
    patterns = hosts.split(",")
    if any(_fits(pattern[1:], name) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    # Only * and ? are wild: the brackets of `[127.0.0.1]:2222` mean themselves.
    text = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(text, name) is not None


async def connect(
    host: str, port: int, user: str, options: SshOptions
) -> asyncssh.SSHClientConnection:
    """Log in as `ssh OPTIONS -l USER -p PORT -- HOST` does.

    Raises:
        SshFailure: with ssh's words.
    """
    complaints: list[str] = []
    keys = _keys(options, complaints)
    deciding = _HostKeys(options, await _known(options, host, port, user))
    limit = options.connect_seconds
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                host,
                port,
                username=user,
                client_keys=keys or None,
                client_factory=lambda: deciding,
                known_hosts=b"",
                agent_path=_agent(options),
                config=None,
                preferred_auth="publickey",
                keepalive_interval=float(options.get("serveraliveinterval", "0")),
            ),
            limit,
        )
    except ConnectionRefusedError as error:
        raise SshFailure(f"ssh: connect to host {host} port {port}: Connection refused") from error
    except asyncio.TimeoutError as error:
        raise SshFailure(
            "Connection timed out during banner exchange\n"
            f"Connection to {host} port {port} timed out"
        ) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise SshFailure(deciding.complaint or str(error)) from error
    except asyncssh.PermissionDenied as error:
        lines = [*complaints, f"{user}@{host}: Permission denied (publickey)."]
        raise SshFailure("\n".join(lines)) from error
    except (asyncssh.Error, OSError) as error:
        raise SshFailure(f"kex_exchange_identification: {error}") from error


def _keys(options: SshOptions, complaints: list[str]) -> list[asyncssh.SSHKey]:
    defaults = [Path(f"~/.ssh/id_{kind}").expanduser() for kind in ("rsa", "ecdsa", "ed25519")]
    found = []
    for place in options.identities or defaults:
        if not place.exists():
            if options.identities:
                complaints.append(
                    f"Warning: Identity file {place} not accessible: No such file or directory."
                )
            continue
        if stat.S_IMODE(place.stat().st_mode) & 0o077:
            complaints.append(
                f"Permissions {stat.S_IMODE(place.stat().st_mode):04o} for '{place}' are too "
                "open.\n"
                "This private key will be ignored."
            )
            continue
        try:
            found.append(private_key(place.read_text()))
        except ValueError as error:
            complaints.append(f'Load key "{place}": {error}')
    return found


def _agent(options: SshOptions) -> str | None:
    named = options.get("identityagent")
    if named == "none" or options.get("identitiesonly").lower() == "yes":
        return None
    return named or os.environ.get("SSH_AUTH_SOCK")


async def _known(options: SshOptions, host: str, port: int, user: str) -> str:
    """All lines in known_hosts form: of the files, and of `KnownHostsCommand`."""
    files = [place for place in options.known_hosts_files if place.is_file()]
    text = "".join(f"{place.read_text()}\n" for place in files)
    command = options.get("knownhostscommand")
    if command and command != "none":
        text += await _known_from_command(command, host, port, user)
    return text


async def _known_from_command(command: str, host: str, port: int, user: str) -> str:
    name = host if port == 22 else f"[{host}]:{port}"
    tokens = {
        "%": "%",
        "H": name,
        "h": host,
        "I": "HOSTNAME",
        "n": host,
        "p": str(port),
        "r": user,
        "t": "NONE",
        "K": "NONE",
        "f": "NONE",
    }
    words = [
        re.sub(r"%(.)", lambda match: _token(match[1], tokens), word)
        for word in shlex.split(command)
    ]
    if not words or not words[0].startswith("/"):
        raise SshFailure("KnownHostsCommand path is not absolute")
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), _COMMAND_SECONDS)
    if process.returncode != 0:
        raise SshFailure(f"KnownHostsCommand failed: exit status {process.returncode}")
    return output.decode()


def _token(letter: str, tokens: dict[str, str]) -> str:
    if letter not in tokens:
        raise SshFailure(f"percent_expand: unknown key %{letter}")
    return tokens[letter]

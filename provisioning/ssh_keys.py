"""The operator's SSH key files, looked at before anything is rented."""

import contextlib
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncssh

from provisioning.problems import PlanError, Problem
from provisioning.ssh_agent import agent_problems

_PATH = "sshKeyFile"
_SMALLEST_RSA = 2048
# What the cloud's manual names for keys of one's own; whether it takes others is not known
# (docs/facts/alicloud.md §6).
_DOCUMENTED = "ssh-rsa"
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC", b"-----BEGIN PUBLIC")
_USABLE = (_DOCUMENTED, "ssh-ed25519", "ecdsa-sha2-")


def key_problems(written: str, agent: bool) -> Iterator[Problem]:
    """What keeps the private key that `sshKeyFile` names, or its `.pub` beside it, from being used.

    With `agent`, the operator's ssh-agent signs, and the key may have a passphrase. Advice never
    overwrites a key that is there: it may open other doors.
    """
    try:
        private = _private(written)
        key = _read(private, agent)
    except PlanError as error:
        yield error.problem
        return
    kind, make = key.get_algorithm(), _make(private)
    if kind != _DOCUMENTED:
        wrong = f"Alibaba Cloud's manual names RSA keys, and whether it takes {kind} is not known"
        yield Problem(_PATH, wrong, f"if it refuses the key pair, {make}", warning=True)
    elif (bits := int(getattr(key.pyca_key, "key_size", 0))) < _SMALLEST_RSA:
        yield Problem(_PATH, f"an RSA key of {bits} bits can be broken", make, warning=True)
    yield from agent_problems(agent, private, key.export_public_key().decode())


async def key_of(
    file: Path | None, until_logged_in: contextlib.AsyncExitStack
) -> asyncssh.SSHKey | asyncssh.SSHKeyPair:
    """What logs in: the operator's key, or the ssh-agent's hold of one that has a passphrase.

    Raises OSError or ValueError: there is none that can be used.
    """
    if file is None:
        raise FileNotFoundError("no key is set")
    try:
        return asyncssh.read_private_key(file)
    except ValueError as error:
        if not _asks_for_passphrase(error):
            raise
    wanted = asyncssh.read_public_key(_public(file)).public_data
    try:
        agent = await until_logged_in.enter_async_context(asyncssh.connect_agent())
        (key,) = await agent.get_keys([wanted])
    except (OSError, ValueError):
        wrong = f"{file} has a passphrase, and no ssh-agent holds it"
        raise ValueError(f"{wrong}: run `ssh-add {_quoted(file)}`") from None
    return key


def _read(private: Path, agent: bool) -> asyncssh.SSHKey:
    """The key pair's public half; PlanError where the pair cannot be used."""
    if private.exists() and not private.is_file():
        raise PlanError(_PATH, f"{private} is not a file", "name your private key")
    try:
        content = private.read_bytes()
    except FileNotFoundError:
        raise PlanError(_PATH, f"{private} is not there", _make(private)) from None
    except OSError as error:
        wrong = f"{private} cannot be read: {error.strerror}"
        raise PlanError(_PATH, wrong, "name a file that you may read") from None
    _refuse_other_files(private, content)
    if private.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        wrong = f"{private} is readable by others, so ssh refuses it"
        raise PlanError(_PATH, wrong, f"run `chmod 600 {_quoted(private)}`")
    key = _public_half(private, _imported(private, content, agent))
    if not key.get_algorithm().startswith(_USABLE):
        wrong = f"{private} is a key of the kind {key.get_algorithm()}, which cannot be used here"
        raise PlanError(_PATH, wrong, _make(private))
    return key


def _private(written: str) -> Path:
    if not written.strip():
        raise PlanError(_PATH, "it is empty", "name your private key, such as ~/.ssh/ai-lab")
    try:
        private = Path(written).expanduser()
    except RuntimeError:
        wrong = f"the home folder that {written!r} begins with is not known"
        raise PlanError(_PATH, wrong, "write the whole path, which begins with /") from None
    if not private.is_absolute():
        wrong = f"{written!r} is relative to a folder that differs from run to run"
        raise PlanError(_PATH, wrong, "write the whole path, or one that begins with ~/")
    return private


def _refuse_other_files(private: Path, content: bytes) -> None:
    text, copy = content.lstrip(), _quoted(_new(private))
    if text.startswith(_PUBLIC):
        half = private.with_suffix("") if private.suffix == ".pub" else "the file without .pub"
        raise PlanError(_PATH, f"{private} holds the public key", f"name the private one, {half}")
    if text.startswith(b"PuTTY-User-Key-File"):
        right = f"convert it: puttygen {_quoted(private)} -O private-openssh -o {copy}"
        raise PlanError(_PATH, f"{private} is a key of PuTTY, which ssh does not read", right)
    if b"PRIVATE KEY" not in text:
        raise PlanError(_PATH, f"{private} is not a private SSH key", _make(private))
    if b"\r" in content:
        made = f"tr -d '\\r' < {_quoted(private)} > {copy} && chmod 600 {copy}"
        wrong = f"{private} has Windows line ends, which ssh refuses"
        raise PlanError(_PATH, wrong, f"name a copy without them: {made}")
    if not content.endswith(b"\n"):
        wrong = f"the last line of {private} has no line end, which ssh refuses"
        raise PlanError(_PATH, wrong, f"add one: echo >> {_quoted(private)}")


def _imported(private: Path, content: bytes, agent: bool) -> asyncssh.SSHKey | None:
    """None where it has a passphrase, which only the agent was told."""
    try:
        return asyncssh.import_private_key(content)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        if _asks_for_passphrase(error):
            if agent:
                return None
            # Three SSH clients use it at once, and none of them can ask.
            wrong = f"{private} has a passphrase, and nobody is asked for it during a run"
            off = f"take it off (`ssh-keygen -p -f {_quoted(private)}`)"
            right = f"{off}, or let your ssh-agent sign (`sshAgent: true`), or {_make(private)}"
            raise PlanError(_PATH, wrong, right) from None
        raise PlanError(_PATH, f"{private} is not a private SSH key", _make(private)) from None


def _asks_for_passphrase(error: Exception) -> bool:
    return "passphrase" in str(error).lower()


def _public_half(private: Path, key: asyncssh.SSHKey | None) -> asyncssh.SSHKey:
    public = _public(private)
    make = f"ssh-keygen -y -f {_quoted(private)} > {_quoted(public)}"
    if not public.is_file():
        raise PlanError(_PATH, f"{public} is not there", f"make it: {make}")
    right = f"move it away and make the right one: {make}"
    try:
        announced = asyncssh.read_public_key(public)
    except (asyncssh.KeyImportError, OSError, ValueError):
        raise PlanError(_PATH, f"{public} is not a public SSH key", right) from None
    if key and key.convert_to_public().public_data != announced.public_data:
        raise PlanError(_PATH, f"{public} belongs to another key than {private}", right)
    return announced


def _public(private: Path) -> Path:
    return private.with_name(private.name + ".pub")


def _make(private: Path) -> str:
    name = _new(private) if private.exists() else private
    return f"make a key of its own: ssh-keygen -t rsa -b 4096 -N '' -f {_quoted(name)}"


def _new(private: Path) -> Path:
    """A name beside it that nothing has."""
    names = (private.with_name(f"{private.name}-lab{n or ''}") for n in range(1000))
    return next(name for name in names if not name.exists())


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))

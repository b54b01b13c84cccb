"""Documents on the operator's machine: which there are, and what is wrong with them."""

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from provisioning.knowledge import Base, Document
from provisioning.problems import Problem
from provisioning.readable import OR_LEAVE_OUT, READABLE, file_problems, says_something

# What editors and office programs put beside a file while it is open.
_HIDDEN = (".", "~$")
# What programs leave behind; nobody means it as a document, so nobody need hear of it.
_LITTER = ("~$", "._", ".DS_Store", ".git", "Thumbs.db", "desktop.ini")
_MOST_NAMES = 10
# No name of a public host ends so.
_PRIVATE_NAMES = ("localhost", "local", "internal", "lan", "home", "corp", "intranet", "arpa")
_LIKE = "write it like https://example.com/page"


@dataclass(frozen=True)
class Source:
    """One thing that becomes one document in FastGPT.

    Attributes:
        name: tells it from the others of its base, and is cited; a web page's is its address,
            though its title is cited.
        index: place in the base's `documents`; a folder has many sources in one place.
        document: the setting that it comes from.
        file: relative to the project where it lies inside, so that the state means the same file on
            another machine. None for texts and links.
    """

    name: str
    index: int
    document: Document
    file: str | None = None


def sources(base: Base, project: Path) -> tuple[Source, ...]:
    """All sources of a base, in the order of the settings, a folder's sorted by path."""
    found = []
    for index, document in enumerate(base.documents):
        name = document.name if document.link is None else document.link
        if name is not None:
            found.append(Source(name, index, document))
        for file in files_of(document, project):
            # Another system may write the same name in decomposed characters.
            name = unicodedata.normalize("NFC", file.name)
            written = file.relative_to(project) if file.is_relative_to(project) else file
            found.append(Source(name, index, document, str(written)))
    return tuple(found)


def source_problems(base: Base, project: Path, path: str) -> Iterator[Problem]:
    """What is wrong with a base's documents, and what its folders leave out; `path` is its own."""
    names: dict[str, Source] = {}
    for source in sources(base, project):
        place = f"{path}.documents[{source.index}]"
        problems = list(_source_problems(place, source, project))
        yield from problems
        twin = names.setdefault(source.name, source)
        if twin is not source and all(problem.warning for problem in problems):
            other = source.file and twin.file and source.file != twin.file
            where = f" ({twin.file} and {source.file})" if other else ""
            twice = f"{source.name} is there twice{where}"
            wrong = f"{twice}, and a citation could not tell which is meant"
            yield Problem(place, wrong, "rename one, or put it into another base")
    for index, document in enumerate(base.documents):
        if document.folder is not None:
            folder = _place(document.folder, project)
            yield from _folder_problems(f"{path}.documents[{index}]", folder)


def files_of(document: Document, project: Path) -> tuple[Path, ...]:
    """The files that a `file:` or `folder:` document means, sorted; empty for texts and links."""
    if document.file is not None:
        return (_place(document.file, project),)
    if document.folder is None:
        return ()
    folder = _place(document.folder, project)
    return tuple(sorted(p for p in folder.rglob("*") if _is_document(p, folder)))


def _place(written: str, project: Path) -> Path:
    return project / Path(written).expanduser()


def _is_document(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(_HIDDEN) for part in file.relative_to(folder).parts)
    return not hidden and file.is_file() and file.suffix.lower() in READABLE


def _folder_problems(path: str, folder: Path) -> Iterator[Problem]:
    if not folder.is_dir():
        wrong = f"there is no folder {folder}"
        yield Problem(path, wrong, "paths are relative to the folder of Pulumi.yaml")
        return
    left_out = list(dict.fromkeys(_left_out(folder)))
    names = ", ".join(left_out[:_MOST_NAMES])
    if len(left_out) > _MOST_NAMES:
        names += f", and {len(left_out) - _MOST_NAMES} more"
    formats = f"only files of {', '.join(READABLE)} are read, without a dot in front"
    if not any(_is_document(file, folder) for file in folder.rglob("*")):
        wrong = f"{folder} holds nothing to read" + (f", only {names}" if names else "")
        yield Problem(path, wrong, f"put a document in it: {formats}")
    elif left_out:
        wrong = f"{folder} holds what will be left out: {names}"
        right = f"{formats}: convert or rename what belongs to the base, or move it elsewhere"
        yield Problem(path, wrong, right, warning=True)


def _left_out(folder: Path) -> Iterator[str]:
    """What lies in a folder and becomes no document; a hidden folder as a whole."""
    for found in sorted(folder.rglob("*")):
        parts = found.relative_to(folder).parts
        hidden = [n for n, part in enumerate(parts, start=1) if part.startswith(_HIDDEN)]
        if _is_document(found, folder) or any(part.startswith(_LITTER) for part in parts):
            continue
        # Links to folders are not followed: they may lead in circles.
        if hidden or found.is_symlink() or not found.is_dir():
            name = "/".join(parts[: hidden[0]] if hidden else parts)
            yield name.encode(errors="backslashreplace").decode()


def _source_problems(path: str, source: Source, project: Path) -> Iterator[Problem]:
    document = source.document
    if source.file is not None:
        yield from file_problems(path, project / source.file)
    elif document.link is not None:
        yield from _link_problems(path, document.link)
    elif not says_something([document.text]):
        yield Problem(path, f"{source.name} has no text in it", OR_LEAVE_OUT)
    elif "/" in source.name or not says_something([source.name]):
        wrong = f"{source.name!r} is no name for a text: visitors see it as a source"
        yield Problem(path, wrong, "name it without a slash, like `Opening hours`")


def _link_problems(path: str, link: str) -> Iterator[Problem]:
    try:
        parts = urlsplit(link)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host = ""
    # FastGPT takes no other spelling for an address.
    if not host or not re.fullmatch(r'https?://[^ "]+', link):
        yield Problem(path, f"{link} is no address of a web page", _LIKE)
    elif parts.password is not None or parts.username is not None:
        wrong = f"the address at {host} has a user or a password in it, which visitors would see"
        yield Problem(path, wrong, "upload the page as a file instead")
    elif not _is_public(host):
        wrong = f"{link} leads into a private network, and FastGPT fetches it from the server"
        yield Problem(path, wrong, f"save the page and name it as a `file:`, or {_LIKE}")


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        last = host.rpartition(".")[2]
    # A number in the end is an address in one of its other spellings.
    return "." in host and not last.isdigit() and last not in _PRIVATE_NAMES

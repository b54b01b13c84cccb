"""apt and dpkg: packages come only from repositories that answer, whose key is in place."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rehearsal import faults
from rehearsal.server import outside, packages
from rehearsal.server.commands.call import Call, Ends, Options, command, parse

_FLAGS = (
    "-y --yes --assume-yes -q --quiet --no-install-recommends --install-recommends --fix-missing "
    "--fix-broken -f --allow-downgrades --allow-change-held-packages --reinstall --only-upgrade "
    "--no-upgrade --purge -qq --auto-remove --autoremove -d --download-only -s --simulate "
    "--dry-run --no-remove -m -u --allow-releaseinfo-change --no-show-upgraded"
)
_VALUES = "-o --option -t --target-release -c --config-file"
_CHANGES = ("install", "remove", "purge", "autoremove", "upgrade", "dist-upgrade", "full-upgrade")


@command("apt-get", "apt")
def apt_get(call: Call) -> int:
    """apt-get with the subcommands that prepare a server."""
    options = parse(call.arguments, _FLAGS, _VALUES, _not_understood)
    if not options.operands:
        call.out("apt 2.4.13 (amd64)\n")
        return 1
    action, names = options.operands[0], options.operands[1:]
    if action == "update":
        return _update(call, options)
    if action in _CHANGES:
        return _locked(call, options, action, names)
    if action in ("clean", "autoclean", "check"):
        return 0
    raise Ends(100, f"E: Invalid operation {action}\n")


def _not_understood(option: str) -> Ends:
    return Ends(
        100,
        f"E: Command line option '{option.lstrip('-')[:1]}' [from {option}] is not understood in "
        "combination with the other options.\n",
    )


def _setting(options: Options, name: str) -> str | None:
    for entry in options.values.get("-o", []) + options.values.get("--option", []):
        key, _, value = entry.partition("=")
        if key.lower() == name.lower():
            return value
    return None


def _locked(call: Call, options: Options, action: str, names: list[str]) -> int:
    limit = float(_setting(options, "DPkg::Lock::Timeout") or 0)
    holder = call.system.apt_lock.take(call.name, limit)
    if holder:
        raise Ends(
            100,
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1187 "
            f"({holder})\nE: Unable to acquire the dpkg frontend lock "
            "(/var/lib/dpkg/lock-frontend), is another process using it?\n",
        )
    try:
        if action in ("remove", "purge"):
            return _remove(call, options, names)
        if action == "autoremove" or action.endswith("upgrade"):
            call.out("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n")
            return 0
        return _install(call, options, names)
    finally:
        call.system.apt_lock.release()


# --- sources


@dataclass(frozen=True)
class Source:
    """One line of an apt source."""

    url: str
    suite: str
    key: str
    trusted: bool
    place: str

    @property
    def host(self) -> str:
        """Where it is fetched from."""
        return urlsplit(self.url).hostname or ""


_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<url>\S+)\s+(?P<suite>\S+)(?P<rest>.*)"
)


def sources(call: Call) -> list[Source]:
    """All apt sources of the server.

    Raises:
        Ends: a file that apt cannot read.
    """
    folder = call.system.root / "etc/apt"
    found = _one_line_sources(folder / "sources.list")
    for place in sorted((folder / "sources.list.d").iterdir()):
        if place.suffix == ".list":
            found += _one_line_sources(place)
        elif place.suffix == ".sources":
            found += _deb822_sources(place)
    return found


def _one_line_sources(place: Path) -> list[Source]:
    found = []
    for number, line in enumerate(place.read_text().splitlines() if place.exists() else [], 1):
        text = line.partition("#")[0].strip()
        if not text or text.startswith("deb-src"):
            continue
        match = _LINE.fullmatch(text)
        flat = match is not None and match["suite"].endswith("/")
        if match is None or (not flat and not match["rest"].split()):
            raise Ends(
                100,
                f"E: Malformed entry {number} in list file {place.name} (Component)\n"
                "E: The list of sources could not be read.\n",
            )
        given = dict(item.partition("=")[::2] for item in (match["options"] or "").split())
        if given.get("arch", "amd64") not in ("amd64", "amd64,i386"):
            continue
        url = match["url"].replace("$(ARCH)", "amd64")
        trusted = given.get("trusted") == "yes"
        found.append(Source(url, match["suite"], given.get("signed-by", ""), trusted, place.name))
    return found


def _deb822_sources(place: Path) -> list[Source]:
    found = []
    for stanza in re.split(r"\n\s*\n", place.read_text()):
        fields = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in stanza.splitlines())
        }
        if "deb" not in fields.get("types", "").split():
            continue
        trusted = fields.get("trusted") == "yes"
        for url in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                key = fields.get("signed-by", "")
                found.append(Source(url, suite, key, trusted, place.name))
    return found


def _update(call: Call, options: Options) -> int:
    lists: set[str] = set()
    complaints: list[str] = []
    for source in sources(call):
        problem = _problem(call, source)
        if problem is None:
            call.out(f"Hit:{len(lists) + 1} {source.url} {source.suite} InRelease\n")
            path = urlsplit(source.url).path
            lists.add(outside.repository(source.host, path) or "")
        else:
            complaints.append(problem)
    call.system.lists = lists
    call.out("Reading package lists...\n")
    fatal = [text for text in complaints if text.startswith("E:")]
    call.err("".join(complaints))
    if fatal:
        return 100
    if complaints:
        call.err(
            "W: Some index files failed to download. They have been ignored, or old ones used "
            "instead.\n"
        )
        return 100 if _setting(options, "APT::Update::Error-Mode") == "any" else 0
    return 0


def _problem(call: Call, source: Source) -> str | None:
    where = f"{source.url}/dists/{source.suite}/InRelease"
    try:
        outside.get(source.url.rstrip("/") + "/", call.region)
        cut = faults.take("host.apt_fetch", source.host)
    except outside.Unreachable:
        cut = True
    if cut:
        return (
            f"W: Failed to fetch {where}  Could not connect to {source.host}:443, connection timed "
            "out\n"
        )
    repository = outside.repository(source.host, urlsplit(source.url).path)
    if repository is None:
        return (
            f"E: The repository '{source.url} {source.suite} Release' does not have a Release "
            "file.\n"
        )
    if repository == "ubuntu" or source.trusted:
        return None
    return _key_problem(call, source, repository)


def _key_problem(call: Call, source: Source, repository: str) -> str | None:
    names = {"docker": "7EA0A9C3F273FCD8", "nvidia": "DDCAE044F796ECB0"}
    unsigned = (
        f"W: GPG error: {source.url} {source.suite} InRelease: The following signatures "
        "couldn't be verified because the public key is not available: NO_PUBKEY "
        f"{names[repository]}\n"
        f"E: The repository '{source.url} {source.suite} InRelease' is not signed.\n"
    )
    if not source.key:
        return "E:" + unsigned.partition("E:")[2] + unsigned.partition("E:")[0]
    place = _key_place(call, source.key)
    if not place.exists():
        return "E:" + unsigned.partition("E:")[2] + unsigned.partition("E:")[0]
    key = outside.owner_of_key(place.read_bytes())
    # apt takes the text form from .asc files only, and the binary form from .gpg files only.
    readable = key is not None and key[1] == (place.suffix == ".asc")
    if key is None or not readable or key[0] != repository or not place.stat().st_mode & 0o004:
        return "E:" + unsigned.partition("E:")[2] + unsigned.partition("E:")[0]
    return None


def _key_place(call: Call, text: str) -> Path:
    """A key's path in a source is the server's own, or already in the tree."""
    place = Path(text)
    root = call.system.root
    return place if place.is_relative_to(root) else root / text.lstrip("/")


# --- packages


def _install(call: Call, options: Options, names: list[str]) -> int:
    wanted = [_located(call, name) for name in names]
    missing = [package for package in wanted if package.name not in call.system.packages]
    for package in wanted:
        if package not in missing:
            call.out(f"{package.name} is already the newest version ({package.version}).\n")
    if not missing:
        call.out("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n")
        return 0
    listing = " ".join(package.name for package in missing)
    call.out(f"The following NEW packages will be installed:\n  {listing}\n")
    if options.has("-s", "--simulate", "--dry-run"):
        return 0
    _confirm(call, options)
    for package in missing:
        _fetch(call, package)
    if options.has("-d", "--download-only"):
        return 0
    if call.env.get("DEBIAN_FRONTEND") != "noninteractive":
        call.err("debconf: unable to initialize frontend: Dialog\n")
    for package in missing:
        _unpack(call, package)
    return 0


def _confirm(call: Call, options: Options) -> None:
    if options.has("-y", "--yes", "--assume-yes", "-qq"):
        return
    call.out("Do you want to continue? [Y/n] ")
    if not call.read_stdin().strip().lower().startswith(b"y"):
        call.out("Abort.\n")
        raise Ends(1)


def _located(call: Call, name: str) -> packages.Package:
    bare, _, version = name.partition("=")
    package = packages.find(bare.removesuffix(":amd64"))
    if package is None or (
        package.repository not in call.system.lists and package.name not in call.system.packages
    ):
        raise Ends(100, f"E: Unable to locate package {bare}\n")
    if version and not fnmatch.fnmatch(package.version, version):
        raise Ends(100, f"E: Version '{version}' for '{bare}' was not found\n")
    return package


def _fetch(call: Call, package: packages.Package) -> None:
    hosts = [
        source.host
        for source in sources(call)
        if outside.repository(source.host, urlsplit(source.url).path) == package.repository
    ]
    for host in hosts:
        reached = outside.reach(host, call.region) is outside.Reach.OK
        if reached and not faults.take("host.apt_fetch", host):
            return
    raise Ends(
        100,
        f"E: Failed to fetch {package.name}_{package.version}_amd64.deb  Connection timed out\n"
        "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n",
    )


def _unpack(call: Call, package: packages.Package) -> None:
    for name in call.system.add(package.name):
        call.pause(0.01)
        call.out(f"Setting up {name} ({call.system.packages[name]}) ...\n")
        added = packages.find(name)
        for service in added.services if added else ():
            if service.partition(".")[2] in ("", "service"):
                problem = call.system.start_service(service)
                if problem:
                    raise Ends(
                        100, f"{problem}\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n"
                    )


def _remove(call: Call, options: Options, names: list[str]) -> int:
    for name in names:
        if packages.find(name) is None:
            raise Ends(100, f"E: Unable to locate package {name}\n")
    _confirm(call, options)
    for name in names:
        if name in call.system.packages:
            call.system.remove(name)
            call.out(f"Removing {name} ...\n")
        else:
            call.out(f"Package '{name}' is not installed, so not removed\n")
    return 0


@command("apt-mark")
def apt_mark(call: Call) -> int:
    """hold, unhold, showhold."""
    options = parse(call.arguments, "-q -y", "-o", _not_understood)
    action, names = (options.operands or [""])[0], options.operands[1:]
    if action == "showhold":
        call.out("".join(f"{name}\n" for name in sorted(call.system.held)))
        return 0
    if action not in ("hold", "unhold"):
        raise Ends(100, f"E: Invalid operation {action}\n")
    for name in names:
        if packages.find(name) is None:
            raise Ends(100, f"E: Unable to locate package {name}\n")
        if action == "hold":
            call.system.held.add(name)
            call.out(f"{name} set on hold.\n")
        else:
            call.system.held.discard(name)
            call.out(f"Canceled hold on {name}.\n")
    return 0


@command("apt-cache")
def apt_cache(call: Call) -> int:
    """policy, show, madison."""
    options = parse(call.arguments, "-q --no-all-versions", "-o", _not_understood)
    action, names = (options.operands or [""])[0], options.operands[1:]
    if action not in ("policy", "show", "madison"):
        raise Ends(100, f"E: Invalid operation {action}\n")
    for name in names:
        package = packages.find(name)
        if package is None or package.repository not in call.system.lists:
            if action == "show":
                raise Ends(100, "E: No packages found\n")
            continue
        installed = call.system.packages.get(name, "(none)")
        call.out(
            {
                "policy": f"{name}:\n  Installed: {installed}\n  Candidate: {package.version}\n",
                "show": f"Package: {name}\nVersion: {package.version}\n\n",
                "madison": f"{name} | {package.version} | {package.repository}\n",
            }[action]
        )
    return 0


# --- dpkg


@command("dpkg")
def dpkg(call: Call) -> int:
    """-s, -l, --print-architecture, --configure -a."""
    first, rest = (call.arguments or [""])[0], call.arguments[1:]
    if first == "--print-architecture":
        call.out("amd64\n")
        return 0
    if first == "--configure" and rest in (["-a"], ["--pending"]):
        return 0
    if first in ("-s", "--status"):
        return _status(call, rest)
    if first in ("-l", "--list"):
        return _list(call, rest)
    raise Ends(2, f"dpkg: error: unknown option {first}\n")


def _status(call: Call, names: list[str]) -> int:
    code = 0
    for name in names:
        version = call.system.packages.get(name)
        if version is None:
            call.err(
                f"dpkg-query: package '{name}' is not installed and no information is available\n"
            )
            code = 1
        else:
            call.out(f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
    return code


def _list(call: Call, patterns: list[str]) -> int:
    found = _matching(call, patterns)
    if patterns and not found:
        raise Ends(1, f"dpkg-query: no packages found matching {patterns[0]}\n")
    for name in found:
        call.out(f"ii  {name:<40} {call.system.packages[name]:<30} amd64\n")
    return 0


def _matching(call: Call, patterns: list[str]) -> list[str]:
    return sorted(
        name
        for name in call.system.packages
        if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    )


@command("dpkg-query")
def dpkg_query(call: Call) -> int:
    """-W with a format, -s, -l."""
    options = parse(call.arguments, "-W --show -s -l --list", "-f --showformat", _no_query_option)
    if options.has("-s"):
        return _status(call, options.operands)
    if options.has("-l", "--list"):
        return _list(call, options.operands)
    if not options.has("-W", "--show"):
        raise Ends(2, "dpkg-query: error: need an action option\n")
    found = _matching(call, options.operands)
    for name in options.operands:
        if not any(fnmatch.fnmatch(other, name) for other in found):
            call.err(f"dpkg-query: no packages found matching {name}\n")
    form = options.value("-f", "--showformat") or "${Package}\t${Version}\n"
    for name in found:
        call.out(_formatted(call, name, form))
    return 0 if found else 1


def _formatted(call: Call, name: str, form: str) -> str:
    held = name in call.system.held
    fields = {
        "Package": name,
        "binary:Package": name,
        "Version": call.system.packages[name],
        "Status": f"{'hold' if held else 'install'} ok installed",
        "db:Status-Status": "installed",
        "db:Status-Abbrev": "hi " if held else "ii ",
        "Architecture": "amd64",
    }
    text = re.sub(r"\$\{([\w:-]+)(;-?\d+)?\}", lambda m: fields.get(m[1], ""), form)
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _no_query_option(option: str) -> Ends:
    return Ends(2, f"dpkg-query: error: unknown option {option}\n")

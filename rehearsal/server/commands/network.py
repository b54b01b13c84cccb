"""curl, wget and gpg against the emulated outside, and against what the server itself publishes."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rehearsal import faults
from rehearsal.server import outside
from rehearsal.server.commands.call import Call, Ends, Options, command, parse

_CURL_FLAGS = (
    "-f --fail -s --silent -S --show-error -L --location -I --head -O --remote-name -k --insecure "
    "-4 -6 -i --include --compressed --retry-connrefused --retry-all-errors --create-dirs -# "
    "--progress-bar --tlsv1.2 --tlsv1.3 --fail-with-body --http1.1 -v --verbose --no-progress-meter"
)
_CURL_VALUES = (
    "-o --output --retry --retry-delay --retry-max-time --connect-timeout -m --max-time -w "
    "--write-out -H --header -X --request -d --data --noproxy --proto -A --user-agent --speed-time "
    "--speed-limit -y -Y"
)
_LOCAL = ("127.0.0.1", "localhost")
_METADATA = "100.100.100.200"


@dataclass(frozen=True)
class _Failure(Exception):
    code: int
    text: str


@command("curl")
def curl(call: Call) -> int:
    """Fetches one URL or several."""
    options = parse(
        call.arguments,
        _CURL_FLAGS,
        _CURL_VALUES,
        lambda o: Ends(2, f"curl: option {o}: is unknown\n"),
    )
    if not options.operands:
        raise Ends(2, "curl: no URL specified!\n")
    code = 0
    for url in options.operands:
        code = _curl_one(call, options, url)
    return code


def _curl_one(call: Call, options: Options, url: str) -> int:
    tries = 1 + int(options.value("--retry") or 0)
    quiet = options.has("-s", "--silent") and not options.has("-S", "--show-error")
    for attempt in range(tries):
        try:
            answer = _fetch(call, options, url)
            break
        except _Failure as failure:
            if attempt + 1 < tries:
                call.pause(0.05)
                continue
            if not quiet:
                call.err(f"curl: ({failure.code}) {failure.text}\n")
            _write_out(call, options, 0)
            return failure.code
    failed = answer.status >= 400 and options.has("-f", "--fail", "--fail-with-body")
    if not failed or options.has("--fail-with-body"):
        _deliver(call, options, url, answer)
    elif not quiet:
        call.err(f"curl: (22) The requested URL returned error: {answer.status}\n")
    _write_out(call, options, answer.status)
    return 22 if failed else 0


def _write_out(call: Call, options: Options, status: int) -> None:
    form = options.value("-w", "--write-out")
    if form:
        values = {"http_code": f"{status:03}", "response_code": f"{status:03}"}
        text = re.sub(r"%\{(\w+)\}", lambda m: values.get(m[1], ""), form)
        call.out(text.replace("\\n", "\n"))


def _deliver(call: Call, options: Options, url: str, answer: outside.Answer) -> None:
    head = f"HTTP/1.1 {answer.status}\r\n\r\n".encode()
    body = answer.body
    if options.has("-I", "--head"):
        body = head
    elif options.has("-i", "--include"):
        body = head + body
    name = options.value("-o", "--output")
    if options.has("-O", "--remote-name"):
        name = Path(urlsplit(url).path).name
    if name is None or name == "-":
        call.out(body)
        return
    place = call.path(name)
    if options.has("--create-dirs"):
        place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.write_bytes(body)
    except OSError as error:
        raise Ends(23, f"curl: (23) Failure writing output to destination: {error}\n") from error


def _fetch(call: Call, options: Options, url: str) -> outside.Answer:
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in (*_LOCAL, call.address):
        return _fetch_local(call, options, url)
    if host == _METADATA:
        return _metadata(call, options, parts.path)
    if faults.take("host.download", host):
        raise _Failure(28, "Operation timed out after 20000 milliseconds with 0 bytes received")
    try:
        return outside.get(url, call.region)
    except outside.Unreachable as error:
        if error.reach is outside.Reach.NO_SUCH_HOST:
            raise _Failure(6, f"Could not resolve host: {host}") from error
        raise _Failure(
            28,
            f"Failed to connect to {host} port {error.port} after 20001 ms: Connection timed out",
        ) from error


def _fetch_local(call: Call, options: Options, url: str) -> outside.Answer:
    """A real request to a published port, from the server itself."""
    parts = urlsplit(url)
    limit = float(options.value("-m", "--max-time") or 30)
    data = options.value("-d", "--data")
    method = options.value("-X", "--request") or (
        "POST" if data is not None else "HEAD" if options.has("-I", "--head") else "GET"
    )
    headers = {
        name.strip(): value.strip()
        for name, _, value in (
            entry.partition(":")
            for entry in options.values.get("-H", []) + options.values.get("--header", [])
        )
    }
    port = parts.port or 80
    connection = http.client.HTTPConnection(
        call.address, port, timeout=limit, source_address=(call.address, 0)
    )
    try:
        query = f"?{parts.query}" if parts.query else ""
        body = data.encode() if data is not None else None
        connection.request(method, f"{parts.path or '/'}{query}", body, headers)
        response = connection.getresponse()
        return outside.Answer(response.status, response.read())
    except TimeoutError as error:
        raise _Failure(28, f"Operation timed out after {limit * 1000:.0f} milliseconds") from error
    except ConnectionRefusedError as error:
        raise _Failure(
            7, f"Failed to connect to {parts.hostname} port {port} after 0 ms: Connection refused"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failure(52, "Empty reply from server") from error
    finally:
        connection.close()


def _metadata(call: Call, options: Options, path: str) -> outside.Answer:
    """The cloud's metadata service, with tokens required (docs/facts/alicloud.md §1.2
    http_tokens)."""
    token = f"rehearsal-{call.system.hostname}"
    headers = " ".join(options.values.get("-H", []) + options.values.get("--header", []))
    if path == "/latest/api/token" and (options.value("-X", "--request") == "PUT"):
        return outside.Answer(200, token.encode())
    if token not in headers:
        return outside.Answer(403, b"Forbidden")
    facts = {"region-id": call.region, "private-ipv4": "172.16.0.10", "image-id": call.system.image}
    value = facts.get(path.removeprefix("/latest/meta-data/"))
    return outside.Answer(200, value.encode()) if value else outside.Answer(404)


@command("wget")
def wget(call: Call) -> int:
    """Fetches URLs into files, or to stdout with `-O-`."""
    options = parse(
        call.arguments,
        "-q --quiet -nv --no-verbose -S --spider -c --continue --no-check-certificate "
        "--show-progress --https-only",
        "-O --output-document -T --timeout -t --tries --waitretry --header -P "
        "--retry-on-http-error --connect-timeout --read-timeout",
        lambda o: Ends(2, f"wget: unrecognized option '{o}'\n"),
    )
    if not options.operands:
        raise Ends(1, "wget: missing URL\n")
    quiet = options.has("-q", "--quiet")
    for url in options.operands:
        try:
            answer = _fetch(call, Options(), url)
        except _Failure as failure:
            raise Ends(4, "" if quiet else f"wget: {failure.text}\n") from failure
        if answer.status >= 400:
            raise Ends(8, "" if quiet else f"ERROR {answer.status}\n")
        if options.has("--spider"):
            continue
        name = options.value("-O", "--output-document") or Path(urlsplit(url).path).name
        if name == "-":
            call.out(answer.body)
        else:
            call.path(name).write_bytes(answer.body)
    return 0


@command("gpg")
def gpg(call: Call) -> int:
    """--dearmor and --show-keys, of a file or of stdin."""
    options = parse(
        call.arguments,
        "--dearmor --yes --batch --no-tty -q --quiet --show-keys --with-fingerprint --no-options "
        "--version",
        "-o --output --homedir --no-default-keyring --keyring",
        lambda o: Ends(2, f'gpg: invalid option "{o}"\n'),
    )
    if options.has("--version"):
        call.out("gpg (GnuPG) 2.2.27\n")
        return 0
    given = [call.path(name).read_bytes() for name in options.operands] or [call.read_stdin()]
    key = outside.owner_of_key(given[0])
    if options.has("--show-keys") and key:
        call.out(f"pub   rsa4096\nuid   {key[0]}\n")
        return 0
    if not options.has("--dearmor") or key is None:
        raise Ends(2, "gpg: no valid OpenPGP data found.\n")
    content = outside.binary_key(key[0])
    name = options.value("-o", "--output")
    if name is None and options.operands:
        name = f"{options.operands[0]}.gpg"
    if name is None or name == "-":
        call.out(content)
        return 0
    place = call.path(name)
    if place.exists() and not options.has("--yes"):
        raise Ends(2, "gpg: cannot open '/dev/tty': No such device or address\n")
    if not place.parent.is_dir():
        raise Ends(2, f"gpg: can't create '{name}': No such file or directory\n")
    place.write_bytes(content)
    return 0

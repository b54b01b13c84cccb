"""The `docker` command. Its server half is the engine; without the daemon it says so."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from rehearsal.containers.engine import VERSION
from rehearsal.containers.spec import EngineError, Json
from rehearsal.server.commands.call import Call, Ends, Options, command
from rehearsal.server.commands.call import parse as parse_options
from rehearsal.server.commands.go_template import TemplateError, render

_NO_DAEMON = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon "
    "running?\n"
)
_GROUPS = ("container", "image", "manifest", "volume", "network", "system")
_BY_GROUP = {"images": "image ls", "rmi": "image rm", "pull": "image pull", "info": "system info"}


@command("docker")
def docker(call: Call) -> int:
    """`docker [group] verb ...`."""
    arguments = list(call.arguments)
    if arguments[:1] in (["--version"], ["-v"]):
        call.out(f"Docker version {VERSION}, build 9a84135\n")
        return 0
    verb = arguments.pop(0) if arguments else ""
    if verb in _GROUPS and arguments:
        verb = f"{verb} {arguments.pop(0)}"
    verb = _BY_GROUP.get(verb, verb.removeprefix("container "))
    handler = _VERBS.get(verb)
    if handler is None:
        raise Ends(
            1,
            f"docker: unknown command: docker {verb}\n\nRun 'docker --help' for more information\n",
        )
    try:
        return handler(call, arguments)
    except EngineError as error:
        code = 125 if verb == "run" else 1
        lead = "docker: " if verb == "run" else ""
        raise Ends(code, f"{lead}Error response from daemon: {error}\n") from error
    except TemplateError as error:
        raise Ends(64 if "parsing" in str(error) else 1, f"{error}\n") from error


def _options(
    arguments: list[str], flags: str = "", values: str = "", stop: bool = False
) -> Options:
    return parse_options(
        arguments,
        flags,
        values,
        lambda option: Ends(
            125, f"unknown flag: {option}\n\nRun 'docker --help' for more information\n"
        ),
        stop_at_operand=stop,
    )


def _ask(call: Call, operation: str, **arguments: Json) -> Json:
    if not call.engine.running:
        raise Ends(1, _NO_DAEMON)
    return call.wait(call.engine.call(operation, arguments))


def _print(call: Call, options: Options, rows: list[Any], plain: Callable[[Any], str]) -> None:
    form = options.value("-f", "--format")
    if form == "json":
        form = "{{json .}}"
    for row in rows:
        text = render(form.removeprefix("table "), row) if form else plain(row)
        call.out(f"{text}\n")


def _version(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "", "-f --format")
    client = {"Version": VERSION, "ApiVersion": "1.54", "Os": "linux", "Arch": "amd64"}
    form = options.value("-f", "--format")
    if form is None:
        call.out(f"Client: Docker Engine - Community\n Version:           {VERSION}\n")
        server = _ask(call, "version")
        call.out(
            "\nServer: Docker Engine - Community\n Engine:\n"
            f"  Version:          {server['Version']}\n"
        )
        return 0
    if ".Server" not in form and form != "json":
        call.out(render(form, {"Client": client}) + "\n")
        return 0
    if not call.engine.running:
        call.out("\n")
        raise Ends(1, _NO_DAEMON)
    _print(call, options, [{"Client": client, "Server": _ask(call, "version")}], str)
    return 0


def _info(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "", "-f --format")
    info = _ask(call, "info")
    lines = [
        f"Server Version: {info['ServerVersion']}",
        f"Storage Driver: {info['Driver']}",
        f"Logging Driver: {info['LoggingDriver']}",
        f"Runtimes: {' '.join(info['Runtimes'])}",
        f"Live Restore Enabled: {str(info['LiveRestoreEnabled']).lower()}",
        "Registry Mirrors:",
        *(f"  {mirror}" for mirror in info["RegistryConfig"]["Mirrors"]),
    ]
    _print(call, options, [info], lambda _: "\n".join(lines))
    return 0


def _pull(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "-q --quiet", "--platform")
    if len(options.operands) != 1:
        raise Ends(1, "docker: 'docker pull' requires 1 argument\n")
    reference = options.operands[0]
    quiet = options.has("-q", "--quiet")

    def report(line: str) -> None:
        if not quiet:
            call.out(f"{line}\n")

    if not call.engine.running:
        raise Ends(1, _NO_DAEMON)
    call.wait(call.engine.api_image_pull(reference, report))
    call.out(f"{_full_name(reference)}\n")
    return 0


def _full_name(reference: str) -> str:
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"


def _inspect_image(call: Call, arguments: list[str]) -> int:
    return _inspect_each(call, arguments, [("image_inspect", "reference")], "image")


def _inspect_manifest(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "--insecure -v --verbose")
    (reference,) = options.operands
    try:
        found = _ask(call, "manifest_inspect", reference=reference)
    except EngineError as error:
        # The command asks the registry itself: it is not the daemon that answers.
        raise Ends(1, f"{error}\n") from error
    call.out(json.dumps(found, indent="\t") + "\n")
    return 0


def _inspect(call: Call, arguments: list[str]) -> int:
    kinds = [
        ("container_inspect", "id"),
        ("image_inspect", "reference"),
        ("volume_inspect", "name"),
        ("network_inspect", "name"),
    ]
    return _inspect_each(call, arguments, kinds, "object")


def _inspect_each(call: Call, arguments: list[str], kinds: list[tuple[str, str]], what: str) -> int:
    options = _options(arguments, "-s --size", "-f --format --type")
    found, missing = [], []
    for name in options.operands:
        row = next((r for kind, key in kinds if (r := _maybe(call, kind, key, name))), None)
        found += [row] if row else []
        missing += [] if row else [name]
    if options.value("-f", "--format"):
        _print(call, options, found, str)
    else:
        call.out(json.dumps(found, indent=4) + "\n")
    for name in missing:
        call.err(f"Error: No such {what}: {name}\n")
    return 1 if missing or not options.operands else 0


def _maybe(call: Call, operation: str, key: str, name: str) -> Json:
    try:
        return _ask(call, operation, **{key: name})
    except EngineError as error:
        if error.status == 404:
            return None
        raise


def _images(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "-q --quiet -a --all --no-trunc", "-f --format --filter")
    rows = []
    for image in _ask(call, "image_list"):
        repository, _, tag = image["RepoTags"][0].rpartition(":")
        rows.append({"ID": image["Id"][7:19], "Repository": repository, "Tag": tag})
    wanted = options.operands
    rows = [
        r
        for r in rows
        if not wanted or r["Repository"] in wanted or f"{r['Repository']}:{r['Tag']}" in wanted
    ]
    if options.has("-q", "--quiet"):
        call.out("".join(f"{row['ID']}\n" for row in rows))
        return 0
    options.values.pop("-f", None)
    _print(call, options, rows, lambda row: f"{row['Repository']}   {row['Tag']}   {row['ID']}")
    return 0


def _remove_images(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "-f --force")
    for name in options.operands:
        _ask(call, "image_remove", reference=name, force=options.has("-f", "--force"))
        call.out(f"Untagged: {name}\n")
    return 0


_FILTERS = ("name", "status", "health", "id", "label", "network", "ancestor")


def _ps(call: Call, arguments: list[str]) -> int:
    options = _options(
        arguments, "-a --all -q --quiet --no-trunc -l --latest", "--filter --format -n"
    )
    # -f is short for --filter here.
    filters = [entry.partition("=")[::2] for entry in options.values.get("--filter", [])]
    for key, _ in filters:
        if key not in _FILTERS:
            raise Ends(1, f"Error response from daemon: invalid filter '{key}'\n")
    everything = options.has("-a", "--all") or any(key == "status" for key, _ in filters)
    rows = [
        r
        for r in _ask(call, "container_list", all=everything)
        if all(_fits(r, *f) for f in filters)
    ]
    if not options.has("--no-trunc"):
        rows = [{**row, "ID": row["ID"][:12]} for row in rows]
    if options.has("-q", "--quiet"):
        call.out("".join(f"{row['ID']}\n" for row in rows))
        return 0
    if options.value("--format") is None:
        call.out("CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES\n")
    _print(
        call,
        options,
        rows,
        lambda r: "   ".join(
            (r["ID"], r["Image"], r["Command"], r["CreatedAt"], r["Status"], r["Ports"], r["Names"])
        ),
    )
    return 0


def _fits(row: dict[str, Any], key: str, value: str) -> bool:
    if key == "name":
        return value.strip("^$/") in row["Names"]
    if key == "status":
        return bool(row["State"] == value)
    if key == "health":
        return bool((row["Health"] or "none") == value)
    if key == "id":
        return bool(row["ID"].startswith(value))
    if key == "label":
        labels = row["Labels"].split(",")
        return value in labels or any(label.startswith(f"{value}=") for label in labels)
    if key == "network":
        return value in row["Networks"].split(",")
    return bool(row["Image"] == value)


_RUN_FLAGS = "--rm -d --detach -i --interactive -t --tty --init"
_RUN_VALUES = (
    "--gpus --name -e --env -v --volume -p --publish --network --net --entrypoint --restart -w "
    "--workdir -u --user --hostname --label -l --memory -m --shm-size --pull --health-cmd "
    "--health-interval --log-driver --log-opt --add-host --env-file --ipc --runtime"
)


def _run(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, _RUN_FLAGS, _RUN_VALUES, stop=True)
    if not options.operands:
        raise Ends(1, "docker: 'docker run' requires at least 1 argument\n")
    image, *rest = options.operands
    if _maybe(call, "image_inspect", "reference", image) is None:
        if options.value("--pull") == "never":
            raise Ends(125, f"docker: Error response from daemon: No such image: {image}\n")
        call.err(f"Unable to find image '{image}' locally\n")
        call.wait(call.engine.api_image_pull(image, lambda line: call.err(f"{line}\n")))
    id = _ask(call, "container_create", spec=_run_spec(options, image, rest))["Id"]
    detached = options.has("-d", "--detach")
    removes = options.has("--rm")
    try:
        _ask(call, "container_start", id=id)
        if detached:
            call.out(f"{id}\n")
            return 0
        code: int = _ask(call, "container_wait", id=id)
        for stream, text in _ask(call, "container_logs", id=id):
            (call.out if stream == "stdout" else call.err)(text)
        return code
    finally:
        if removes and not detached:
            call.wait(call.engine.api_container_remove(id, force=True, volumes=True))


def _run_spec(options: Options, image: str, command: list[str]) -> dict[str, Any]:
    unsupported = {
        "--ipc",
        "--runtime",
        "--env-file",
        "--health-cmd",
        "--health-interval",
        "-u",
        "--user",
    }
    for name in unsupported & options.values.keys():
        raise Ends(125, f"the rehearsed `docker run` has no {name}: use the Docker provider\n")
    network = options.value("--network", "--net")
    entrypoint = options.value("--entrypoint")
    restart, _, retries = (options.value("--restart") or "no").partition(":")
    spec: dict[str, Any] = {
        "name": options.value("--name") or f"rehearsal_{os.urandom(4).hex()}",
        "image": image,
        "command": command,
        "env": options.values.get("-e", []) + options.values.get("--env", []),
        "networks": {network: []} if network and network != "bridge" else {},
        "ports": [
            _run_port(p) for p in options.values.get("-p", []) + options.values.get("--publish", [])
        ],
        "mounts": [
            _run_mount(v) for v in options.values.get("-v", []) + options.values.get("--volume", [])
        ],
        "gpus": options.value("--gpus") or "",
        "restart": {"name": restart, "maximum": int(retries or 0)},
        "working_dir": options.value("-w", "--workdir") or "",
        "hostname": options.value("--hostname") or "",
        "hosts": options.values.get("--add-host", []),
        "auto_remove": options.has("--rm") and options.has("-d", "--detach"),
    }
    return spec if entrypoint is None else {**spec, "entrypoint": [entrypoint]}


def _run_port(text: str) -> dict[str, Any]:
    *outer, internal = text.removesuffix("/tcp").split(":")
    if not outer:
        raise Ends(125, f"the rehearsed `docker run` publishes no random ports ({text})\n")
    ip = ":".join(outer[:-1]) or "0.0.0.0"
    return {"internal": int(internal), "external": int(outer[-1]), "ip": ip}


def _run_mount(text: str) -> dict[str, Any]:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    return {"source": source, "target": target, "read_only": mode == "ro"}


def _exec(call: Call, arguments: list[str]) -> int:
    options = _options(
        arguments,
        "-i --interactive -t --tty -d --detach",
        "-e --env -w --workdir -u --user",
        stop=True,
    )
    if len(options.operands) < 2:
        raise Ends(1, "docker: 'docker exec' requires at least 2 arguments\n")
    if options.has("-t", "--tty"):
        raise Ends(1, "the input device is not a TTY\n")
    name, *command_line = options.operands
    env = dict(
        entry.partition("=")[::2]
        for entry in options.values.get("-e", []) + options.values.get("--env", [])
    )
    if not call.engine.running:
        raise Ends(1, _NO_DAEMON)
    stdin = call.stdin if options.has("-i", "--interactive") else asyncio.subprocess.DEVNULL
    return call.wait(_execute(call, name, command_line, env, stdin))


async def _execute(
    call: Call, name: str, command_line: list[str], env: dict[str, str], stdin: int
) -> int:
    container = call.engine.find(name)
    try:
        process = await container.execute(
            command_line, env, stdin=stdin, stdout=call.stdout, stderr=call.stderr
        )
    except EngineError as error:
        if "executable file not found" in str(error) or "no such file" in str(error):
            raise Ends(127, f"OCI runtime exec failed: {error}\n") from error
        raise
    try:
        return await process.wait()
    finally:
        container.leave(process)


def _logs(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "-t --timestamps --details", "-n --tail --since")
    tail = options.value("-n", "--tail")
    number = int(tail) if tail and tail != "all" else None
    for stream, text in _ask(call, "container_logs", id=options.operands[0], tail=number):
        (call.out if stream == "stdout" else call.err)(text)
    return 0


def _each(operation: str, values: str = "", flags: str = "") -> Callable[[Call, list[str]], int]:
    def handler(call: Call, arguments: list[str]) -> int:
        options = _options(arguments, flags, values)
        if not options.operands:
            raise Ends(1, "docker: requires at least 1 argument\n")
        code = 0
        for name in options.operands:
            try:
                _one(call, operation, options, name)
                call.out(f"{name}\n")
            except EngineError as error:
                call.err(f"Error response from daemon: {error}\n")
                code = 1
        return code

    return handler


def _one(call: Call, operation: str, options: Options, name: str) -> None:
    if operation == "container_remove":
        try:
            _ask(
                call,
                operation,
                id=name,
                force=options.has("-f", "--force"),
                volumes=options.has("-v", "--volumes"),
            )
        except EngineError as error:
            # `rm -f` of what is not there is no error.
            if not (options.has("-f", "--force") and error.status == 404):
                raise
    elif operation in ("container_stop", "container_restart"):
        limit = options.value("-t", "--time", "--timeout")
        _ask(call, operation, id=name, timeout=float(limit) if limit else None)
    elif operation == "container_start":
        _ask(call, operation, id=name)
    else:
        _ask(call, operation, name=name)


def _wait(call: Call, arguments: list[str]) -> int:
    for name in _options(arguments).operands:
        call.out(f"{_ask(call, 'container_wait', id=name)}\n")
    return 0


def _list(operation: str, columns: tuple[str, ...]) -> Callable[[Call, list[str]], int]:
    def handler(call: Call, arguments: list[str]) -> int:
        options = _options(arguments, "-q --quiet", "--format --filter -f")
        rows = _ask(call, operation)
        for entry in options.values.pop("-f", []) + options.values.pop("--filter", []):
            key, _, value = entry.partition("=")
            if key != "name":
                raise Ends(1, f"Error response from daemon: invalid filter '{key}'\n")
            rows = [row for row in rows if value in row["Name"]]
        if options.has("-q", "--quiet"):
            key = "Name" if operation == "volume_list" else "Id"
            call.out("".join(f"{row[key][:12] if key == 'Id' else row[key]}\n" for row in rows))
            return 0
        _print(call, options, rows, lambda row: "   ".join(str(row[c]) for c in columns))
        return 0

    return handler


def _create_network(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "--internal", "-d --driver")
    name = options.operands[0]
    driver = options.value("-d", "--driver") or "bridge"
    made = _ask(
        call, "network_create", name=name, driver=driver, internal=options.has("--internal")
    )
    call.out(f"{made['Id']}\n")
    return 0


def _create_volume(call: Call, arguments: list[str]) -> int:
    options = _options(arguments, "", "-d --driver")
    made = _ask(call, "volume_create", name=(options.operands or [""])[0])
    call.out(f"{made['Name']}\n")
    return 0


def _dial_stdio(call: Call, arguments: list[str]) -> int:
    """The provider's way to the engine: one JSON request a line, one JSON answer a line.

    A request is `{"operation": ..., "arguments": {...}}`, an answer `{"answer": ...}` or
    `{"error": ..., "status": ...}`. The real one carries Docker's HTTP API.
    """
    if not call.engine.running:
        raise Ends(1, _NO_DAEMON)
    with os.fdopen(os.dup(call.stdin), "rb") as requests:
        for line in requests:
            request = json.loads(line)
            call.out(json.dumps(_answered(call, request)) + "\n")
    return 0


def _answered(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": _ask(call, request["operation"], **request["arguments"])}
    except EngineError as error:
        return {"error": str(error), "status": error.status}
    except Ends as end:
        return {"error": end.text.strip(), "status": 503}


_Handler = Callable[[Call, list[str]], int]
_VERBS: dict[str, _Handler] = {
    "version": _version,
    "system info": _info,
    "system dial-stdio": _dial_stdio,
    "image pull": _pull,
    "image inspect": _inspect_image,
    "manifest inspect": _inspect_manifest,
    "image ls": _images,
    "image rm": _remove_images,
    "inspect": _inspect,
    "ps": _ps,
    "ls": _ps,
    "run": _run,
    "exec": _exec,
    "logs": _logs,
    "start": _each("container_start"),
    "stop": _each("container_stop", "-t --time --timeout"),
    "restart": _each("container_restart", "-t --time --timeout"),
    "rm": _each("container_remove", flags="-f --force -v --volumes"),
    "wait": _wait,
    "volume ls": _list("volume_list", ("Driver", "Name")),
    "volume rm": _each("volume_remove"),
    "volume create": _create_volume,
    "volume inspect": _inspect,
    "network ls": _list("network_list", ("Id", "Name", "Driver", "Scope")),
    "network rm": _each("network_remove"),
    "network create": _create_network,
    "network inspect": _inspect,
}

"""systemd: services, and the journal of what failed."""

from __future__ import annotations

from rehearsal.server.commands.call import Call, Ends, command, parse
from rehearsal.server.system import Unit

_FLAGS = (
    "--now --no-pager -q --quiet --wait --no-block -l --full --force -f --all -a --no-ask-password "
    "--no-legend --plain --value --no-reload --system"
)
_VALUES = "-p --property -t --type -n --lines -o --output --job-mode --state"


@command("systemctl")
def systemctl(call: Call) -> int:
    """The verbs that scripts use."""
    options = parse(
        call.arguments,
        _FLAGS,
        _VALUES,
        lambda o: Ends(1, f"systemctl: unrecognized option '{o}'\n"),
    )
    verb, names = (options.operands or ["list-units"])[0], options.operands[1:]
    quiet = options.has("-q", "--quiet")
    if verb == "daemon-reload":
        return 0
    if verb == "is-system-running":
        call.out("" if quiet else "running\n")
        return 0
    if verb in ("is-active", "is-enabled", "is-failed"):
        return max((_ask(call, verb, name, quiet) for name in names), default=1)
    if verb in ("show", "status", "cat"):
        return max(
            (
                _show(call, verb, name, options.value("-p", "--property"), options.has("--value"))
                for name in names
            ),
            default=0,
        )
    if verb in (
        "start",
        "stop",
        "restart",
        "try-restart",
        "reload-or-restart",
        "reload",
        "reset-failed",
    ):
        return max((_change(call, verb, name) for name in names), default=0)
    if verb in ("enable", "disable", "mask", "unmask"):
        return max((_enable(call, verb, name, options.has("--now")) for name in names), default=0)
    raise Ends(1, f"Unknown command verb {verb}.\n")


@command("service")
def service(call: Call) -> int:
    """`service NAME VERB`."""
    if len(call.arguments) != 2:
        raise Ends(1, "Usage: service < option > | --status-all | [ service_name [ command ] ]\n")
    name, verb = call.arguments
    if verb == "status":
        return _show(call, "status", name, None, False)
    return _change(call, verb, name)


def _unit(call: Call, name: str) -> Unit | None:
    return call.system.units.get(name.removesuffix(".service"))


def _ask(call: Call, verb: str, name: str, quiet: bool) -> int:
    unit = _unit(call, name)
    if verb == "is-active":
        state = "inactive" if unit is None else _state(unit)
        good = state == "active"
        code = 0 if good else 3
    elif verb == "is-failed":
        state = "inactive" if unit is None else _state(unit)
        code = 0 if state == "failed" else 1
    elif unit is None:
        call.err(f"Failed to get unit file state for {name}: No such file or directory\n")
        return 1
    else:
        state = "masked" if unit.masked else "enabled" if unit.enabled else "disabled"
        code = 0 if state == "enabled" else 1
    if not quiet:
        call.out(f"{state}\n")
    return code


def _state(unit: Unit) -> str:
    return "failed" if unit.failed else "active" if unit.active else "inactive"


def _show(call: Call, verb: str, name: str, wanted: str | None, value_only: bool) -> int:
    unit = _unit(call, name)
    if verb == "show":
        facts = {
            "ActiveState": _state(unit) if unit else "inactive",
            "SubState": "running" if unit and unit.active else "dead",
            "LoadState": "masked" if unit and unit.masked else "loaded" if unit else "not-found",
            "UnitFileState": "enabled" if unit and unit.enabled else "",
        }
        for key in wanted.split(",") if wanted else facts:
            call.out(f"{facts.get(key, '')}\n" if value_only else f"{key}={facts.get(key, '')}\n")
        return 0
    if unit is None:
        raise Ends(4, f"Unit {name} could not be found.\n")
    if verb == "cat":
        call.out(f"# /lib/systemd/system/{unit.name}.service\n")
        return 0
    call.out(f"● {unit.name}.service\n     Active: {_state(unit)}\n")
    call.out("".join(f"{note}\n" for note in call.system.notes if unit.name in note))
    return 0 if unit.active else 3


def _change(call: Call, verb: str, name: str) -> int:
    unit = _unit(call, name)
    if unit is None:
        raise Ends(5, f"Failed to {verb} {_full(name)}: Unit {_full(name)} not found.\n")
    if verb == "reset-failed":
        unit.failed = False
        return 0
    if verb == "reload" and unit.name not in ("docker", "ssh"):
        raise Ends(
            1, f"Failed to reload {_full(name)}: Job type reload is not applicable for unit.\n"
        )
    if verb == "stop":
        return _stop(call, unit)
    if unit.masked:
        raise Ends(1, f"Failed to {verb} {_full(name)}: Unit {_full(name)} is masked.\n")
    if verb == "try-restart" and not unit.active:
        return 0
    if verb in ("restart", "try-restart", "reload-or-restart"):
        call.system.stop_service(unit.name)
        unit.active = False
    return _start(call, unit) if verb != "reload" else 0


def _full(name: str) -> str:
    return name if "." in name else f"{name}.service"


def _stop(call: Call, unit: Unit) -> int:
    call.system.stop_service(unit.name)
    unit.active = unit.failed = False
    if unit.name == "unattended-upgrades" or unit.name.startswith("apt-daily"):
        call.system.apt_lock.let_go()
    return 0


def _start(call: Call, unit: Unit) -> int:
    if unit.active:
        return 0
    problem = call.system.start_service(unit.name)
    unit.failed, unit.active = problem is not None, problem is None
    if problem is None:
        return 0
    call.system.notes.append(f"{unit.name}: {problem}")
    raise Ends(
        1,
        f"Job for {unit.name}.service failed because the control process exited with error code.\n"
        f'See "systemctl status {unit.name}.service" and "journalctl -xeu {unit.name}.service" for '
        "details.\n",
    )


def _enable(call: Call, verb: str, name: str, now: bool) -> int:
    unit = _unit(call, name)
    if unit is None:
        if verb in ("mask", "unmask"):
            return 0
        raise Ends(1, f"Failed to {verb} unit: Unit file {_full(name)} does not exist.\n")
    if verb == "enable" and unit.masked:
        raise Ends(1, f"Failed to enable unit: Unit file {_full(name)} is masked.\n")
    unit.enabled = verb in ("enable", "unmask") if verb != "mask" else False
    unit.masked = verb == "mask" or (unit.masked and verb != "unmask")
    if now:
        return _start(call, unit) if verb == "enable" else _stop(call, unit)
    return 0


@command("journalctl")
def journalctl(call: Call) -> int:
    """What failed services said."""
    options = parse(
        call.arguments,
        "--no-pager -x -e -q -b -r -xe -xeu",
        "-u --unit -n --lines -o --output --since -p",
    )
    unit = (options.value("-u", "--unit") or "").removesuffix(".service")
    notes = [note for note in call.system.notes if not unit or note.startswith(f"{unit}:")]
    call.out("".join(f"{note}\n" for note in notes) or "-- No entries --\n")
    return 0

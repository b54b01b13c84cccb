"""The rest of Ubuntu: booting, cloud-init, kernel settings, and small tools."""

from __future__ import annotations

from rehearsal.server import packages
from rehearsal.server.commands.call import Call, Ends, command, parse
from rehearsal.server.system import ConfigError, read_daemon_config


@command("cloud-init")
def cloud_init(call: Call) -> int:
    """`status [--wait] [--long]`, `--version`."""
    if call.arguments in (["--version"], ["-v"]):
        call.out("/usr/bin/cloud-init 24.4.1-0ubuntu0~22.04.1\n")
        return 0
    options = parse(call.arguments, "--wait -w --long -l", "--format", _usage)
    if options.operands != ["status"]:
        raise _usage(" ".join(options.operands))
    if options.has("--wait", "-w"):
        while not call.system.cloud_init_done.is_set():
            call.out(".")
            call.pause(0.1)
        call.out("\n")
    done = call.system.cloud_init_done.is_set()
    if options.value("--format") == "json":
        call.out('{"status": "%s", "errors": []}\n' % ("done" if done else "running"))
    else:
        call.out(f"status: {'done' if done else 'running'}\n")
    if options.has("--long", "-l"):
        call.out("detail:\nDataSourceAliYun\n")
    return 0


def _usage(option: str) -> Ends:
    return Ends(2, f"cloud-init: error: unrecognized arguments: {option}\n")


@command("sshd")
def sshd(call: Call) -> int:
    """`-t`: whether the configuration reads; what is in `sshd_config.d` is not heeded here."""
    parse(call.arguments, "-t")
    return 0


@command("reboot")
def reboot(call: Call) -> int:
    """The server goes down and comes back."""
    parse(call.arguments, "-f --force --no-wall")
    call.reboot(True)
    return 0


@command("shutdown")
def shutdown(call: Call) -> int:
    """`-r`, `-h`, now or in some minutes; `-c`."""
    options = parse(call.arguments, "-r -h -P -H -c --no-wall -k")
    if options.has("-c", "-k"):
        return 0
    when = (options.operands or ["+1"])[0]
    if when not in ("now", "+0") and not when.startswith("+"):
        raise Ends(1, f"Failed to parse time specification: {when}\n")
    call.reboot(options.has("-r"))
    return 0


@command("hostname")
def hostname(call: Call) -> int:
    """The server's name."""
    if call.arguments in ([], ["-s"], ["-f"]):
        call.out(f"{call.system.hostname}\n")
    elif call.arguments in (["-I"], ["-i"]):
        call.out(f"{call.address} \n")
    else:
        raise Ends(1, "hostname: you must be root to change the host name\n")
    return 0


@command("hostnamectl")
def hostnamectl(call: Call) -> int:
    """`set-hostname`, `status`."""
    if call.arguments[:1] in (["set-hostname"], ["hostname"]) and len(call.arguments) == 2:
        call.system.hostname = call.arguments[1]
        (call.system.root / "etc/hostname").write_text(f"{call.arguments[1]}\n")
        return 0
    if call.arguments in ([], ["status"]):
        call.out(f" Static hostname: {call.system.hostname}\n")
        return 0
    raise Ends(1, f"Unknown command verb {(call.arguments or [''])[0]}.\n")


@command("lsb_release")
def lsb_release(call: Call) -> int:
    """-c, -i, -r, -d, -a, with -s."""
    options = parse(call.arguments, "-c -i -r -d -a -s --codename --short --id --release --all")
    number, name = call.system.release
    facts = {
        "-i": ("Distributor ID", "Ubuntu"),
        "-d": ("Description", f"Ubuntu {number} LTS"),
        "-r": ("Release", number),
        "-c": ("Codename", name),
    }
    long = {"-c": "--codename", "-i": "--id", "-r": "--release", "-d": "--description"}
    for flag, (title, value) in facts.items():
        if options.has(flag, long[flag], "-a", "--all"):
            call.out(f"{value}\n" if options.has("-s", "--short") else f"{title}:\t{value}\n")
    return 0


@command("dockerd")
def dockerd(call: Call) -> int:
    """`--validate --config-file FILE`, `--version`."""
    options = parse(
        call.arguments,
        "--validate --version -v",
        "--config-file",
        lambda o: Ends(125, f"unknown flag: {o}\nSee 'dockerd --help'.\n"),
    )
    if options.has("--version", "-v"):
        call.out("Docker version 29.8.0, build 9a84135\n")
        return 0
    if not options.has("--validate"):
        raise Ends(1, "the rehearsal starts dockerd with `systemctl start docker` only\n")
    place = call.path(
        options.value("--config-file") or f"{call.system.root}/etc/docker/daemon.json"
    )
    if not place.exists() and options.value("--config-file"):
        raise Ends(
            1,
            f"unable to configure the Docker daemon with file {place}: open {place}: no such file "
            "or directory\n",
        )
    try:
        read_daemon_config(place) if place.exists() else {}
    except ConfigError as error:
        raise Ends(1, f"{error}\n") from error
    call.out("configuration OK\n")
    return 0


@command("sysctl")
def sysctl(call: Call) -> int:
    """-w NAME=VALUE, -n NAME, -p [FILE], --system."""
    options = parse(call.arguments, "-w -n -q -e -p --system --load -a")
    if options.has("--system", "-p", "--load"):
        return 0
    for item in options.operands:
        name, equals, value = item.partition("=")
        if "." not in name and "/" not in name:
            raise Ends(255, f"sysctl: cannot stat /proc/sys/{name}: No such file or directory\n")
        shown = value if equals else "1"
        if not options.has("-q"):
            call.out(f"{shown}\n" if options.has("-n") else f"{name} = {shown}\n")
    return 0


@command("growpart")
def growpart(call: Call) -> int:
    """The image grows its partition at first boot, so nothing is left to do."""
    if len(call.arguments) != 2:
        raise Ends(2, "FAILED: must supply disk and partition\n")
    call.out("NOCHANGE: partition 1 is size 2097149919. it cannot be grown\n")
    return 1


@command("resize2fs")
def resize2fs(call: Call) -> int:
    """As after cloud-init's own resize."""
    if len(call.arguments) != 1:
        raise Ends(1, "Usage: resize2fs device\n")
    call.err("The filesystem is already 262143739 (4k) blocks long.  Nothing to do!\n\n")
    return 0


@command("fuser")
def fuser(call: Call) -> int:
    """Who holds a file: only dpkg's locks are ever held."""
    options = parse(call.arguments, "-v -s -k -m")
    locks = [name for name in options.operands if "/dpkg/lock" in name or "/apt/lists/lock" in name]
    if locks and call.system.apt_lock.holder():
        if not options.has("-s"):
            call.out(" 1187\n")
        return 0
    return 1


@command("needrestart")
def needrestart(call: Call) -> int:
    """Nothing needs a restart."""
    parse(call.arguments, "-b -k -l -w", "-r -m")
    return 0


@command("update-initramfs")
def update_initramfs(call: Call) -> int:
    """Says what it would have done."""
    parse(call.arguments, "-u -c -v", "-k")
    call.out(f"update-initramfs: Generating /boot/initrd.img-{packages.KERNEL}\n")
    return 0


@command("usermod")
def usermod(call: Call) -> int:
    """`-aG docker root`: root needs no group."""
    options = parse(call.arguments, "-a --append", "-G --groups -s --shell")
    if options.operands != ["root"]:
        raise Ends(6, f"usermod: user '{' '.join(options.operands)}' does not exist\n")
    return 0

"""The NVIDIA driver's and the container toolkit's commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rehearsal import faults
from rehearsal.server import packages
from rehearsal.server.commands.apt import apt_get
from rehearsal.server.commands.call import Call, Ends, command, parse
from rehearsal.server.nvidia_smi import answer


@command("nvidia-smi")
def nvidia_smi(call: Call) -> int:
    """Works once the kernel module of the same version is loaded."""
    system = call.system
    tools = packages.driver_tools(system.packages)
    if system.loaded_driver is None:
        raise Ends(
            9,
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
            "sure that the latest NVIDIA driver is installed and running.\n\n",
        )
    if tools != system.loaded_driver or faults.take("host.driver_mismatch", "nvidia-smi"):
        raise Ends(
            18,
            "Failed to initialize NVML: Driver/library version mismatch\n"
            f"NVML library version: {(tools or '')[:7]}\n",
        )
    code, text = answer(call.arguments, system.gpus, system.loaded_driver)
    call.out(text)
    return code


@command("nvidia-ctk")
def nvidia_ctk(call: Call) -> int:
    """`runtime configure` merges into daemon.json; `--version`."""
    if call.arguments in (["--version"], ["-v"]):
        call.out(f"NVIDIA Container Toolkit CLI version {packages.TOOLKIT_VERSION[:-2]}\n")
        return 0
    if call.arguments[:2] != ["runtime", "configure"]:
        raise Ends(1, f"No help topic for '{' '.join(call.arguments[:2])}'\n")
    options = parse(
        call.arguments[2:],
        "--set-as-default --nvidia-set-as-default --dry-run",
        "--runtime --config",
        lambda option: Ends(1, f"Incorrect Usage: flag provided but not defined: {option}\n"),
    )
    runtime = options.value("--runtime") or "docker"
    if runtime != "docker":
        raise Ends(1, f"ERRO unable to load config for runtime {runtime}\n")
    given = options.value("--config")
    place = _config_place(call, given or "/etc/docker/daemon.json")
    config = _read(place)
    config.setdefault("runtimes", {})["nvidia"] = {"args": [], "path": "nvidia-container-runtime"}
    if options.has("--set-as-default", "--nvidia-set-as-default"):
        config["default-runtime"] = "nvidia"
    text = json.dumps(config, indent=4)
    if options.has("--dry-run"):
        call.out(f"{text}\n")
        return 0
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    call.err("INFO Wrote updated config to /etc/docker/daemon.json\n")
    call.err("INFO It is recommended that docker daemon be restarted.\n")
    return 0


def _config_place(call: Call, text: str) -> Path:
    place = Path(text)
    root = call.system.root
    if place.is_absolute() and not place.is_relative_to(root):
        return root / text.lstrip("/")
    return call.path(text)


def _read(place: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(place.read_text() or "{}") if place.exists() else {}
    except ValueError as error:
        raise Ends(1, f"ERRO unable to load config for runtime docker: {error}\n") from error
    return found


@command("nvidia-container-runtime")
def nvidia_container_runtime(call: Call) -> int:
    """Only says its version."""
    if call.arguments != ["--version"]:
        raise Ends(1, "ERRO no command specified\n")
    call.out(f"NVIDIA Container Runtime version {packages.TOOLKIT_VERSION[:-2]}\n")
    return 0


@command("modprobe")
def modprobe(call: Call) -> int:
    """Loads the NVIDIA module where one was built; Ubuntu's own modules are there."""
    options = parse(call.arguments, "-a -q -v -r --all --quiet --remove")
    for module in options.operands:
        if module.replace("-", "_") in ("overlay", "br_netfilter", "tcp_bbr", "nf_conntrack"):
            continue
        is_ours = module in ("nvidia", "nvidia-uvm", "nvidia-drm", "nvidia-modeset") or (
            module.replace("_", "-") in ("nvidia-uvm", "nvidia-drm", "nvidia-modeset")
        )
        if options.has("-r", "--remove") and is_ours:
            call.system.loaded_driver = None
            continue
        if not is_ours or packages.driver_module(call.system.packages) is None:
            raise Ends(
                1,
                f"modprobe: FATAL: Module {module} not found in directory "
                f"/lib/modules/{packages.KERNEL}\n",
            )
        if not call.system.load_driver():
            raise Ends(1, "modprobe: ERROR: could not insert 'nvidia': No such device\n")
    return 0


@command("lsmod")
def lsmod(call: Call) -> int:
    """Lists the NVIDIA modules when they are loaded."""
    call.out("Module                  Size  Used by\noverlay               151552  0\n")
    if call.system.loaded_driver:
        call.out("nvidia_uvm           4956160  0\nnvidia              56717312  1 nvidia_uvm\n")
    return 0


@command("lspci")
def lspci(call: Call) -> int:
    """Shows the GPUs."""
    parse(call.arguments, "-n -nn -v -k -mm", "-d -s")
    call.out("00:00.0 Host bridge: Intel Corporation 440FX - 82441FX PMC [Natoma] (rev 02)\n")
    for number, gpu in enumerate(call.system.gpus):
        name = gpu["name"].removeprefix("NVIDIA ")
        call.out(f"00:{7 + number:02x}.0 3D controller: NVIDIA Corporation [{name}] (rev a1)\n")
    return 0


@command("ubuntu-drivers")
def ubuntu_drivers(call: Call) -> int:
    """`list` and `install`, with `--gpgpu`."""
    options = parse(call.arguments, "--gpgpu --recommended --include-dkms")
    action, rest = (options.operands or [""])[0], options.operands[1:]
    known = [f"nvidia-driver-{branch}-server" for branch in packages.DRIVER_VERSIONS]
    if action == "list":
        call.out("".join(f"{name}\n" for name in known) if call.system.gpus else "")
        return 0
    if action != "install":
        raise Ends(2, f"Error: No such command '{action}'.\n")
    branch = (rest or ["nvidia:580-server"])[0].removeprefix("nvidia:").removesuffix("-server")
    if branch not in packages.DRIVER_VERSIONS:
        raise Ends(1, f"No drivers found for installation: {rest[0]}\n")
    name = f"nvidia-driver-{branch}-server"
    modules = f"linux-modules-nvidia-{branch}-server-generic"
    call.arguments = ["install", "-y", name, modules]
    return apt_get(call)

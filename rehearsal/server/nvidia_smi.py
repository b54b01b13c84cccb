"""`nvidia-smi`, on a server and inside its containers: a table, or CSV for a query.

Run as a script in a container it reads REHEARSAL_GPUS; only the standard library, started with -S.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Importing it takes longer than all the rest.
    from typing import Any

DRIVER = "580.126.09"
CUDA = "13.0"


def answer(arguments: list[str], gpus: list[dict[str, Any]], driver: str) -> tuple[int, str]:
    """Exit code and text for `nvidia-smi ARGUMENTS`.

    gpus: list of {"name", "memory_mib"}; driver: version text.
    """
    wanted, form = None, ""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--query-gpu":
            wanted = value.split(",")
        elif name == "--format":
            form = value
        elif argument in ("-L", "--list-gpus"):
            return 0, "".join(
                f"GPU {n}: {gpu['name']} (UUID: {_uuid(n)})\n" for n, gpu in enumerate(gpus)
            )
        else:
            return (
                2,
                "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n",
            )
    if wanted is None and not form:
        return 0, _table(gpus, driver)
    if wanted is None or "csv" not in form.split(","):
        return (
            2,
            '"--format=" value is not specified or not supported. '
            "Please run 'nvidia-smi -h' for help.\n",
        )
    return _query([field.strip() for field in wanted], form.split(","), gpus, driver)


def _query(
    fields: list[str], form: list[str], gpus: list[dict[str, Any]], driver: str
) -> tuple[int, str]:
    units = "nounits" not in form
    lines = [] if "noheader" in form else [", ".join(_title(field) for field in fields)]
    for number, gpu in enumerate(gpus):
        values = []
        for field in fields:
            value = _value(field, number, gpu, driver)
            if value is None:
                return 2, f'Field "{field}" is not a valid field to query.\n\n'
            unit = " MiB" if units and field.startswith("memory.") else ""
            values.append(f"{value}{unit}")
        lines.append(", ".join(values))
    return 0, "".join(f"{line}\n" for line in lines)


def _value(field: str, number: int, gpu: dict[str, Any], driver: str) -> str | None:
    memory = gpu["memory_mib"]
    return {
        "index": str(number),
        "count": str(number + 1),
        "name": gpu["name"],
        "gpu_name": gpu["name"],
        "uuid": _uuid(number),
        "gpu_uuid": _uuid(number),
        "driver_version": driver,
        "memory.total": str(memory),
        "memory.used": "1",
        "memory.free": str(memory - 1),
        "compute_cap": "8.6",
        "utilization.gpu": "0",
        "temperature.gpu": "34",
    }.get(field)


def _title(field: str) -> str:
    return f"{field} [MiB]" if field.startswith("memory.") else field


def _uuid(number: int) -> str:
    return f"GPU-5f1d6f0e-0000-4000-8000-{number:012d}"


def _table(gpus: list[dict[str, Any]], driver: str) -> str:
    line = "+" + "-" * 77 + "+"
    head = f"| NVIDIA-SMI {driver}    Driver Version: {driver}    CUDA Version: {CUDA} "
    rows = [line, f"{head:<78}|", line]
    for number, gpu in enumerate(gpus):
        row = f"|  {number}  {gpu['name']}    1MiB / {gpu['memory_mib']}MiB    0%  Default"
        rows.append(f"{row:<78}|")
    rows += [line, f"{'|  No running processes found':<78}|", line]
    return "".join(f"{row}\n" for row in rows)


if __name__ == "__main__":
    code, text = answer(sys.argv[1:], json.loads(os.environ.get("REHEARSAL_GPUS") or "[]"), DRIVER)
    sys.stdout.write(text)
    sys.exit(code)

"""Starts one tool: `python -I -S enter.py NAME ARGUMENT...`."""

import importlib
import sys
from pathlib import Path

MODULES = {
    "mysql": "mysql",
    "mysqladmin": "mysqladmin",
    "psql": "psql",
    "pg_isready": "pg_isready",
    "mongosh": "mongosh",
    "mongo": "mongosh",
    "wget": "wget",
    "nc": "netcat",
    "node": "node",
}


def main() -> int:
    """Run the tool; its exit code."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    name, arguments = sys.argv[1], sys.argv[2:]
    common = importlib.import_module("rehearsal.containers.tools.common")
    tool = importlib.import_module(f"rehearsal.containers.tools.{MODULES[name]}")
    try:
        return int(tool.main(name, arguments))
    except common.NotUnderstood as unknown:
        sys.stderr.write(f"rehearsed {name} does not understand: {unknown}\n")
        return 2
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    code = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()
    sys.exit(code)

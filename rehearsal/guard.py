# ruff: noqa: PTH123, PTH208, SIM105
"""Runs one command and ends it, with all its children, when the world is gone.

Started as `python -I -S guard.py FD COMMAND...` in a session of its own, so that whoever started it
can end the session (a process group would not do: `timeout` makes one for itself). FD is the read
end of a pipe whose other end only the world holds; when that closes, nothing of the session
survives, not even after a SIGKILL of the world. Uses only the standard library, and little of it
(no pathlib): it is started for each command.
"""

import os
import select
import signal
import sys
import time


def main() -> int:
    """Run the command; its exit code, or 128 + the signal that ended it."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    try:
        child = os.posix_spawnp(command[0], command, os.environ)
    except FileNotFoundError:
        sys.stderr.write(f"{command[0]}: not found\n")
        return 127
    except PermissionError:
        sys.stderr.write(f"{command[0]}: permission denied\n")
        return 126
    signal.signal(signal.SIGTERM, lambda *_: _pass_on(child, signal.SIGTERM))
    # The child alone reads stdin: a copy here would keep its writer waiting for an end of file.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return _follow(child, lifeline)


def _pass_on(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass


def _follow(child: int, lifeline: int) -> int:
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    while True:
        ready = [number for number, _ in poll.poll()]
        if ended in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return status if status >= 0 else 128 - status
        if lifeline in ready and not os.read(lifeline, 1):
            end_session(os.getpid())
            return 128 + signal.SIGKILL


def end_session(leader: int) -> None:
    """Kill every process of a session, its leader last, and whatever it was just starting."""
    while _kill_members(leader):
        time.sleep(0.01)
    try:
        os.kill(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
    while _kill_members(leader):
        time.sleep(0.01)


def _kill_members(leader: int) -> bool:
    """Whether there was one to kill, beside the leader."""
    found = False
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == leader:
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                facts = file.read().rpartition(")")[2].split()
            if int(facts[3]) == leader and facts[0] not in "ZX":
                os.kill(int(name), signal.SIGKILL)
                found = True
        except OSError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())

"""The `docker` of the stage's server: hands its words to the server's process, prints the answer.

Started as `python -I -S client.py SOCKET WORDS...`; only the standard library, for speed.
"""

import json
import socket
import sys


def main() -> int:
    """The command's exit code."""
    place, *words = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect("\0" + place)
        except OSError:
            sys.stderr.write("the rehearsed server is gone\n")
            return 255
        connection.sendall(json.dumps(words).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.readline() or b'{"code":255,"out":"","err":""}')
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return int(answer["code"])


if __name__ == "__main__":
    sys.exit(main())

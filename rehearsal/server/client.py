"""The `docker` of the stage's server: hands its words to the server's process, prints the answer.

Started as `python -I -S client.py SOCKET WORDS...`; only the standard library, for speed.
"""

import json
import socket
import sys

place, *words = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("\0" + place)
    connection.sendall(json.dumps(words).encode() + b"\n")
    with connection.makefile("rb") as answers:
        answer = json.loads(answers.readline() or b'{"code":255,"out":"","err":"gone"}')
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])

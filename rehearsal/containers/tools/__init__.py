"""The commands inside rehearsed containers: what health checks and `docker exec` call.

Each shell script here starts `enter.py` with its own name. A tool really talks to the port with the
credentials it was given. What it does not understand it refuses loudly, with exit code 2: a check
that did nothing must never look like one that passed.
"""

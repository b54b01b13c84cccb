"""Xinference's double: REST interface, launches, downloads, GPU memory, autostart, inference.

    python -m rehearsal.doubles.xinference -H 0.0.0.0 --port 9997

Contract: `docs/facts/measured.md §2` (2.12.0) and `docs/facts/xinference.md` (4.1.0). Where they
are silent, the published 2.12.0 package was read. A launch with `wait_ready=false` finds out
everything but a taken uid and missing fields only in the background; a DELETE while launching is
refused and the launch goes on; a cancel at 2.12 leaves CREATING behind; what is started in the
place of a crashed process never answers; an autostart entry loses its nulls; touching one entry
relaunches every entry that is down.

What neither the lab nor a contract asks for is not rehearsed: distributed workers, the login,
registrations, adding replicas, LoRA, checks of fields that the lab never sends.
"""

"""Xinference's double: REST interface, launches, downloads, GPU memory, autostart, inference.

    python -m rehearsal.doubles.xinference -H 0.0.0.0 --port 9997

Contract: `docs/facts/measured.md §2` (2.12.0) and `docs/facts/xinference.md` (4.1.0); where they
are silent, the published 2.12.0 package was read. What neither the lab nor a rehearsal asks for is
not here: distributed workers, the login, registrations, adding replicas, chosen cards, LoRA, the
limit of restarts after crashes, retries of autostart.
"""

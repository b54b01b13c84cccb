"""Xinference's double (docs/facts/measured.md §2, docs/facts/xinference.md).

What neither the lab nor a rehearsal asks for is not here: distributed workers, the login,
registrations, adding replicas, chosen cards, LoRA, the limit of restarts, retries of autostart.
"""

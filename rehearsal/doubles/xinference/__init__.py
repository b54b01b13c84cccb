"""Xinference's double: REST interface, launches, downloads, GPU memory, autostart, inference.

    python -m rehearsal.doubles.xinference -H 0.0.0.0 --port 9997

Contract: `docs/facts/measured.md §2` (2.12.0) and `docs/facts/xinference.md` (4.1.0). Where they
are silent, the published 2.12.0 package was read. A launch with `wait_ready=false` finds out
everything but a taken uid and missing fields only in the background; a DELETE while launching is
refused and the launch goes on; a cancel at 2.12 leaves CREATING behind; what is started in the
place of a crashed process never answers; an autostart entry loses its nulls; touching one entry
relaunches every entry that is down.

| module | holds |
|---|---|
| `release.py` | what differs by version, from the image's tag |
| `catalogue.py` | models: formats, sizes, engines, bytes, memory |
| `gpus.py` | the cards' memory, and the engines' own words when it does not suffice |
| `hub.py` | downloads: hubs, cache on the volume, faults |
| `books.py` | what is remembered of launches, routes and statuses |
| `worker.py` | placing, fetching and loading a replica |
| `supervisor.py` | launches and what runs |
| `autostart.py` | what comes back after a restart |
| `inference.py` | chat, embeddings, rerank, audio |
| `app.py` | HTTP |

Not rehearsed: distributed workers, the login, custom registrations, adding replicas, LoRA.
"""

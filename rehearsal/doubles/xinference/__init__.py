"""Xinference's double: REST interface, launches, downloads, GPU memory, autostart, inference.

    python -m rehearsal.doubles.xinference -H 0.0.0.0 --port 9997

Contract: `facts/xinference.md`, measured on 4.1.0. Where it is silent, the published 2.12.0 package
was read: a launch with `wait_ready=false` finds out everything but a taken uid and missing fields
only in the background; a DELETE while launching is refused and the launch goes on; an autostart
entry loses its nulls; touching one entry relaunches every entry that is down.

| module | holds |
|---|---|
| `release.py` | what differs by version, from the image's tag |
| `catalogue.py` | models: formats, sizes, engines, bytes, memory |
| `gpus.py` | the cards' memory, and the engines' own words when it does not suffice |
| `hub.py` | downloads: hubs, cache on the volume, faults |
| `supervisor.py` | launches and what runs |
| `autostart.py` | what comes back after a restart |
| `auth.py` | the login of 3.0 and later |
| `inference.py` | chat, embeddings, rerank, audio |
| `app.py` | HTTP |

Not rehearsed: distributed workers, custom registrations, adding replicas to a running model, LoRA.
"""

"""The real OneAPI, built from its Go module, is what the rehearsed image holds.

How it is built: docs/facts/oneapi.md §9.

`build.binary()` gives the program, built once into the cache folder. `python -m
rehearsal.real_oneapi.run` runs it as a rehearsed container's process.
"""

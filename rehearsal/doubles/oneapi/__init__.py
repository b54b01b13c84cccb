"""The double of OneAPI v0.6.6, built from docs/facts/oneapi.md and held to the real one.

`python -m rehearsal.doubles.oneapi` boots it with the environment that the image takes. It listens
on `REHEARSAL_ADDRESS`, port `PORT` (3000).

Simplified on purpose: channels of vendor types (Ali, Baidu, Zhipu, ...) relay in the OpenAI form to
the vendor's host instead of the vendor's own wire format; the vendor's key forms and model quirks
are kept (see `vendors.py`). PostgreSQL and Redis are not rehearsed.
"""

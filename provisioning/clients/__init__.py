"""Clients of the three services: synchronous, with time limits, judged as docs/facts/ say."""

"""Clients of the three services: synchronous, with time limits, answers judged as facts/ say."""

"""A FastGPT v4.8.8-fix2 that runs in a rehearsed container (docs/facts/fastgpt.md)."""

"""A FastGPT that runs in a rehearsed container: v4.8.8-fix2 (docs/facts/fastgpt.md), or v4.16.0
(docs/facts/fastgpt-current-measured.md)."""

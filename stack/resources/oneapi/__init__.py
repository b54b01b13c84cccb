"""OneAPI's root user, channels and tokens, as resources (`docs/facts/oneapi.md`)."""

"""OneAPI's root user, channels and tokens, as resources (`facts/oneapi.md`)."""

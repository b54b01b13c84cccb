"""The names of OneAPI's token vocabularies in its cache (docs/facts/oneapi.md §9)."""

CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""What v0.6.6 and v0.6.10 read; sha1 of the file's URL."""
O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""What v0.6.10 reads besides."""

"""The real OneAPI, built from its Go module (tools/oneapi_build.py): docs/facts/oneapi.md §9."""

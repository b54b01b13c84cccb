"""Models running in Xinference, as resources (`docs/facts/xinference.md`)."""

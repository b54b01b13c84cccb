"""FastGPT's bases, documents, apps, links and keys, as resources (`docs/facts/fastgpt.md`)."""

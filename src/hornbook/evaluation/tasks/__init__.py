"""Task files for lm-eval, which read the same local files as our own scorer: see docs/harness.md."""

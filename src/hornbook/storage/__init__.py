"""Atomic files, digests and the layout of a run directory. Layer 1: imports errors."""

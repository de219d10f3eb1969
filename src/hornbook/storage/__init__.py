"""Atomic files and directories, digests, provenance and the layout of a run directory. Layer 1: imports errors."""

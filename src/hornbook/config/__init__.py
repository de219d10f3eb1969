"""Typed configuration tables, TOML loading and dumping. Layer 1: imports errors; no torch, no numpy."""

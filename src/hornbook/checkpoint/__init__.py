"""Checkpoints: manifest first, verified on load, never half written. Layer 4."""

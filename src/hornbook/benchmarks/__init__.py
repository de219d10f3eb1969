"""Ours and theirs, side by side on this machine. Layer 7."""

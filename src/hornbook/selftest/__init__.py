"""The demo. Layer 7."""

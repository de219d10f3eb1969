"""The loop and one optimizer step. Layer 5."""

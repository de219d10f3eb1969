"""Decoding: logits to tokens to text. Layer 4."""

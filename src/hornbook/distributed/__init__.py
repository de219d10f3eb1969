"""Strategies: who holds which gradient, and precision. Layer 3."""

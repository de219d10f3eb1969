"""Optimizers and schedules, from scratch. Layer 3: knows parameter roles, no modules."""

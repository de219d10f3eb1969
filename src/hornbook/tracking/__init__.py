"""Trackers: who hears of a run's events. Layer 2."""

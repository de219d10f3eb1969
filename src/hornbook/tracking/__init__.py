"""Trackers: who hears of a run's events. Layer 2.

A run speaks to one `Tracker` (tracker.py). `open_tracker` builds it from `[tracking]`: the run's own metrics.jsonl
(jsonl.py), the terminal (console.py decides between the live view and JSON lines), TensorBoard, Weights & Biases.
Import from the files; this one stays empty so that `--help` stays fast.
"""

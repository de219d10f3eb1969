"""Hornbook: the whole life of a small transformer language model, from raw text to a model you can talk to."""

"""Sweeps: many runs of one file that differ in a few settings, here or by SLURM and HTCondor.

This room knows points, processes, job scripts and what became of them; it trains nothing itself.
"""

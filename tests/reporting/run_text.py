"""Runs written by hand: a directory with whatever events a test wants."""

import json
from pathlib import Path

from hornbook.storage.run_dir import MANIFEST, RunDir

CONFIG = """
[run]
name = "{name}"
{branch}
[schedule]
kind = "wsd"
[train]
steps = {steps}
tokens_per_step = 64
"""


def write_run(root: Path, name: str, events: list, *, state="finished", steps=100, branch_from=None, checkpoints=()):
    """Events are dictionaries, or lines as they are; {step: kind} are its checkpoints."""
    run = RunDir.create(root, name)
    branch = "" if branch_from is None else f'branch_from = "{branch_from}"'
    run.config_file.write_text(CONFIG.format(name=name, branch=branch, steps=steps), encoding="utf-8")
    run.metrics_file.write_text(
        "".join((event if isinstance(event, str) else json.dumps(event)) + "\n" for event in events), encoding="utf-8"
    )
    run.set_state(state)
    for step, kind in dict(checkpoints).items():
        folder = run.checkpoints / f"step-{step:08d}"
        folder.mkdir()
        (folder / MANIFEST).write_text(json.dumps({"step": step, "kind": kind}), encoding="utf-8")
    return run


def start(step=0, time=0.0, **more):
    return {"event": "start", "step": step, "time": time, "resumed": step > 0, **more}


def train(step, loss, time=None, **more):
    named = {f"train/{name}": value for name, value in more.items()}
    return {"event": "train", "step": step, "time": float(step) if time is None else time, "train/loss": loss, **named}


def val(step, loss, time=None):
    return {"event": "val", "step": step, "time": float(step) if time is None else time, "val/loss": loss}

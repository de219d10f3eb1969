"""A job request as tests of both schedulers use it."""

import json
from pathlib import Path

from hornbook.config.sweep import SweepConfig
from hornbook.sweeps.grid import points
from hornbook.sweeps.jobs import JobRequest


def request(tmp_path: Path, indices=(0, 1, 2, 4), **tables) -> JobRequest:
    """Some points of a sweep of six, with `tables` of [sweep]."""
    table = SweepConfig.model_validate_json(json.dumps({"grid": {"run.seed": [1, 2, 3, 4, 5, 6]}, **tables}))
    return JobRequest(
        name="seeds",
        file=tmp_path / "a b" / "sweep.toml",
        points=[points(table)[index] for index in indices],
        table=table,
        logs=tmp_path / "logs",
        directory=tmp_path,
    )

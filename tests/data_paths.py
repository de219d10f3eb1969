"""Where tests find real data: the folder that HORNBOOK_DATA names, by default one beside the checkout."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("HORNBOOK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def needs(name: str) -> Path:
    """The file or folder `name` below the data folder; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {name} in {DATA}")
    return path

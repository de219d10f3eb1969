"""Copying the text once in memory: what no way of reading it can beat."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """Copy into memory that is there already."""
    source = memoryview(Path(settings["path"]).read_bytes())
    target = memoryview(bytearray(len(source)))

    def block() -> None:
        target[:] = source

    return block, lambda _: {}

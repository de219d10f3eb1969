"""A command: `settings["command"]`, as whole processes."""

import os
import subprocess
from collections.abc import Callable
from typing import Any


def setup(settings: dict[str, Any]) -> tuple[Callable[[], str], Callable[[str], dict[str, Any]]]:
    """Run the command in each block; what it prints is no check."""
    variables = {**os.environ, **settings.get("variables", {})}

    def block() -> str:
        return subprocess.run(settings["command"], env=variables, capture_output=True, text=True, check=True).stdout

    return block, lambda _: {}

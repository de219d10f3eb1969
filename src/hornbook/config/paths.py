"""Paths of input files, in which `${NAME}` and `${NAME:-otherwise}` stand for a variable of the environment.

As a shell would have it: so one recipe finds its text on every machine. Only inputs are read so; what a run writes lies
where the file says. The resolved configuration holds the path that was meant.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<otherwise>:-[^}]*)?\}")


def expanded(path: Path) -> Path:
    """The path with variables replaced; one that is unset or empty takes what stands behind `:-`.

    Raises:
        ValueError: if a variable is unset and nothing stands behind it.
    """
    return Path(_VARIABLE.sub(_value, str(path)))


def _value(variable: re.Match[str]) -> str:
    name, otherwise = variable["name"], variable["otherwise"]
    value = os.environ.get(name)
    if value:
        return value
    if otherwise is None:
        raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-another/path}}")
    return otherwise.removeprefix(":-")


InputPath = Annotated[Path, AfterValidator(expanded)]
"""A file or folder to read."""

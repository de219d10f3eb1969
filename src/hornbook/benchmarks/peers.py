"""Other people's libraries, each in a virtual environment of its own, pinned in `peers.toml`.

.bench/peers/tiktoken/bin/python      the interpreter that runs the side
.bench/peers/tiktoken/installed.txt   what was asked for; another pin installs again
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

from hornbook.errors import HornbookError


class PeerError(HornbookError):
    """A peer's environment cannot be made."""


STAMP = "installed.txt"
"""In an environment that is whole: what pip put there."""


def pins() -> dict[str, list[str]]:
    """Name of each peer -> what pip installs for it."""
    text = (Path(__file__).parent / "peers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text.replace("{torch}", importlib.metadata.version("torch")))


def peers_directory() -> Path:
    """Where the environments are: HORNBOOK_PEERS, or .bench/peers in the current directory."""
    return Path(os.environ.get("HORNBOOK_PEERS", ".bench/peers"))


def peer_python(name: str) -> str | None:
    """The interpreter to run a peer with: its own, else this one if the package is installed here; None if missing."""
    own = peers_directory() / name
    if (own / STAMP).exists():  # else pip did not come to its end there
        return str(_python_in(own).absolute())
    return sys.executable if importlib.util.find_spec(name) else None


def install(names: list[str], say: Callable[[str], None]) -> None:
    """Make or update the environments of these peers.

    Raises:
        PeerError: if pip cannot install one; the others are made all the same.
    """
    failed = []
    for name in names:
        directory, wanted = peers_directory() / name, pins()[name]
        stamp = directory / STAMP
        if stamp.exists() and stamp.read_text(encoding="utf-8").split() == wanted:
            say(f"{name}: {' '.join(wanted)} is there")
            continue
        say(f"{name}: installing {' '.join(wanted)} into {directory}")
        venv.create(directory, with_pip=True, clear=True, symlinks=os.name != "nt")
        command = [str(_python_in(directory)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            failed.append(f"{name} ({' '.join(last)})")
            continue
        stamp.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    if failed:
        raise PeerError(f"peers that could not be installed: {'; '.join(failed)}; bench goes on without them")


def _python_in(directory: Path) -> Path:
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

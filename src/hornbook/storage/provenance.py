"""Where a run came from: enough to repeat it and to know what it ran on. Imports nothing heavy."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hornbook.storage.hardware import hardware

_PACKAGES = ("hornbook", "torch", "numpy", "safetensors")


def provenance(*, config_hash: str, devices: Sequence[str] = (), world_size: int = 1) -> dict[str, object]:
    """What provenance.json holds, as JSON values.

    `config_hash` identifies the resolved configuration: `latest_run` finds the newest run of the same one by it.
    `commit` is that of the current directory, with "+changes" when files differ from it, or None outside git.
    """
    return {
        "command": shlex.join(sys.argv),
        "config_hash": config_hash,
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "host": platform.node(),
        "platform": platform.platform(),
        "hardware": hardware(),
        "devices": list(devices),
        "world_size": world_size,
        "directory": str(Path.cwd()),
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str | None:
    command = ["git", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one that hangs
        return None
    return result.stdout.strip()

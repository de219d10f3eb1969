"""Where a model's files lie: a directory, or a repository of the Hugging Face hub and its cache on this machine."""

import logging
import re
from pathlib import Path

from hornbook.errors import CheckpointError, MissingExtraError

_FILES = ["*.json", "*.safetensors", "merges.txt", "*.jinja"]
"""All that is fetched: never programs, never pickled weights."""
_SECONDS = 10.0


def find_hf(source: str) -> tuple[Path, str]:
    """The directory of `source`, which is one or names a repository, and what people call it.

    Raises:
        CheckpointError: if there is neither, saying what was tried.
        MissingExtraError: if the hub is to be asked and the package for that is not installed.
    """
    path = Path(source)
    if path.exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source):
        if not path.is_dir():
            raise CheckpointError(
                f"{source}: no such directory; expected one with config.json, or OWNER/NAME on the hub"
            )
        return path, str(path)
    try:
        return _downloaded(source, offline=False), f"{source} on the hub"
    except CheckpointError as unreachable:
        try:
            return _downloaded(source, offline=True), f"{source}, as the cache of huggingface_hub has it"
        except CheckpointError:
            raise unreachable from None


def _downloaded(source: str, *, offline: bool) -> Path:
    """The repository's files, `offline` from the cache alone."""
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("a model of the Hugging Face hub", package="huggingface_hub", extra="hf") from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries end in the error that we explain
    try:
        if not offline:  # an unreachable hub is told at once by this, and below after half a minute of trying again
            huggingface_hub.HfApi().model_info(source, timeout=_SECONDS)
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=_FILES, local_files_only=offline))
    except Exception as error:
        # What the library and those beneath it raise is of no one family.
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(
            f"{source}: no such directory here, not in the cache of huggingface_hub, and the hub cannot be read "
            f"({cause}). Check the name and whether you may read it; offline, fetch the directory elsewhere and "
            "name its path"
        ) from error

"""Ours: `hornbook tokenizer train` on a small file as a whole command, with an empty cache for compiled code."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def setup(settings: dict[str, Any]) -> tuple[Callable[[], int], Callable[[int], dict[str, Any]]]:
    """Each block works in a new folder with a new cache."""
    data = json.dumps([settings["path"]])
    config = (
        f'[run]\nname = "small"\n[tokenizer]\npath = "tokenizer"\nvocab_size = {settings["vocab_size"]}\n'
        f'[data]\nsource = {{ kind = "text", paths = {data} }}\n'
    )

    def block() -> int:
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "small.toml").write_text(config, encoding="utf-8")
            subprocess.run(
                [sys.executable, "-m", "hornbook", "tokenizer", "train", "small.toml"],
                cwd=directory,
                env={**os.environ, "HORNBOOK_CACHE": str(Path(directory, "cache"))},
                capture_output=True,
                check=True,
            )
            return sum(1 for _ in Path(directory, "tokenizer").iterdir())

    return block, lambda n_files: {"files written": n_files}

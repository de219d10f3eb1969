"""gigabpe: learn a vocabulary from a file, which it reads line by line, so its merges are not compared."""

from collections.abc import Callable
from typing import Any

import gigabpe


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """The block reads the file too."""

    def block() -> Any:
        return gigabpe.train_bpe(
            [settings["path"]],
            vocab_size=settings["vocab_size"],
            special_tokens=settings["special_tokens"],
            pretokenizer="bytelevel",
            threads=settings["threads"],
        )

    return block, lambda trained: {"number of merges": len(trained[1])}

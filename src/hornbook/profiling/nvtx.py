"""Ranges for Nsight Systems, asked for by the environment: HORNBOOK_NVTX=1, HORNBOOK_NVTX_LEVEL=coarse|fine|verbose.

coarse    the parts of a step: data, forward, backward, optimizer, communication, logging
fine      and the forward pass of the embedding, each layer, its sublayers, the last norm (the default)
verbose   and every module, the threads that read data, and every operator with its backward (torch's emit_nvtx)
"""

from collections.abc import Mapping
from typing import Literal, cast, get_args

import torch

from hornbook.errors import ConfigError

Level = Literal["coarse", "fine", "verbose"]
SWITCH, LEVEL = "HORNBOOK_NVTX", "HORNBOOK_NVTX_LEVEL"


class Nvtx:
    """Ranges of NVTX, which a profiler outside of this process records."""

    def push(self, name: str) -> None:
        """It begins."""
        torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]

    def pop(self) -> None:
        """The one that began last ends."""
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]


def asked_level(environment: Mapping[str, str]) -> Level | None:
    """How fine the ranges are to be; None where none are asked for.

    Raises:
        ConfigError: if a variable holds something else than it may.
    """
    switch, level = environment.get(SWITCH, ""), environment.get(LEVEL) or "fine"
    if switch not in ("", "0", "1"):
        raise ConfigError(f"{SWITCH}={switch}: expected 1 (NVTX ranges) or 0 (none)")
    if level not in get_args(Level):
        raise ConfigError(f"{LEVEL}={level}: expected one of {', '.join(get_args(Level))}")
    return cast(Level, level) if switch == "1" else None


def is_available() -> bool:
    """Whether this torch has NVTX: builds for CUDA do."""
    try:
        torch.cuda.nvtx.range_push("hornbook")  # type: ignore[no-untyped-call]
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True

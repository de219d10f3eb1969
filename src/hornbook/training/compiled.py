"""Compiling the step: whether it pays, where what was compiled is kept, and what happens when it fails.

torch.compile turns forward and backward into one fused program each. That costs 10 to 40 seconds the first time, a few
when the cache has it, and saves about a fifth of every step. A compiler that is missing or fails never ends a run.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import torch
from torch.optim import Optimizer

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.optim.optimizer import RuledOptimizer
from hornbook.storage.user_cache import user_cache

SAVED = 0.2
"""Share of an eager step's time that compiling saves (1.2 x on forward and backward, 1.1 x on the update)."""
EAGER_SHARE_OF_PEAK = 0.4
"""Of the measured peak, what an eager step reaches: how long a run would take is known to a factor of 2 or so."""
COLD_SECONDS, WARM_SECONDS = 25.0, 6.0
"""Imports included. All layers share one program, so their number does not matter."""
RECOMPILE_LIMIT = 64
"""Shapes of one process; torch's own 8 would be used up by a few runs, which share the code."""


def pays_off(*, seconds: float | None, device: torch.device, warm: bool) -> tuple[bool, str]:
    """Whether compiling wins back its time, and why.

    `seconds`: what the run would take without (None: unknown). `warm`: this program has been compiled here before.
    """
    if (missing := missing_compiler(device)) is not None:
        return False, missing
    if seconds is None:
        return False, "how long the run takes is not known"
    cost, saved = WARM_SECONDS if warm else COLD_SECONDS, SAVED * seconds
    return saved > cost, f"it would take about {cost:.0f} s and save about {saved:.0f} s"


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile would lack for this device, in words; None if nothing."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "triton is not installed"
    if device.type != "cpu" or sys.platform == "win32":
        return "torch.compile is not reliable on this platform"
    return None if cpp_compiler() else "no C++ compiler"


def cpp_compiler() -> str | None:
    """Where the C++ compiler is that torch.compile would take: what CXX says goes first."""
    named = os.environ.get("CXX")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)


def use_persistent_cache() -> Path:
    """Keep compiled code below the user's cache, for the next process; what TORCHINDUCTOR_CACHE_DIR says goes first.

    Call before anything is compiled.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache() / "inductor"))
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])


def is_warm(config: ModelConfig, rows: int, precision: str, objective: str, lora: LoraConfig | None = None) -> bool:
    """Whether a program for micro-batches of `rows` and this kind of objective has been compiled here before."""
    return _mark(config, rows, precision, objective, lora).exists()


def remember(config: ModelConfig, rows: int, precision: str, objective: str, lora: LoraConfig | None = None) -> None:
    """From now on `is_warm`."""
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        _mark(config, rows, precision, objective, lora).touch()


def _mark(config: ModelConfig, rows: int, precision: str, objective: str, lora: LoraConfig | None) -> Path:
    adapters = "" if lora is None else f" {lora.model_dump_json()}"
    key = f"{torch.__version__} {config.model_dump_json()} {rows} {precision} {objective}{adapters}"
    return use_persistent_cache() / f"hornbook-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


class CompilerFailed(Exception):
    """The compiler could not compile a forward or backward pass; weights and optimizer are as they were."""


def is_of_compiler(error: BaseException) -> bool:
    """Whether the compiler failed, rather than what it compiled."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "torch._functorch", "triton"))


def compile_updates(optimizer: Optimizer) -> None:
    """Get ready to compile: cache and limits are set, and the optimizer's next update is compiled."""
    import torch._dynamo

    use_persistent_cache()
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    if isinstance(optimizer, RuledOptimizer):
        optimizer.compile_update()

"""The decoding step, compiled by numba. Import its modules only through `load`, which says where compiled code is kept.

Its definition is the model itself in torch, which tests compare it with. The parts, from the bottom:

    layout        where things are found in memory
    machine       sixteen float32 at once, tiles of products, atomic counters
    sharing       how threads divide a step among themselves
    products, elementwise, attention
    step          the forward of a transformer
"""

import importlib
import logging
from functools import cache
from pathlib import Path
from types import ModuleType

from hornbook.storage import kernel_cache

_TASK = "decode"
_logger = logging.getLogger(__name__)


@cache
def load() -> tuple[ModuleType | None, str | None]:
    """The module of the compiled step, ready to run, or None and why there is none.

    Compiling takes ten to thirty seconds, once on a machine; loading what was compiled takes half a second.
    """
    try:
        directory = kernel_cache.cache_directory(Path(__file__).parent)
        if not (compiled := is_compiled()):
            _logger.warning("Compiling the decoding kernels, once on this machine: ten to thirty seconds.")
        with kernel_cache.cache_in(directory):
            step = importlib.import_module("hornbook.generation.kernels.step")
        step.exercise()
        if not compiled:
            kernel_cache.mark(directory, _TASK)
    except ImportError as error:
        return None, f"numba is missing ({error}); to have it: pip install numba"
    except Exception as error:  # noqa: BLE001  # whatever a compiler finds wrong with a machine, there is another way
        return None, f"the kernels cannot be compiled: {type(error).__name__}: {error}".splitlines()[0]
    return step, None


def is_compiled() -> bool:
    """Whether a process on this machine compiled this version of the kernels.

    Raises:
        ImportError: if numba is missing.
        OSError: if no directory for compiled code can be written.
    """
    return kernel_cache.is_marked(kernel_cache.cache_directory(Path(__file__).parent), _TASK)

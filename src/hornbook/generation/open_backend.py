"""Which backend decodes a model: compiled kernels where they serve it, else torch, with one line that says why."""

from collections.abc import Callable

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.backends import Backend
from hornbook.generation.kernel_backend import KernelBackend, why_not
from hornbook.generation.torch_backend import TorchBackend
from hornbook.models.transformer import Transformer
from hornbook.profiling.memory import free_bytes

WORTH_COMPILING = 1_000_000
"""Parameters from which on "auto" takes the kernels: a smaller model has answered before they are ready."""


def open_backend(
    model: Transformer, *, slots: int, max_length: int, config: GenerateConfig, note: Callable[[str], None]
) -> Backend:
    """The backend that `config` asks for; `note` hears of torch where kernels might be expected.

    Raises:
        GenerationError: if kernels are asked for and do not serve this model, or keys and values do not fit the memory.
    """
    _check_memory(model, slots, max_length, config)
    if config.backend == "kernel" or _takes_kernels(model, config, note):
        return KernelBackend(model, slots=slots, max_length=max_length, precision=config.precision)
    return TorchBackend(model, slots=slots, max_length=max_length, precision=config.precision)


def _takes_kernels(model: Transformer, config: GenerateConfig, note: Callable[[str], None]) -> bool:
    on_cpu = model.token_embedding.weight.device.type == "cpu"
    if config.backend == "torch" or not on_cpu or model.n_parameters < WORTH_COMPILING:
        return False
    reason = why_not(model, config.precision)
    if reason is not None:
        note(f"decoding with torch: {reason}")
    return reason is None


def _check_memory(model: Transformer, slots: int, max_length: int, config: GenerateConfig) -> None:
    """Refuse what the system would end the process for, or break off in the middle of."""
    shape, size = model.config, 4 if config.precision == "float32" else 2
    needed = 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim * size * slots * max_length
    free = free_bytes(model.token_embedding.weight.device)
    if free is not None and needed > free:
        raise GenerationError(
            f"keys and values of {slots} texts of {max_length} tokens take {needed / 2**30:,.1f} GiB, and "
            f"{free / 2**30:,.1f} GiB are free; decode fewer texts at once (or beams), or shorter ones"
        )

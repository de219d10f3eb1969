"""torch's attention kernels by name: one alone for a whole run, if the device has it."""

import contextlib
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from hornbook.config.model import ModelConfig
from hornbook.errors import ConfigError
from hornbook.models.attention import attend
from hornbook.models.masks import Visibility

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
"""Torch's own, by the names of `model.attention_backend`."""


def only_kernel(name: str) -> contextlib.AbstractContextManager[None]:
    """Inside, torch computes attention by this kernel, and by plain operations what it cannot take, such as a mask."""
    return sdpa_kernel([KERNELS[name], SDPBackend.MATH]) if name in KERNELS else contextlib.nullcontext()


def check_kernel(name: str, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Try the kernel once, forward and backward, on a short row of this model's heads.

    Raises:
        ConfigError: if the device, the format or the model's dropout has no such kernel.
    """
    if name not in KERNELS:
        return
    heads = (config.n_heads, config.n_kv_heads, config.n_kv_heads)
    q, k, v = (torch.zeros(1, n, 16, config.head_dim, dtype=dtype, device=device, requires_grad=True) for n in heads)
    everything = Visibility(is_causal=True, allowed=None)
    try:
        with warnings.catch_warnings(), sdpa_kernel([KERNELS[name]]):
            warnings.simplefilter("ignore")  # one for each kernel that is not there
            attend(q, k, v, everything, dropout=config.dropout, plain_max_keys=0).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError:
        with_dropout = f" with dropout = {config.dropout}" if config.dropout else ""
        raise ConfigError(
            f"model.attention_backend = {name!r}: torch has no such kernel for {device} in {dtype}{with_dropout}; "
            'use "auto", or another one'
        ) from None

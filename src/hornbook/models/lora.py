"""Low-rank adapters: beside a frozen weight W (out, in), two small matrices are trained.

    y = x W^T + bias + (alpha / rank) (x A^T) B^T        A (rank, in), B (out, rank)

B starts at zero, so an adapted model is at first what it was, bit for bit. A starts normal with standard deviation
in^-0.5: of a normalised x it makes numbers of size 1, and of B the first gradients. Merged, W + (alpha / rank) B A is
an ordinary weight again, rounded once.

Hu et al., 2021, https://arxiv.org/abs/2106.09685, section 4.1.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hornbook.config.lora import LoraConfig
from hornbook.errors import ConfigError
from hornbook.models.init import Normal, drawn
from hornbook.models.transformer import Transformer


class LoraLinear(nn.Linear):
    """A linear layer, whose weight and bias it takes over, with an adapter beside it."""

    def __init__(self, layer: nn.Linear, *, rank: int, scale: float) -> None:
        """`scale` multiplies what the adapter adds. Its matrices have no numbers yet."""
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        self.weight, self.bias = layer.weight, layer.bias
        self.lora_a = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_b = nn.Parameter(layer.weight.new_empty(layer.out_features, rank))
        self.scale = scale
        self.is_on = True

    def forward(self, x: Float[Tensor, "... n"]) -> Float[Tensor, "... m"]:
        """The layer's output; without the adapter's part while it is off."""
        y = F.linear(x, self.weight, self.bias)
        if not self.is_on:
            return y
        return y + F.linear(F.linear(x, self.lora_a) * self.scale, self.lora_b)


def add_lora(model: Transformer, config: LoraConfig, *, seed: int = 0) -> None:
    """Freeze a model and put adapters into it, in place; what `config` also trains as a whole is left unfrozen.

    The numbers depend on (seed, parameter name) alone.

    Raises:
        ConfigError: for layers that the model does not have.
    """
    assert model.lora is None, "the model has adapters"
    if problem := config.misfit(model.config):
        raise ConfigError(problem)
    model.requires_grad_(False)
    for name in config.also_train:
        model.get_submodule(name).requires_grad_(True)
    for owner, module in list(model.named_modules()):
        parent, _, name = owner.rpartition(".")
        if name in config.targets and isinstance(module, nn.Linear):
            adapted = LoraLinear(module, rank=config.rank, scale=config.alpha / config.rank)
            _start(adapted, owner, seed=seed)
            setattr(model.get_submodule(parent), name, adapted.train(module.training))
    model.lora = config


@torch.no_grad()
def _start(layer: LoraLinear, name: str, *, seed: int) -> None:
    if layer.lora_a.device.type == "meta":
        return
    law = Normal(layer.in_features**-0.5)
    layer.lora_a.copy_(drawn(law, layer.lora_a.shape, seed=seed, name=f"{name}.lora_a"))
    layer.lora_b.zero_()


@contextmanager
def lora_off(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes what it did before it was adapted, and no gradients: the reference of DPO.

    Gradients are off since a layer that is recomputed in backward would by then have its adapter on again. They also
    keep compiled code out, which is that of the adapted model. No backward pass may run inside.
    """
    adapters = [module for module in model.modules() if isinstance(module, LoraLinear)]
    assert adapters, "the model has no adapters"
    assert all(adapter.is_on for adapter in adapters), "they are off already"
    try:
        for adapter in adapters:
            adapter.is_on = False
        with torch.no_grad():
            yield
    finally:
        for adapter in adapters:
            adapter.is_on = True


def merged(weights: Mapping[str, Tensor], config: LoraConfig | None) -> Mapping[str, Tensor]:
    """Weights under their plain names, from those of a model with adapters; without `config` they are as they were."""
    if config is None:
        return weights
    plain: dict[str, Tensor] = {}
    for name in weights:  # asked for one by one, since they may be read only then
        owner, _, kind = name.rpartition(".")
        if kind in ("lora_a", "lora_b"):
            continue
        plain[name] = weights[name]
        if kind == "weight" and f"{owner}.lora_a" in weights:
            a, b = weights[f"{owner}.lora_a"], weights[f"{owner}.lora_b"]
            plain[name] = _folded(plain[name], a, b, config.alpha / config.rank)
    return plain


@torch.no_grad()
def merge_lora(model: Transformer) -> None:
    """Turn a model with adapters into a plain one, in place: for use, not to train on."""
    for owner, module in list(model.named_modules()):
        if not isinstance(module, LoraLinear):
            continue
        parent, _, name = owner.rpartition(".")
        with torch.device("meta"):
            plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
        plain.weight, plain.bias = module.weight, module.bias
        plain.weight.copy_(_folded(module.weight, module.lora_a, module.lora_b, module.scale))
        setattr(model.get_submodule(parent), name, plain.train(module.training))
    model.requires_grad_(True)
    model.lora = None


def _folded(
    weight: Float[Tensor, "m n"], a: Float[Tensor, "rank n"], b: Float[Tensor, "m rank"], scale: float
) -> Float[Tensor, "m n"]:
    """weight + scale b a, computed in float64 and rounded once."""
    return (weight.double() + scale * (b.double() @ a.double())).to(weight.dtype)

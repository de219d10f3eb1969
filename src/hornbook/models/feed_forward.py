"""The feed-forward sublayer: down(act(up(x))), or gated, down(silu(gate(x)) * up(x)).

SwiGLU: Shazeer, 2020, https://arxiv.org/abs/2002.05202. ReLU^2: So et al., 2021, https://arxiv.org/abs/2109.08668.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hornbook.config.model import ModelConfig


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": _relu2,
}


class FeedForward(nn.Module):
    """Two matrices with an activation between them, or three with a gate (swiglu)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.feed_forward]
        is_gated = config.feed_forward == "swiglu"
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=config.bias) if is_gated else None
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The sublayer's output, each position on its own."""
        up: Tensor = self.up_proj(x)
        inner = self.activation(up) if self.gate_proj is None else self.activation(self.gate_proj(x)) * up
        out: Tensor = self.down_proj(inner)
        return out

"""One layer: attention and feed-forward, each with a residual sum and a normalisation before or after it.

pre    x = x + attention(norm(x));  x = x + feed_forward(norm(x))      (Xiong et al., 2020: trains without warm-up)
post   x = norm(x + attention(x));  x = norm(x + feed_forward(x))      (the original Transformer)
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hornbook.config.model import ModelConfig
from hornbook.models.attention import Attention
from hornbook.models.cache import LayerStore
from hornbook.models.feed_forward import FeedForward
from hornbook.models.masks import Visibility
from hornbook.models.norms import make_norm
from hornbook.models.positions import Rotation


class Block(nn.Module):
    """A transformer layer, from residual stream to residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_pre_norm = config.norm_position == "pre"
        self.dropout = config.dropout
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Float[Tensor, "b t d"], turn: Rotation | None, visibility: Visibility, store: LayerStore | None
    ) -> Float[Tensor, "b t d"]:
        """The residual stream after this layer; arguments as in Attention.forward."""
        if self.is_pre_norm:
            x = x + self._drop(self.attention(self.attention_norm(x), turn, visibility, store))
            return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self._drop(self.attention(x, turn, visibility, store)))
        out: Tensor = self.feed_forward_norm(x + self._drop(self.feed_forward(x)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, training=self.training)

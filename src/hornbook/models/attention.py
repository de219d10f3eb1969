"""Multi-head attention with rotary positions, grouped queries, QK-norm and a KV cache.

softmax(q k^T / sqrt(head_dim) + mask) v per head (Vaswani et al., 2017, equation 1). n_kv_heads below n_heads shares
each key and value head among n_heads / n_kv_heads query heads (Ainslie et al., 2023, https://arxiv.org/abs/2305.13245).

    x (b, t, d) -> q (b, h, t, e), k and v (b, k, t, e) -> norm, rotate, cache -> attend -> (b, t, h e) -> (b, t, d)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hornbook.config.model import ModelConfig
from hornbook.models.cache import LayerStore
from hornbook.models.masks import MAX_STRIPS, MIN_STRIP, Visibility, cut
from hornbook.models.norms import RMSNorm
from hornbook.models.positions import Rotation, rotate

PLAIN_MAX_KEYS = 768
"""Up to here torch's CPU kernel loses to `plain_attention` in bfloat16 forward + backward (3.5 x at 64 keys, 1.5 x at
512, even at 1,024; two Zen 5 cores, torch 2.13), and in float32 where products go through oneDNN, which takes long to
start each of that kernel's small ones (4 x at 64 keys, 1.15 x at 512). In exact float32 it wins at every length."""


def plain_keys(device_type: str, dtype: torch.dtype, *, fast_products: bool = False) -> int:
    """Up to how many keys `plain_attention` is the faster one, forward and backward; 0: never.

    `fast_products` says whether float32 products go through oneDNN.
    """
    wins = dtype == torch.bfloat16 or (dtype == torch.float32 and fast_products)
    return PLAIN_MAX_KEYS if device_type == "cpu" and wins else 0


class Attention(nn.Module):
    """Self-attention over the tokens of a row, and over the cached ones before them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.dropout = config.dropout
        self.plain_max_keys: int | None = None
        """Up to so many keys, training goes by the formula; None leaves it to `plain_keys`."""
        self.as_with_gradient = False
        """Whether passes without a gradient go by it too."""
        wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.d_model, wide, bias=config.bias)
        self.k_proj = nn.Linear(config.d_model, narrow, bias=config.bias)
        self.v_proj = nn.Linear(config.d_model, narrow, bias=config.bias)
        self.o_proj = nn.Linear(wide, config.d_model, bias=config.bias)
        self.q_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else None

    def forward(
        self, x: Float[Tensor, "b t d"], turn: Rotation | None, visibility: Visibility, store: LayerStore | None
    ) -> Float[Tensor, "b t d"]:
        """The sublayer's output; `store` receives this forward's keys and values and gives all that are attended to."""
        q, k, v = (self._split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        if store is not None:
            k, v = store.write(k, v)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(
            q,
            k,
            v,
            visibility,
            dropout=dropout,
            plain_max_keys=self.plain_max_keys,
            as_with_gradient=self.as_with_gradient,
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Float[Tensor, "b t he"]) -> Float[Tensor, "b h t e"]:
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


def attend(
    q: Float[Tensor, "b h t e"],
    k: Float[Tensor, "b k s e"],
    v: Float[Tensor, "b k s e"],
    visibility: Visibility,
    *,
    dropout: float = 0.0,
    plain_max_keys: int | None = None,
    as_with_gradient: bool = False,
) -> Float[Tensor, "b h t e"]:
    """Scaled dot-product attention: by its formula for a gradient over few enough keys, else by torch's kernel.

    A mask in strips is computed strip for strip. `as_with_gradient`: by the formula also where none is wanted.
    """
    if visibility.strips:
        mixed = [
            attend(
                cut(q, (queries,), dim=2),
                cut(k, keys, dim=2),
                cut(v, keys, dim=2),
                Visibility(allowed, is_causal=False),
                dropout=dropout,
                plain_max_keys=plain_max_keys,
                as_with_gradient=as_with_gradient,
            )
            for queries, keys, allowed in visibility.strips
        ]
        return torch.cat(mixed, dim=2)
    if plain_max_keys is None:
        plain_max_keys = plain_keys(q.device.type, q.dtype)
    needs_gradient = q.requires_grad or k.requires_grad or v.requires_grad
    if (needs_gradient or as_with_gradient) and k.shape[2] <= plain_max_keys:
        return plain_attention(q, k, v, visibility, dropout=dropout)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=visibility.allowed,
        is_causal=visibility.is_causal,
        dropout_p=dropout,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def plain_attention(
    q: Float[Tensor, "b h t e"],
    k: Float[Tensor, "b k s e"],
    v: Float[Tensor, "b k s e"],
    visibility: Visibility,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "b h t e"]:
    """Attention as its formula says, scores held in memory (b h t s numbers); the softmax is float32 at least.

    A causal mask is taken in strips of queries, each with only the keys that it may see: four strips save 3/8.
    """
    n_rows, n_heads, n_queries, head_dim = q.shape
    n_kv_heads = k.shape[1]
    q = q.view(n_rows, n_kv_heads, n_heads // n_kv_heads, n_queries, head_dim) * head_dim**-0.5  # (B, K, H/K, T, E)
    k, v = k[:, :, None].transpose(-1, -2), v[:, :, None]
    if not visibility.is_causal:
        allowed = None if visibility.allowed is None else visibility.allowed[:, :, None]
        return _mix(q, k, v, allowed, dropout).flatten(1, 2)
    height = max(MIN_STRIP, -(-n_queries // MAX_STRIPS))
    before = torch.ones(height, n_queries, dtype=torch.bool, device=q.device)
    strips = []
    for start in range(0, n_queries, height):
        stop = min(start + height, n_queries)
        allowed = before[: stop - start, :stop].tril(start)
        strips.append(_mix(q[..., start:stop, :], k[..., :stop], v[..., :stop, :], allowed, dropout))
    return torch.cat(strips, dim=-2).flatten(1, 2)


def _mix(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, dropout: float) -> Tensor:
    """softmax(q k) v of queries (.., t, e), keys (.., e, s) and values (.., s, e)."""
    scores = q @ k  # (B, K, H/K, T, S)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    weights = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return F.dropout(weights, dropout) @ v

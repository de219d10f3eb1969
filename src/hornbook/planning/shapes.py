"""Shapes of about so many parameters, all embeddings included, with every size a multiple of what products like.

heads      of 64, from 400 million parameters on of 128; d_model is a multiple of them
d_ff       8/3 d_model, up to a multiple of 64 (SwiGLU: Shazeer, arXiv:2002.05202)
kv heads   all of them below 100 million, else a quarter (Ainslie et al., arXiv:2305.13245)
ratio      d_model / n_layers about 40, 64 or 100: loss changes little within that (Kaplan et al., arXiv:2001.08361,
           figure 5); deep ones take longer for a token, wide ones have fewer, larger products
"""

import math
from dataclasses import dataclass

from hornbook.config.model import ModelConfig, ModelTable
from hornbook.errors import ConfigError
from hornbook.models.accounting import parameter_counts

RATIOS = {"deep": 40.0, "balanced": 64.0, "wide": 100.0}
LEAST, MOST = 200_000, 2_000_000_000_000
_VOCABULARIES = (32_768, 16_384, 8_192, 4_096, 2_048, 1_024, 512)
_MOST_IN_EMBEDDING = 0.3
_LARGE_HEADS, _GROUPED_QUERIES = 400e6, 100e6
_SIZE_WEIGHT = 10.0
"""A miss in size counts so much more than one in ratio."""
_MOST_LAYERS, _MOST_HEADS = 160, 256


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A shape to take."""

    kind: str
    config: ModelConfig

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(parameter_counts(self.config).values())

    def block(self) -> str:
        """`[model]` as a file has it."""
        names = ("context_length", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size")
        lines = [f"{name} = {getattr(self.config, name)}" for name in names]
        return "\n".join(["[model]", *lines, "qk_norm = true", "tie_embeddings = true"])


def proposals(parameters: float, *, vocab_size: int | None = None, context_length: int = 1024) -> list[Proposal]:
    """One shape for each ratio.

    vocab_size: default the largest power of two up to 32,768 whose embedding is at most 30 % of the parameters.

    Raises:
        ConfigError: for a number that no shape here comes near.
    """
    if not LEAST <= parameters <= MOST:
        raise ConfigError(f"{parameters:.3g} parameters; expected {LEAST:,} to {MOST:.0e}")
    return [
        Proposal(kind=kind, config=_nearest(parameters, ratio, vocab_size, context_length))
        for kind, ratio in RATIOS.items()
    ]


def _nearest(parameters: float, ratio: float, vocab_size: int | None, context_length: int) -> ModelConfig:
    head_dim = 128 if parameters >= _LARGE_HEADS else 64 if parameters >= 2e6 else 32
    best, least = None, math.inf
    for n_heads in range(1, _MOST_HEADS + 1):
        if parameters >= _GROUPED_QUERIES and n_heads % 4:
            continue  # queries in groups of four
        d_model = n_heads * head_dim
        vocabulary = vocab_size or _vocabulary(parameters, d_model)
        one = sum(parameter_counts(_shape(1, n_heads, head_dim, vocabulary, context_length, parameters)).values())
        two = sum(parameter_counts(_shape(2, n_heads, head_dim, vocabulary, context_length, parameters)).values())
        layers = min(_MOST_LAYERS, max(1, round(1 + (parameters - one) / (two - one))))
        size = one + (layers - 1) * (two - one)
        miss = _SIZE_WEIGHT * abs(math.log(size / parameters)) + abs(math.log(d_model / layers / ratio))
        if miss < least:
            best, least = _shape(layers, n_heads, head_dim, vocabulary, context_length, parameters), miss
    assert best is not None
    return best


def _shape(
    layers: int, n_heads: int, head_dim: int, vocabulary: int, context_length: int, parameters: float
) -> ModelConfig:
    d_model = n_heads * head_dim
    table = ModelTable(
        context_length=context_length,
        d_model=d_model,
        n_layers=layers,
        n_heads=n_heads,
        n_kv_heads=n_heads if parameters < _GROUPED_QUERIES else n_heads // 4,
        head_dim=head_dim,
        d_ff=-(-d_model * 8 // 3 // 64) * 64,
        qk_norm=True,
    )
    return table.complete(vocab_size=vocabulary)


def _vocabulary(parameters: float, d_model: int) -> int:
    fitting = (size for size in _VOCABULARIES if size * d_model <= _MOST_IN_EMBEDDING * parameters)
    return next(fitting, _VOCABULARIES[-1])

"""How long a training step takes on this machine: the sum of its pieces.

For n tokens of a micro-batch, in units of `hornbook.planning.machine`:

    linear      6 n in out operations for each matrix of a layer, at the speed of products of that width
    attention   n_heads context_length n scores          norm       2 n d_model, and of queries and keys with qk_norm
    rotate      n head_dim (n_heads + n_kv_heads)        residual   2 n d_model
    activation  n d_ff                                   head       6 n d_model vocab_size, a third more in chunks
    loss        n vocab_size                             update     parameters, once a step

With activation checkpointing a layer's forward is computed twice: four thirds of its time.
"""

import itertools
import math

from hornbook.config.model import ModelConfig
from hornbook.models.accounting import parameter_counts
from hornbook.planning.machine import LENGTHS, WIDTHS, Rates

COMPILED_SHARE = 0.8
"""Of an eager step's time that a compiled one takes (docs/log.md)."""
MFU = 0.4
"""Of an accelerator's dense peak that training is assumed to reach, where nobody has measured."""


def step_seconds(
    config: ModelConfig,
    rates: Rates,
    *,
    rows: int,
    micro_batches: int,
    plain_attention: bool,
    chunk_tokens: int,
    activation_checkpointing: bool = False,
    compiled: bool = False,
    trained: int | None = None,
) -> dict[str, float]:
    """Seconds of a step by piece; they add up.

    trained: so many numbers are moved, and the matrices are frozen, which saves a third of their products; None: all.
    """
    n = rows * config.context_length
    layer = _layer_seconds(config, rates, tokens=n, plain=plain_attention)
    again = 4 / 3 if activation_checkpointing else 1.0
    times = {name: seconds * config.n_layers * again for name, seconds in layer.items()}
    if trained is not None:
        times["linear"] *= 2 / 3 * (9 / 8 if activation_checkpointing else 1.0)  # 2 passes and 3, not 3 and 4
    head = 6.0 * n * config.d_model * config.vocab_size * (4 / 3 if n > chunk_tokens else 1.0)
    times["head"] = head * (1.0 if trained is None else 2 / 3) * _linear_rate(rates, config.d_model, config.vocab_size)
    times["loss"] = n * config.vocab_size * rates["loss"]
    share = COMPILED_SHARE if compiled else 1.0
    times = {name: micro_batches * seconds * share for name, seconds in times.items()}
    moved = sum(parameter_counts(config).values()) if trained is None else trained
    return {**times, "update": moved * rates["update"] * share}


def _layer_seconds(config: ModelConfig, rates: Rates, *, tokens: int, plain: bool) -> dict[str, float]:
    """Of one layer and micro-batch, forward and backward."""
    d, f = config.d_model, config.d_ff
    wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    into = 2 if config.feed_forward == "swiglu" else 1
    products = [(d, wide), (d, narrow), (d, narrow), (wide, d), *[(d, f)] * into, (f, d)]
    linear = sum(6.0 * tokens * a * b * _linear_rate(rates, a, b) for a, b in products)
    scores = float(config.n_heads * config.context_length * tokens)
    turned = wide + narrow if config.position == "rotary" else 0
    normed = 2 * d + (wide + narrow if config.qk_norm else 0)
    return {
        "linear": linear,
        "attention": scores * _attention_rate(rates, config.context_length, plain=plain),
        "norm": tokens * normed * rates[f"norm/{config.norm}"],
        "rotate": tokens * turned * rates["rotate"],
        "activation": tokens * f * rates[f"activation/{config.feed_forward}"],
        "residual": 2.0 * tokens * d * rates["residual"],
    }


def _linear_rate(rates: Rates, a: int, b: int) -> float:
    """Seconds an operation, between the measured widths by the logarithm of the geometric mean."""
    return _between([(width, rates[f"linear/{width}"]) for width in WIDTHS], math.sqrt(a * b))


def _attention_rate(rates: Rates, length: int, *, plain: bool) -> float:
    way = "plain" if plain else "kernel"
    return _between([(each, rates[f"attention/{way}/{each}"]) for each in LENGTHS], length)


def _between(points: list[tuple[int, float]], x: float) -> float:
    """Linear in log x; constant outside."""
    x = min(max(x, points[0][0]), points[-1][0])
    for (left, low), (right, high) in itertools.pairwise(points):
        if x <= right:
            part = (math.log(x) - math.log(left)) / (math.log(right) - math.log(left))
            return low + part * (high - low)
    return points[-1][1]

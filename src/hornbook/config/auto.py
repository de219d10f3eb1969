"""`[model] preset = "auto"` with `depth = N`: one dial from which sizes, rates, batch and budget follow by rule.

Like any preset it is the lowest layer, so a key that the user writes wins; what follows from that key then follows from
what was written (a written width changes the budget and the rates, a written tokens_per_step the number of steps).

    n_layers          depth
    head_dim          64, from depth 16 on 128
    d_model           64 depth, rounded up to a multiple of head_dim [1]
    n_heads           d_model / head_dim
    d_ff              8/3 d_model for swiglu [2], else 4 d_model, rounded up to a multiple of 64
    qk_norm           true: steadier at high rates [3]
    context_length    64 depth, rounded up to a power of two, 128 to 2,048
    N                 parameters besides embeddings, norms and head, so that the vocabulary does not matter
    D                 20 N tokens [4]: the budget
    tokens_per_step   0.58 D^0.571 [5], as a power of two of windows (or of written micro-batches)
    micro_batch_size  at most 8,192 tokens
    steps             D / tokens_per_step, rounded up
    learning_rate     3e-3 for all; for matrices 3e-3 * 256 / d_model [6]: 3e-3 suits width 256
    weight_decay      1 / (0.5 steps * rate of matrices), at most 1: AdamW so averages weights over half a run [7]
    schedule          wsd: the last 20 % decay as 1 - sqrt(x) [8]
    warmup_steps      2 % of the run, 10 to 2,000

[1] Width in proportion to depth: Kaplan et al., arXiv:2001.08361, figure 5; 64 is GPT-2's ratio. [2] Shazeer,
arXiv:2002.05202. [3] Wortsman et al., arXiv:2309.14322. [4] Hoffmann et al., arXiv:2203.15556. [5] Step Law: Li et al.,
arXiv:2503.04715. [6] mu-transfer for Adam: Yang et al., arXiv:2203.03466, table 3. [7] Wang and Aitchison,
arXiv:2405.13698. [8] Haegele et al., arXiv:2405.18392. What has no source is ours.

Rates and decay of weights are AdamW's: another `optim.kind` keeps its own defaults, as another `schedule.kind` does.
"""

import math
from collections.abc import Mapping

from hornbook.config.model import AUTO, MAX_DEPTH

Key = tuple[str | int, ...]
Settings = Mapping[Key, object]

_PER_LAYER = 64
_TOKENS_PER_PARAMETER = 20
_MICRO_BATCH_TOKENS = 8192
_RATE, _RATE_WIDTH = 3e-3, 256
_AVERAGED_PART, _MOST_DECAY = 0.5, 1.0
_MATRIX_RATE: Key = ("optim", "groups", "matrix", "learning_rate")


def auto_settings(depth: int, written: Settings) -> dict[Key, object]:
    """What follows from `depth` and from {key: value} that the user wrote; it holds no key that was written.

    Written values need not be valid yet: one that is no positive integer is left for validation to refuse.
    """
    settings: dict[Key, object] = dict(_shape(depth, written))
    settings |= _amounts(_sizes({**settings, **written}), written)
    if written.get(("optim", "kind"), "adamw") == "adamw":
        settings |= _rates({**settings, **written})
    if written.get(("schedule", "kind"), "wsd") == "wsd":
        settings |= _schedule({**settings, **written})
    return {key: value for key, value in settings.items() if key not in written}


def is_auto(preset: object, depth: object) -> bool:
    """Whether these two values of `[model]` ask for what this file gives."""
    return preset == AUTO and isinstance(depth, int) and not isinstance(depth, bool) and 1 <= depth <= MAX_DEPTH


def _shape(depth: int, written: Settings) -> dict[Key, object]:
    head_dim = _whole(written, "model", "head_dim", 64 if depth < 16 else 128)
    d_model = _whole(written, "model", "d_model", _up_to_multiple(_PER_LAYER * depth, head_dim))
    context = 2 ** math.ceil(math.log2(_PER_LAYER * depth))
    shape: dict[str, object] = {
        "n_layers": depth,
        "d_model": d_model,
        "n_heads": max(1, d_model // head_dim),
        "d_ff": _up_to_multiple(-(-d_model * 8 // 3) if _is_gated(written) else 4 * d_model, 64),
        "qk_norm": True,
        "context_length": min(2048, max(128, context)),
    }
    if ("model", "n_heads") not in written:  # else it is d_model / n_heads
        shape["head_dim"] = head_dim
    return {("model", name): value for name, value in shape.items()}


def _sizes(settings: Settings) -> tuple[int, int]:
    """(parameters besides embeddings, norms and head; context_length) of the shape in force."""
    d_model, n_layers, n_heads, d_ff, context = (
        _whole(settings, "model", name, 1) for name in ("d_model", "n_layers", "n_heads", "d_ff", "context_length")
    )
    head_dim = _whole(settings, "model", "head_dim", max(1, d_model // n_heads))
    n_kv_heads = _whole(settings, "model", "n_kv_heads", n_heads)
    matrices = 3 if _is_gated(settings) else 2
    return n_layers * d_model * (2 * head_dim * (n_heads + n_kv_heads) + matrices * d_ff), context


def _amounts(sizes: tuple[int, int], written: Settings) -> dict[Key, object]:
    """Windows in a micro-batch and tokens in a step that fit together, and the steps that use up the budget."""
    parameters, context = sizes
    budget = _TOKENS_PER_PARAMETER * parameters
    micro = _whole(written, "train", "micro_batch_size", 0)
    windows = (micro or 1) * _power_of_two(0.58 * budget**0.571 / context / (micro or 1))
    rows = _whole(written, "train", "sequences_per_step", 0)  # of tuning, instead of tokens_per_step
    tokens_per_step = rows * context or _whole(written, "train", "tokens_per_step", windows * context)
    most = min(tokens_per_step, _MICRO_BATCH_TOKENS) // context
    fitting = (2**i for i in range(most.bit_length()) if tokens_per_step % (2**i * context) == 0 and 2**i <= most)
    size: dict[Key, object] = {} if rows else {("train", "tokens_per_step"): tokens_per_step}
    return size | {
        ("train", "micro_batch_size"): max(fitting, default=1),
        ("train", "steps"): -(-budget // tokens_per_step),
    }


def _rates(settings: Settings) -> dict[Key, object]:
    """A rate that the user wrote is that of matrices too, unless they wrote another for those."""
    rates: dict[Key, object] = {}
    if ("optim", "learning_rate") not in settings:
        rates["optim", "learning_rate"] = _RATE
        rates[_MATRIX_RATE] = _two_digits(_RATE * _RATE_WIDTH / _whole(settings, "model", "d_model", 1))
    own = {**rates, **settings}.get(_MATRIX_RATE, settings.get(("optim", "learning_rate")))
    if isinstance(own, int | float) and own > 0:
        steps = _whole(settings, "train", "steps", 1)
        rates["optim", "weight_decay"] = min(_MOST_DECAY, _two_digits(1 / (_AVERAGED_PART * steps * own)))
    return rates


def _schedule(settings: Settings) -> dict[Key, object]:
    steps = _whole(settings, "train", "steps", 1)
    schedule: dict[str, object] = {"kind": "wsd", "decay_shape": "sqrt"}
    if ("schedule", "decay_steps") not in settings:
        schedule["decay_fraction"] = 0.2
    if ("schedule", "warmup_fraction") not in settings:
        schedule["warmup_steps"] = min(max(10, min(2000, -(-steps // 50))), steps // 2)
    return {("schedule", name): value for name, value in schedule.items()}


def _whole(settings: Settings, table: str, name: str, otherwise: int) -> int:
    value = settings.get((table, name))
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise


def _is_gated(settings: Settings) -> bool:
    return settings.get(("model", "feed_forward"), "swiglu") == "swiglu"


def _up_to_multiple(number: int, of: int) -> int:
    return -(-number // of) * of


def _power_of_two(number: float) -> int:
    """The nearest one by ratio, at least 1."""
    return int(2 ** max(0, round(math.log2(number))))


def _two_digits(number: float) -> float:
    return float(f"{number:.2g}")

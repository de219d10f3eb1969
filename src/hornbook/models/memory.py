"""Bytes that training takes, from the shape alone: what fits is known before anything is allocated.

P parameters, n = rows * context_length tokens in a micro-batch, a = bytes of a product's number (4, or 2 in 16 bits):

    weights      4 P, and 2 P of 16-bit copies of the matrices, which backward needs
    gradients    4 P
    optimizer    4 P for each tensor of its state
    activations  what autograd keeps of each layer for backward; see `kept_per_token`
    logits       12 of one chunk's (their softmax, its gradient and theirs)

With adapters beside frozen weights (`[lora]`), gradients and optimizer are of trained numbers alone.
With activation checkpointing a layer keeps 4 d a token, and one layer at a time all of it. The sum is what tensors take
at most; what a process takes on top of it is `hornbook.planning`'s.
"""

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.models.accounting import adapter_parameters, parameter_counts, trained_parameters

_STRIPS, _LEAST_STRIP = 4, 64
"""As hornbook.models.masks cuts a causal row up, which imports torch; a test keeps them equal."""
_INNER = {"swiglu": (4, 3), "gelu": (2, 2), "gelu_tanh": (2, 2), "relu": (1, 1), "relu2": (2, 2)}
"""Tensors of width d_ff that backward needs: eager, and compiled, where cheap ones are computed again."""


def training_memory(
    config: ModelConfig,
    *,
    rows: int,
    half: bool,
    state_tensors: int | float,
    chunk_tokens: int,
    activation_checkpointing: bool = False,
    plain_attention: bool = False,
    compiled: bool = False,
    lora: LoraConfig | None = None,
) -> dict[str, int]:
    """Bytes by component for micro-batches of `rows` windows.

    half: products in 16 bits. state_tensors: of the optimizer, each of the weights' size (AdamW has 2, and less on each
    process where several share them).
    plain_attention: attention by its formula, which keeps all its weights.
    """
    counts = parameter_counts(config)
    n_parameters = sum(counts.values()) + (0 if lora is None else adapter_parameters(config, lora))
    n_trained = trained_parameters(config, lora)
    matrices = counts["attention"] + counts["feed_forward"] + config.vocab_size * config.d_model
    tokens = rows * config.context_length
    per_layer = round(tokens * kept_per_token(config, half=half, plain=plain_attention, compiled=compiled))
    kept = tokens * 4 * config.d_model * config.n_layers
    chunk = min(tokens, chunk_tokens)
    return {
        "weights": 4 * n_parameters + (2 * matrices if half else 0),
        "gradients": 4 * n_trained,
        "optimizer": round(4 * state_tensors * n_trained),
        "activations": kept + per_layer if activation_checkpointing else config.n_layers * per_layer,
        "logits": 12 * chunk * config.vocab_size,
    }


def kept_per_token(config: ModelConfig, *, half: bool, plain: bool, compiled: bool = False) -> int | float:
    """Bytes of one token that autograd keeps of one layer between forward and backward.

    d d_model, w = n_heads head_dim, u = n_kv_heads head_dim, f d_ff, h n_heads, T context_length, a as above:

        norms         2 (4 d), twice that for RMSNorm, which keeps what it has normalised too
        into q, k, v  a d, in 16 bits 3 a d: each product has a copy of its own; likewise into up and gate
        q, k, v       by the formula a w, and a w for each strip that sees them, of keys only where they are shared or
                      not rotated; in torch's kernel a (w + 2 u) and 4 h, and a w of what it mixed if q is rotated
        attention     by the formula h (4, and a in 16 bits) for each key of a query's strip
        out of it     a w
        inside        a f times 4 (gated), 2, or 1 (relu, whose output is its own mask)
        dropout       a d for each of two sublayers, and a, twice in float32, for each attention weight
        qk_norm       8 (w + u) + 4 (n_heads + n_kv_heads)

    Compiled, what is cheap is computed again: norms keep their input once, feed-forwards no activation.
    """
    a, d = (2 if half else 4), config.d_model
    wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    is_gated = config.feed_forward == "swiglu"
    eager_inner, compiled_inner = _INNER[config.feed_forward]
    keys = strip_keys(config.context_length)
    if compiled:
        attention = a * (wide + 2 * (wide if plain else wide + narrow))
        weights = 4 * config.n_heads * keys if plain else 4 * config.n_heads
        norms = a * (wide + narrow) if config.qk_norm else 0
        return 4 * d + a * (3 * d + wide + compiled_inner * config.d_ff) + attention + weights + norms
    norms = 2 * (8 * d + 4 if config.norm == "rms_norm" else 4 * d + 8)
    norms += 8 * (wide + narrow) + 4 * (config.n_heads + config.n_kv_heads) if config.qk_norm else 0
    copies = (5 if is_gated else 4) if half else 2
    linear = a * (copies * d + wide + eager_inner * config.d_ff)
    dropped = 2 * a * d if config.dropout else 0
    return norms + linear + dropped + _attention_bytes(config, half=half, plain=plain, keys=keys)


def _attention_bytes(config: ModelConfig, *, half: bool, plain: bool, keys: int | float) -> int | float:
    """What attention itself keeps of a token; torch has no fused kernel with dropout on a CPU."""
    a, n_heads = (2 if half else 4), config.n_heads
    wide, narrow = n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    if plain:
        noise = (2 if half else 8) if config.dropout else 0
        seen = keys_seen(config.context_length)
        k_is_whole = config.n_heads == config.n_kv_heads and config.position == "rotary"
        own = wide * (1 + seen + (1 if k_is_whole else seen))
        return a * own + n_heads * keys * (4 + (2 if half else 0) + noise)
    if config.dropout:
        return 4 * 3 * wide + 12 * n_heads * config.context_length
    out = wide if config.position == "rotary" else 0
    return a * (wide + 2 * narrow + out) + 4 * n_heads


def strip_keys(length: int) -> int | float:
    """Keys of a query, on average, where a causal row is computed in strips of queries."""
    return sum((stop - start) * stop for start, stop in _strips(length)) / length


def keys_seen(length: int) -> int | float:
    """How often a row's values are copied, once for each strip that sees them."""
    return sum(stop for _, stop in _strips(length)) / length


def _strips(length: int) -> list[tuple[int, int]]:
    height = max(_LEAST_STRIP, -(-length // _STRIPS))
    return [(start, min(start + height, length)) for start in range(0, length, height)]

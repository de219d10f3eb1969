"""Bytes that training takes, from the shape alone: what fits is known before anything is allocated.

P parameters, n = rows * context_length tokens in a micro-batch, a = bytes of an activation (4, or 2 in 16 bits):

    weights      4 P, and 2 P of 16-bit copies      gradients  4 P      optimizer  4 P for each tensor of its state
    activations  of a layer and token: 8 d of residuals before two norms, a (2 d) normed, a (2 wide + 3 narrow) of
                 queries, keys and values before and after rotation, a wide mixed, a f (4 gated, else 2) inside the
                 feed-forward, and for attention by its formula (4 + a) n_heads context_length of weights
    logits       of one chunk: 12 bytes each (logits, their gradient, probabilities)

With adapters beside frozen weights (`[lora]`), gradients and optimizer are of trained numbers alone.
With activation checkpointing a layer keeps 4 d a token, and one layer at a time all of it. Good to about a third.
"""

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.models.accounting import adapter_parameters, parameter_counts, trained_parameters


def training_memory(
    config: ModelConfig,
    *,
    rows: int,
    half: bool,
    state_tensors: int | float,
    chunk_tokens: int,
    activation_checkpointing: bool = False,
    plain_attention: bool = False,
    lora: LoraConfig | None = None,
) -> dict[str, int]:
    """Bytes by component for micro-batches of `rows` windows.

    half: products in 16 bits. state_tensors: of the optimizer, each of the weights' size (AdamW has 2, and less on each
    process where several share them).
    plain_attention: attention by its formula, which keeps all its weights.
    """
    n_parameters = sum(parameter_counts(config).values()) + (0 if lora is None else adapter_parameters(config, lora))
    n_trained = trained_parameters(config, lora)
    tokens = rows * config.context_length
    per_layer = tokens * _layer_bytes_per_token(config, half=half, plain=plain_attention)
    kept = tokens * 4 * config.d_model * config.n_layers
    chunk = min(tokens, chunk_tokens)
    return {
        "weights": (6 if half else 4) * n_parameters,
        "gradients": 4 * n_trained,
        "optimizer": round(4 * state_tensors * n_trained),
        "activations": kept + per_layer if activation_checkpointing else config.n_layers * per_layer,
        "logits": 12 * chunk * config.vocab_size,
    }


def _layer_bytes_per_token(config: ModelConfig, *, half: bool, plain: bool) -> int:
    each = 2 if half else 4
    wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    inner = (4 if config.feed_forward == "swiglu" else 2) * config.d_ff
    weights = (4 + each) * config.n_heads * config.context_length if plain else 0
    return 8 * config.d_model + each * (2 * config.d_model + 3 * wide + 3 * narrow + inner) + weights

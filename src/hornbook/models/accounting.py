"""Parameters and floating-point operations by component, from the shape alone (no torch, so planning stays light).

A product of an (m, n) matrix with a vector is 2 m n operations. Forward, per token, with c keys attended to:

    attention_projections   2 n_layers d_model head_dim (2 n_heads + 2 n_kv_heads)           q, o and k, v
    attention_scores        4 n_layers n_heads head_dim c                                    q k^T and weights v
    feed_forward            4 n_layers d_model d_ff, or 6 n_layers d_model d_ff for swiglu   up, down (and gate)
    head                    2 d_model vocab_size

Embedding look-ups, norms, activations and the softmax are left out: they are below a few per cent and bound by memory.
Backward costs twice the forward, once for inputs and once for weights; once where nearly all weights are frozen.
"""

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.config.run import Config


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Numbers in each component; they add up to `Transformer(config).n_parameters`. A tied head counts 0."""
    wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    has_bias = int(config.bias)
    is_gated = config.feed_forward == "swiglu"
    attention = config.d_model * (2 * wide + 2 * narrow) + has_bias * (wide + 2 * narrow + config.d_model)
    inner = (2 if is_gated else 1) * config.d_ff
    feed_forward = config.d_model * (inner + config.d_ff) + has_bias * (inner + config.d_model)
    norm = config.d_model * (2 if config.norm == "layer_norm" and config.bias else 1)
    n_norms = 2 * config.n_layers + (1 if config.norm_position == "pre" else 0)
    qk_norms = 2 * config.head_dim * config.n_layers if config.qk_norm else 0
    return {
        "token_embedding": config.vocab_size * config.d_model,
        "position_embedding": config.context_length * config.d_model if config.position == "learned" else 0,
        "ngram_embedding": (config.ngram_length - 1) * (config.ngram_rows or 0) * config.d_model,
        "attention": config.n_layers * attention,
        "feed_forward": config.n_layers * feed_forward,
        "norm": n_norms * norm + qk_norms,
        "head": 0 if config.tie_embeddings else config.vocab_size * config.d_model,
    }


def adapter_parameters(config: ModelConfig, lora: LoraConfig) -> int:
    """Numbers in the adapters of `lora`: rank (in + out) for each linear layer that has one."""
    wide, narrow = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    other_side = {"q_proj": wide, "k_proj": narrow, "v_proj": narrow, "o_proj": wide}  # one side is d_model
    sides = sum(config.d_model + other_side.get(name, config.d_ff) for name in lora.targets)
    return config.n_layers * lora.rank * sides


def trained_parameters(config: ModelConfig, lora: LoraConfig | None) -> int:
    """Numbers that training moves: all of them, or the adapters and what is trained beside them."""
    counts = parameter_counts(config)
    if lora is None:
        return sum(counts.values())
    return adapter_parameters(config, lora) + sum(counts[name] for name in lora.also_train)


def flops_per_token(config: ModelConfig, *, context: int | float) -> dict[str, float]:
    """Forward operations per token by component, as in the table above.

    context: keys that a query attends to, on average. The sequence length counts the whole square of scores, masked
        half included (the convention of PaLM's and nanoGPT's MFU); (length + 1) / 2 counts what a causal mask leaves.
    """
    projections = config.d_model * config.head_dim * (2 * config.n_heads + 2 * config.n_kv_heads)
    matrices = 3 if config.feed_forward == "swiglu" else 2
    return {
        "attention_projections": 2.0 * config.n_layers * projections,
        "attention_scores": 4.0 * config.n_layers * config.n_heads * config.head_dim * context,
        "feed_forward": 2.0 * config.n_layers * matrices * config.d_model * config.d_ff,
        "head": 2.0 * config.d_model * config.vocab_size,
    }


def training_flops_per_token(
    config: ModelConfig, *, context: int | float, activation_checkpointing: bool = False, frozen: bool = False
) -> float:
    """Operations per trained token, forward and backward: 3 forwards, and a fourth with activation checkpointing.

    `frozen` weights save one of them; what adapters cost, a few per cent of a forward, is left out.
    For model FLOPs utilisation leave `activation_checkpointing` off: recomputation is work, not progress.
    """
    forwards = 3 + activation_checkpointing - frozen
    return sum(flops_per_token(config, context=context).values()) * forwards


def run_flops_per_token(config: Config, shape: ModelConfig) -> float:
    """Of training by that configuration: all passes over a token, forward and backward; a pair's rows count each.

    What a reference computes is left out: it trains nothing.
    """
    once = training_flops_per_token(shape, context=shape.context_length, frozen=config.lora is not None)
    return once * config.objective.tokens_read / (2 if config.data.stage == "dpo" else 1)

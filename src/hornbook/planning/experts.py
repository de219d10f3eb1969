"""A mixture of experts, counted though not built: each layer's feed-forward several times, of which a token takes some.

Shazeer et al., 2017, arXiv:1701.06538; Fedus et al., 2021, arXiv:2101.03961. Memory follows all parameters, operations
of a token those that are active.
"""

from dataclasses import dataclass

from hornbook.config.model import ModelConfig
from hornbook.errors import ConfigError
from hornbook.models.accounting import flops_per_token, parameter_counts


@dataclass(frozen=True, kw_only=True)
class ExpertCounts:
    """Numbers of the mixture."""

    total: int
    active: int
    router: int
    """Of `total` and `active`: d_model for each expert and layer."""
    flops_per_token: float
    """Forward."""


def expert_counts(config: ModelConfig, *, experts: int, active: int, context: int | float) -> ExpertCounts:
    """The same model with `experts` feed-forwards of d_ff in each layer, `active` of them for each token.

    Raises:
        ConfigError: if more are active than there are.
    """
    if not 1 <= active <= experts:
        raise ConfigError(f"{active} of {experts} experts active; expected 1 to {experts}")
    counts = parameter_counts(config)
    router = config.n_layers * config.d_model * experts
    others = sum(counts.values()) - counts["feed_forward"] + router
    flops = flops_per_token(config, context=context)
    forward = sum(flops.values()) + (active - 1) * flops["feed_forward"] + 2.0 * router
    return ExpertCounts(
        total=others + experts * counts["feed_forward"],
        active=others + active * counts["feed_forward"],
        router=router,
        flops_per_token=forward,
    )

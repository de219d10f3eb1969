"""Next-token prediction and masked diffusion on the same weights: two passes over each window.

    row        x0 x1 ... xT           T + 1 tokens
    causal     x0 ... x(T-1)  ->  x1 ... xT
    full       x0 M  ... x(T-1)       its masked tokens

    loss = mean nll of the next tokens + diffusion_weight * mean weighted nll of the masked ones

Each mean is over its own targets. The metric `nll`, and with it validation's loss, perplexity and bits per byte, is
that of the next tokens, which is exact; the bound of the diffusion is `diffusion_nll`.
"""

from dataclasses import replace

from jaxtyping import Int
from torch import Tensor

from hornbook.config.objective import JointConfig
from hornbook.data.batch import TokenBatch
from hornbook.models.transformer import Transformer
from hornbook.objectives.masked_diffusion import MaskedDiffusion
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.noise import between
from hornbook.objectives.objective import LossOutput, StepContext


class Joint:
    """The objective `joint`: the two it is made of, added up."""

    lookahead = 1

    def __init__(
        self, config: JointConfig, *, mask_id: int, chunk_tokens: int, byte_lengths: Int[Tensor, " v"] | None = None
    ) -> None:
        """`byte_lengths` (bytes of each token, 0 for special ones) adds the metric `bytes`, of the next tokens."""
        self.next_token = NextToken(config, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)
        self.diffusion = MaskedDiffusion(config, mask_id=mask_id, chunk_tokens=chunk_tokens)
        self.coefficient, self.coefficient_steps = config.diffusion_weight, config.diffusion_weight_steps
        start = config.diffusion_weight_start
        self.first_coefficient = config.diffusion_weight if start is None else start

    def prepare(self, batch: TokenBatch, at: StepContext) -> TokenBatch:
        """The batch with the noise of the masked half, for all tokens but the last."""
        coefficient = between(self.first_coefficient, self.coefficient, steps=self.coefficient_steps, step=at.step)
        length = batch.tokens.shape[1] - self.lookahead
        return replace(batch, noised=self.diffusion.masking(batch, at, length=length, coefficient=coefficient))

    def weight(self, batch: TokenBatch) -> dict[str, int]:
        """Each half by its own targets."""
        return {**self.next_token.weight(batch), **self.diffusion.weight(batch)}

    def __call__(self, model: Transformer, batch: TokenBatch) -> LossOutput:
        """Both sums; the diffusion's `nll` is called `diffusion_nll`."""
        ahead, masked = self.next_token(model, batch), self.diffusion(model, batch)
        metrics = dict(masked.metrics)
        metrics["diffusion_nll"] = metrics.pop("nll")
        return LossOutput(terms={**ahead.terms, **masked.terms}, metrics={**metrics, **ahead.metrics})

"""The adapter of this project: toys are Transformers whose layers are a table."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from diffusion_exactness.adapter import Decision, Sampling, TrainingStep
from diffusion_exactness.toys import Toy
from hornbook.config.bound import BoundConfig
from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.config.model import ModelConfig
from hornbook.config.objective import BlockDiffusionConfig, MaskedDiffusionConfig
from hornbook.data.batch import TokenBatch
from hornbook.evaluation.answer_bound import bound_answer
from hornbook.evaluation.diffusion_bound import draw_of
from hornbook.evaluation.noised_scorer import NoisedScorer
from hornbook.generation.block_diffusion import BlockDiffusion, DenoiseStep
from hornbook.models.transformer import Transformer
from hornbook.objectives.block_diffusion import BlockDiffusion as BlockDiffusionLoss
from hornbook.objectives.masked_diffusion import TERM, MaskedDiffusion
from hornbook.objectives.objective import StepContext

SHAPE = {"n_heads": 1, "n_kv_heads": 1, "d_ff": 8, "tie_embeddings": False}


class ToyTransformer(Transformer):
    """Everything of a Transformer but its layers: a query's logits are looked up by the tokens that it may see."""

    def __init__(self, toy: Toy) -> None:
        width = toy.vocab + 1
        config = {"vocab_size": width, "context_length": toy.length, "d_model": width, "head_dim": width, "n_layers": 1}
        super().__init__(ModelConfig.model_validate({**SHAPE, **config, "position": "none"}))
        self.toy = toy
        self.table = torch.from_numpy(toy.table)
        self.double()

    def _hidden(self, tokens, positions, visibility, cache, slots) -> Tensor:
        assert cache is None, "a toy has no keys and values to keep"
        (b, t), length, mask = tokens.shape, self.toy.length, self.toy.mask_id
        allowed = torch.ones(t, t, dtype=torch.bool).tril() if visibility.is_causal else visibility.allowed
        allowed = torch.ones(t, t, dtype=torch.bool) if allowed is None else allowed
        allowed = allowed.reshape(-1, t, t).expand(b, t, t)
        places = positions.expand(b, t)
        seen = torch.where(allowed, tokens[:, None, :], mask)
        pattern = torch.full((b, t, length), mask)
        pattern.scatter_reduce_(2, places[:, None, :].expand(b, t, t), seen, "amin")  # the mask token is the largest id
        code = (pattern * (mask + 1) ** torch.arange(length)).sum(dim=-1)
        return self.table[code, places]

    def _logits(self, hidden: Tensor) -> Tensor:
        return hidden


class HornbookAdapter:
    min_mask_probability = 1e-3

    def model(self, toy: Toy) -> Transformer:
        return _model(toy)

    def network(self, *, layers: int, seed: int) -> Transformer:
        shape = {
            "vocab_size": 12,
            "context_length": 160,
            "d_model": 16,
            "head_dim": 8,
            "n_layers": layers,
            "n_heads": 2,
        }
        # This initialisation is of unit scale, so that positions and contexts change the answer.
        config = ModelConfig.model_validate({**SHAPE, **shape, "d_ff": 32, "init": "torch_default"})
        return Transformer(config, seed=seed).eval()

    def train(
        self,
        toy: Toy,
        texts: Tensor,
        *,
        step: int,
        block_length: int | None = None,
        parts: Sequence[int] = (),
        truncation_probability: float = 0.0,
    ) -> TrainingStep:
        settings = {
            "min_mask_probability": self.min_mask_probability,
            "truncation_probability": truncation_probability,
        }
        if block_length is None:
            objective = MaskedDiffusion(MaskedDiffusionConfig(**settings), mask_id=toy.mask_id, chunk_tokens=10_000)
        else:
            config = BlockDiffusionConfig(**settings, block_length=block_length)
            objective = BlockDiffusionLoss(config, mask_id=toy.mask_id, chunk_tokens=10_000)
        at = StepContext(seed=5, step=step, samples_per_step=len(texts))
        first, model = step * len(texts), self.model(toy)
        batch = TokenBatch(
            tokens=texts,
            loss_mask=torch.ones_like(texts, dtype=torch.bool),
            sample_ids=first + torch.arange(len(texts)),
        )
        pieces = [batch] if not parts else [_rows(batch, rows) for rows in torch.arange(len(texts)).split(list(parts))]
        prepared = [objective.prepare(piece, at) for piece in pieces]
        with torch.no_grad():
            sums = [float(objective(model, piece).terms[TERM]) for piece in prepared]
        return TrainingStep(
            hidden=torch.cat([piece.noised.masked for piece in prepared]),
            counted=torch.cat([piece.noised.counted for piece in prepared]),
            probability=torch.cat([piece.noised.mask_probability for piece in prepared]),
            loss_sum=sum(sums),
            denominator=sum(objective.weight(piece)[TERM] for piece in prepared),
        )

    def likelihood(
        self,
        toy: Toy,
        text: tuple[int, ...],
        *,
        given: int,
        estimator: str,
        draws: int = 1,
        seed: int = 0,
        block_length: int | None = None,
    ) -> float:
        config = BoundConfig(estimator=estimator, draws=None if estimator == "exact" else draws)
        score = NoisedScorer(self.model(toy), toy.mask_id, block_length=block_length)
        draw = draw_of(config, block_length)
        return bound_answer(score, text[:given], text[given:], draw, seed=seed)[0]

    def sample(self, model: Transformer, prompt: tuple[int, ...], sampling: Sampling, *, rows: int) -> Tensor:
        decode = self._decoder(model, sampling)
        chunks = decode(
            model, [prompt] * rows, max_new_tokens=sampling.new_tokens, stop_ids=(), seeds=range(1000, 1000 + rows)
        )
        return torch.cat([chunk.tokens for chunk in chunks], dim=1)

    def decisions(
        self,
        model: Transformer,
        template: Sequence[int | None],
        sampling: Sampling,
        *,
        seed: int = 0,
    ) -> list[Decision]:
        heard: list[DenoiseStep] = []
        decode = self._decoder(model, sampling, on_step=heard.append)
        holes = template.index(None)
        if all(token is None for token in template[holes:]) and holes:
            prompt = list(template[:holes])
            chunks = decode(model, [prompt], max_new_tokens=sampling.new_tokens, stop_ids=(), seeds=[seed])
        else:
            chunks = decode.infill(model, [list(template)], seeds=[seed])
        for _ in chunks:
            pass
        return [Decision(positions=own.positions, tokens=own.tokens, confidences=own.confidences) for own in heard]

    def _decoder(self, model: Transformer, sampling: Sampling, **more) -> BlockDiffusion:
        diffusion = DenoisingConfig(
            denoise_steps=sampling.steps,
            block_length=sampling.block_length,
            remasking=sampling.remasking,
            guidance_scale=sampling.guidance_scale,
            confidence_threshold=sampling.confidence_threshold,
            cache=sampling.cache,
        )
        mask_id = model.config.vocab_size - 1
        return BlockDiffusion(
            SamplingConfig(temperature=sampling.temperature),
            diffusion,
            mask_id=mask_id,
            causal_block_length=sampling.block_length if sampling.is_block_causal else None,
            **more,
        )


@functools.lru_cache(maxsize=8)
def _model(toy: Toy) -> Transformer:
    return ToyTransformer(toy).eval()


def _rows(batch: TokenBatch, rows: Tensor) -> TokenBatch:
    return TokenBatch(tokens=batch.tokens[rows], loss_mask=batch.loss_mask[rows], sample_ids=batch.sample_ids[rows])

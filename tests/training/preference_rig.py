"""Pairs of answers for the tiny learner of the rig: prompts, lengths and masks are uneven."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from hornbook.config.objective import PreferenceConfig
from hornbook.data.batch import PreferenceBatch, TokenBatch
from hornbook.data.shards import Place
from hornbook.models.transformer import Transformer
from hornbook.objectives.preference import Preference
from hornbook.objectives.reference import frozen
from hornbook.training.step import Learner
from training.rig import CONTEXT, VOCAB, build_learner

N_PAIRS, PAIRS_PER_STEP = 10, 4
LIKELIHOODS = ("next_token", "masked_diffusion")


class Pairs:
    """Pair i has a prompt of 2 tokens and two answers of 1 to CONTEXT - 3 tokens, padded to the longer ones."""

    def __len__(self) -> int:
        return N_PAIRS

    def batch(self, numbers: Sequence[int], sample_ids: Sequence[int]) -> PreferenceBatch:
        sides = [self._side([10 * number + side for number in numbers], sample_ids) for side in range(2)]
        return PreferenceBatch(chosen=sides[0], rejected=sides[1])

    def place(self, number: int) -> Place:
        raise AssertionError("nobody asks")

    def _side(self, seeds: list[int], sample_ids: Sequence[int]) -> TokenBatch:
        rows = [torch.randint(1, VOCAB - 1, (CONTEXT,), generator=torch.Generator().manual_seed(n)) for n in seeds]
        stops = torch.tensor([3 + int(row.sum()) % (CONTEXT - 3) for row in rows])[:, None]
        width = int(stops.max())
        places = torch.arange(width)
        tokens = torch.where(places < stops, torch.stack(rows)[:, :width], 0)
        mask = (places >= 2) & (places < stops)
        return TokenBatch(tokens=tokens, loss_mask=mask, sample_ids=torch.tensor(list(sample_ids)))


class Source:
    """A BatchSource: steps of PAIRS_PER_STEP pairs in order, `rows` in a micro-batch."""

    def __init__(self, rows: int = 2) -> None:
        self.rows = rows

    def step(self, step: int) -> list[PreferenceBatch]:
        first = step * PAIRS_PER_STEP
        starts = range(first, first + PAIRS_PER_STEP, self.rows)
        ids = [range(start, start + self.rows) for start in starts]
        return [Pairs().batch([sample % N_PAIRS for sample in own], own) for own in ids]


def objective_of(likelihood: str, reference: Transformer | None, **changes: object) -> Preference:
    settings = PreferenceConfig.model_validate({"likelihood": likelihood, "beta": 0.5, **changes})
    given = None if reference is None else frozen(reference)
    return Preference(settings, mask_id=VOCAB - 1, chunk_tokens=64, reference=given)


def learner_of(likelihood: str, *, seed: int = 0, **changes: object) -> Learner[PreferenceBatch]:
    """A learner whose reference is another model (of seed 7)."""
    learner = build_learner(seed=seed, **changes)
    reference = build_learner(seed=7, **changes).model
    return replace(learner, objective=objective_of(likelihood, reference))  # type: ignore[arg-type,return-value]

"""Beam search: the likeliest texts that keeping `width` unfinished ones at a time can find.

    width beams -> read -> the width best of all their continuations -> those that end leave, those that follow in
    rank move up, so that width beams live on -> ... -> the best finished ones

A hypothesis is ranked by the sum of its tokens' log-probabilities under the model, over ((5 + tokens) / 6) **
length_penalty (Wu et al. 2016, arXiv:1609.08144, equation 14). The search ends when no live beam can overtake the
finished ones any more, which is exact: a log-probability only falls, and no more than max_new_tokens divide it.

The result equals that of trying every text if width is at least the number of texts one token shorter than the
longest, and greedy decoding if width is 1 and there is no penalty.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hornbook.config.generate import BeamConfig
from hornbook.generation.backends import Backend, Span
from hornbook.generation.decoder import FinishReason
from hornbook.generation.filters import DROPPED, refuse_broken
from hornbook.generation.known import KnownIds
from hornbook.generation.prefill import prefill


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A continuation that the search found."""

    tokens: tuple[int, ...]
    """The stop token included."""
    logprobs: tuple[float, ...]
    """Of each token under the model, in nats."""
    score: float
    """The sum of logprobs after the length penalty: what hypotheses are ranked by."""
    reason: FinishReason


@dataclass(frozen=True, kw_only=True)
class _Beam:
    """A text under way, whose tokens but the last lie in a slot of the backend."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    total: float
    slot: int


class BeamSearch:
    """Searches the continuations of a prompt; the backend has at least `beam.width` slots."""

    def __init__(
        self,
        backend: Backend,
        beam: BeamConfig,
        *,
        stop_ids: Collection[int] = (),
        ends: Callable[[Sequence[int]], bool] | None = None,
        known: KnownIds | None = None,
    ) -> None:
        """`ends` says of a continuation's tokens whether they hold a stop string."""
        assert backend.slots >= beam.width
        self._backend = backend
        self._width = beam.width
        self._penalty = beam.length_penalty
        self._stop_ids = frozenset(stop_ids)
        self._ends = ends
        self._known = KnownIds() if known is None else known

    @torch.inference_mode()
    def search(self, prompt: Sequence[int], *, max_new_tokens: int, n_best: int = 1) -> list[Hypothesis]:
        """The best `n_best` continuations found, best first; fewer if there are no more.

        Raises:
            GenerationError: for logits that are not finite.
        """
        prefill(self._backend, 0, prompt)
        beams = [_Beam(tokens=(), logprobs=(), total=0.0, slot=0)]
        finished: list[Hypothesis] = []
        for length in range(1, max_new_tokens + 1):
            live: list[_Beam] = []
            for rank, child in enumerate(self._continuations(beams, self._read(prompt, beams))):
                if len(live) == self._width:
                    break
                reason = self._reason(child, is_last=length == max_new_tokens)
                if reason is None:
                    live.append(child)
                elif rank < self._width:
                    finished.append(self._finish(child, reason))
            finished = sorted(finished, key=lambda found: -found.score)[:n_best]  # stable: of equals the first found
            if not live or self._is_settled(finished, live[0], n_best, max_new_tokens):
                break
            beams = self._move(live, len(prompt) + length - 1)
        return finished

    def _read(self, prompt: Sequence[int], beams: Sequence[_Beam]) -> Float[Tensor, "beams v"]:
        """Logits after the last token of each."""
        last = [beam.tokens[-1] if beam.tokens else prompt[-1] for beam in beams]
        start = len(prompt) + len(beams[0].tokens) - 1
        return self._backend.read(
            [Span(slot=beam.slot, start=start, tokens=(token,)) for beam, token in zip(beams, last, strict=True)]
        )

    def _continuations(self, beams: Sequence[_Beam], logits: Float[Tensor, "beams v"]) -> Iterator[_Beam]:
        """By falling total, of equals those of the better beam and then the lower id first, twice `width` a beam."""
        refuse_broken(logits)
        normalisers = logits.double().logsumexp(dim=-1).tolist()
        known = self._known(logits)
        best = known.topk(min(2 * self._width + len(self._stop_ids), known.shape[-1]), dim=-1)
        found = [
            (beam.total + logit - normaliser, number, token, logit - normaliser)
            for number, (beam, normaliser, row, values) in enumerate(
                zip(beams, normalisers, best.indices.tolist(), best.values.double().tolist(), strict=True)
            )
            for token, logit in zip(row, values, strict=True)
            if logit > DROPPED
        ]
        for total, number, token, logprob in sorted(found, key=lambda each: (-each[0], *each[1:3])):
            beam = beams[number]
            yield _Beam(tokens=(*beam.tokens, token), logprobs=(*beam.logprobs, logprob), total=total, slot=beam.slot)

    def _reason(self, child: _Beam, *, is_last: bool) -> FinishReason | None:
        if child.tokens[-1] in self._stop_ids or (self._ends is not None and self._ends(child.tokens)):
            return "stop"
        return "length" if is_last else None

    def _finish(self, child: _Beam, reason: FinishReason) -> Hypothesis:
        score = child.total / self._divisor(len(child.tokens))
        return Hypothesis(tokens=child.tokens, logprobs=child.logprobs, score=score, reason=reason)

    def _divisor(self, length: int) -> float:
        return math.pow((5 + length) / 6, self._penalty)

    def _is_settled(self, finished: Sequence[Hypothesis], best: _Beam, n_best: int, longest: int) -> bool:
        """Whether no continuation of the best live beam can be among the n best."""
        return len(finished) == n_best and finished[-1].score >= min(best.total, 0.0) / self._divisor(longest)

    def _move(self, live: Sequence[_Beam], length: int) -> list[_Beam]:
        """The live beams in slots of their own: the first child keeps its parent's, the others copy it to free ones."""
        kept = {beam.slot for beam in live}
        free = iter(slot for slot in range(self._width) if slot not in kept)
        taken: set[int] = set()
        moved = []
        for beam in live:
            slot = beam.slot
            if slot in taken:
                slot = next(free)
                self._backend.copy(beam.slot, slot, length)
            taken.add(slot)
            moved.append(replace(beam, slot=slot))
        return moved

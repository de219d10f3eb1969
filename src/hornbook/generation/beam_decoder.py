"""Beam search as a decoder: of each prompt the likeliest text that is found, all its tokens at once."""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing

import torch

from hornbook.config.generate import GenerateConfig
from hornbook.generation.beam import BeamSearch, Hypothesis
from hornbook.generation.decoder import NO_TOKEN, FinishReason, TokenChunk
from hornbook.generation.known import KnownIds
from hornbook.generation.modes import evaluating
from hornbook.generation.open_backend import open_backend
from hornbook.generation.rows import Row, admit
from hornbook.models.transformer import Transformer


class BeamDecoder:
    """Decoder that searches as `config.beam` says, one prompt after another."""

    def __init__(
        self,
        config: GenerateConfig,
        *,
        ends: Callable[[Sequence[int]], bool] | None = None,
        known: KnownIds | None = None,
        note: Callable[[str], None],
    ) -> None:
        """`ends` says whether the tokens of a text hold a stop string; `note` hears which backend serves, and why."""
        self._config = config
        self._ends = ends
        self._known = known
        self._note = note

    def __call__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        seeds: Sequence[int],
    ) -> Generator[TokenChunk, None, None]:
        """A chunk for each prompt, with the whole text of its row. Seeds have no effect: nothing is drawn.

        Raises:
            GenerationError: at once for prompts that cannot be served (see `rows`); while decoding, for logits that
                are not finite.
        """
        found = self.search(model, prompts, max_new_tokens=max_new_tokens, stop_ids=stop_ids)
        return self._chunks(found, len(prompts))

    def search(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        n_best: int = 1,
    ) -> Generator[list[Hypothesis], None, None]:
        """The best `n_best` texts of each prompt, best first; fewer where there are no more.

        Raises:
            GenerationError: as a call does.
        """
        assert n_best <= self._config.beam.width
        rows = admit(
            prompts,
            [0] * len(prompts),
            context_length=model.config.context_length,
            vocab_size=model.config.vocab_size,
            max_new_tokens=max_new_tokens,
            overflow=self._config.context_overflow,
        )
        return self._search(model, rows, frozenset(stop_ids), n_best)

    def _search(
        self, model: Transformer, rows: Sequence[Row], stop_ids: frozenset[int], n_best: int
    ) -> Generator[list[Hypothesis], None, None]:
        longest = max((len(row.tokens) + row.limit for row in rows), default=1)
        with evaluating(model):
            backend = open_backend(
                model,
                slots=self._config.beam.width,
                max_length=min(longest, model.config.context_length),
                config=self._config,
                note=self._note,
            )
            beams = BeamSearch(backend, self._config.beam, stop_ids=stop_ids, ends=self._ends, known=self._known)
            for row in rows:
                yield beams.search(row.tokens, max_new_tokens=row.limit, n_best=n_best)

    def _chunks(self, found: Generator[list[Hypothesis], None, None], n_rows: int) -> Generator[TokenChunk, None, None]:
        reasons: list[FinishReason | None] = [None] * n_rows
        with closing(found):
            for number, (best,) in enumerate(found):
                reasons[number] = best.reason
                tokens = torch.full((n_rows, len(best.tokens)), NO_TOKEN)
                logprobs = torch.zeros(tokens.shape)
                tokens[number], logprobs[number] = torch.tensor(best.tokens), torch.tensor(best.logprobs)
                finished = torch.arange(n_rows) <= number
                yield TokenChunk(tokens=tokens, finished=finished, reasons=tuple(reasons), logprobs=logprobs)

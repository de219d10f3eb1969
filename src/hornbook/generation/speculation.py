"""Speculative decoding: several tokens are guessed, and the model reads them all at once to see which stand.

    guesses x1 x2 x3 -> one reading of (last token, x1, x2, x3) -> p1 p2 p3 p4, each after the filters
    at each position a token is drawn from p; those up to and including the first that differs from its guess stand

So a reading gives one token at least, and one more than were guessed at most. What is drawn has exactly the
distribution p of decoding without guesses:

    a guess that is certain (by lookup, or at temperature 0): the draw is the usual one, from the usual noise, and the
        guess only decides how many draws a reading yields. The text is that without guesses.
    a guess x drawn from q by a draft model: x is the draw with probability min(1, p(x) / q(x)), else the draw is from
        the normalised max(0, p - q) (Leviathan et al. 2022, arXiv:2211.17192, theorem 3.5). The text is another one
        than without guesses, and as likely.

All noise is a function of (seed, position), so the same seed gives the same text again.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hornbook.config.generate import SamplingConfig
from hornbook.generation.backends import Backend, Span
from hornbook.generation.decoder import NO_TOKEN, TokenChunk
from hornbook.generation.draw import draw_known
from hornbook.generation.filters import apply_filters, refuse_broken, sample
from hornbook.generation.guesses import Guesser, Guesses, seen_ids
from hornbook.generation.known import KnownIds
from hornbook.generation.noise import acceptance_noise, row_noise, uniform
from hornbook.generation.prefill import prefill
from hornbook.generation.rows import Row

Draw = tuple[int, float]
"""A token, and its log-probability under the model itself."""


class Speculation:
    """Decodes the rows of one batch, each in the slot of its number."""

    def __init__(
        self,
        backend: Backend,
        guesser: Guesser,
        rows: Sequence[Row],
        sampling: SamplingConfig,
        *,
        n_guesses: int,
        context_length: int,
        stop_ids: frozenset[int] = frozenset(),
        known: KnownIds | None = None,
    ) -> None:
        assert backend.slots >= len(rows)
        self._backend = backend
        self._guesser = guesser
        self._rows = rows
        self._sampling = sampling
        self._n_guesses = n_guesses
        self._context_length = context_length
        self._stop_ids = stop_ids
        self._known = KnownIds() if known is None else known

    @property
    def done(self) -> bool:
        """Whether every row is finished."""
        return all(row.reason is not None for row in self._rows)

    @torch.inference_mode()
    def step(self) -> TokenChunk:
        """Guess, read and draw once for every row that is not finished.

        Raises:
            GenerationError: for logits that are not finite.
        """
        numbers = [number for number, row in enumerate(self._rows) if row.reason is None]
        rows = [self._rows[number] for number in numbers]
        guesses = self._guesser.guess(rows, numbers, [self._room(row) for row in rows])
        logits = self._read(numbers, rows, guesses.tokens)
        draws = (
            self._usual(rows, guesses, logits)
            if guesses.probabilities is None
            else self._weighed(rows, guesses, logits)
        )
        taken: dict[int, list[Draw]] = {}
        accepted: dict[int, int] = {}
        for number, row, guess, drawn in zip(numbers, rows, guesses.tokens, draws, strict=True):
            taken[number] = self._take(row, guess, drawn)
            pairs = zip(taken[number], guess, strict=False)
            accepted[number] = sum(token == guessed for (token, _), guessed in pairs)
        asked = {number: len(guess) for number, guess in zip(numbers, guesses.tokens, strict=True)}
        return self._chunk(taken, asked, accepted)

    def _room(self, row: Row) -> int:
        """How many tokens to guess: no more than may be drawn or the window has room for."""
        return max(0, min(self._n_guesses, row.limit - 1, self._context_length - len(row.window)))

    def _read(
        self, numbers: Sequence[int], rows: Sequence[Row], guesses: Sequence[Sequence[int]]
    ) -> Float[Tensor, "draws v"]:
        """Logits after each row's last token and after each guess; a prompt is read before that."""
        for number, row in zip(numbers, rows, strict=True):
            prefill(self._backend, number, row.window, start=row.cached)
        return self._backend.read(
            [
                Span(slot=number, start=len(row.window) - 1, tokens=[row.tokens[-1], *guess], every=True)
                for number, row, guess in zip(numbers, rows, guesses, strict=True)
            ]
        )

    def _usual(self, rows: Sequence[Row], guesses: Guesses, logits: Float[Tensor, "draws v"]) -> list[Iterator[Draw]]:
        """Each row's draws as they are without guesses, made when they are asked for: when those before them stand."""
        by_row = torch.split(logits.cpu(), [len(guess) + 1 for guess in guesses.tokens])
        return [self._usual_of(row, own) for row, own in zip(rows, by_row, strict=True)]

    def _usual_of(self, row: Row, logits: Float[Tensor, "n v"]) -> Iterator[Draw]:
        """In numpy: torch would call its threads for every small sum, and they would stand in the kernels' way."""
        for own in logits:
            known, seen = self._known(own[None])[0].numpy(), None
            if self._sampling.repetition_penalty != 1.0:
                seen = np.zeros(len(own), dtype=np.bool_)
                seen[row.tokens] = True
            noise = uniform(row.seed, len(row.tokens))
            token, scale = draw_known(own.numpy(), known, seen, noise, self._sampling)
            yield token, float(own[token]) - scale

    def _weighed(self, rows: Sequence[Row], guesses: Guesses, logits: Float[Tensor, "draws v"]) -> list[Iterator[Draw]]:
        """Each row's draws where a model guessed: which guesses stand depends on both models' probabilities."""
        refuse_broken(logits)
        tokens = self._tokens(rows, guesses, logits)
        scores = (logits - logits.logsumexp(dim=-1, keepdim=True)).cpu().gather(-1, tokens[:, None])[:, 0]
        pairs = iter(zip(tokens.tolist(), scores.tolist(), strict=True))
        return [iter(list(islice(pairs, len(guess) + 1))) for guess in guesses.tokens]

    def _tokens(
        self, rows: Sequence[Row], guesses: Guesses, logits: Float[Tensor, "draws v"]
    ) -> Int64[Tensor, " draws"]:
        """A token after each position read, on the CPU."""
        assert guesses.probabilities is not None
        texts = [
            [*row.tokens, *guess[:n]]
            for row, guess in zip(rows, guesses.tokens, strict=True)
            for n in range(len(guess) + 1)
        ]
        seeds = [row.seed for row, guess in zip(rows, guesses.tokens, strict=True) for _ in range(len(guess) + 1)]
        positions = [len(text) for text in texts]
        known = self._known(logits)
        filtered = apply_filters(known, seen_ids(texts, known, self._sampling), self._sampling)
        draws = sample(filtered, row_noise(seeds, positions).to(filtered.device))
        at = _guessed_positions(guesses.tokens)
        noise = acceptance_noise([seeds[i] for i in at], [positions[i] for i in at]).to(filtered.device)
        tokens = torch.tensor([token for guess in guesses.tokens for token in guess], device=filtered.device)
        p, q = filtered[at].double().softmax(dim=-1), guesses.probabilities.to(filtered.device)
        stands = noise * q.gather(-1, tokens[:, None])[:, 0] < p.gather(-1, tokens[:, None])[:, 0]
        rest = (p - q).clamp(min=0.0)
        rest = torch.where(rest.sum(dim=-1, keepdim=True) > 0.0, rest, p)  # p = q: only rounding could refuse
        usual = row_noise([seeds[i] for i in at], [positions[i] for i in at]).to(filtered.device)
        draws[at] = torch.where(stands, tokens, sample(rest.log(), usual))
        return draws.cpu()

    def _take(self, row: Row, guess: Sequence[int], draws: Iterator[Draw]) -> list[Draw]:
        """Append the draws that stand; a row that ends or slides takes no more."""
        held = len(row.window)
        start = row.start
        taken = []
        for n, (token, logprob) in enumerate(draws):
            taken.append((token, logprob))
            row.append(token, stop=token in self._stop_ids, context_length=self._context_length)
            stands = n < len(guess) and token == guess[n]
            if row.reason is not None or row.start != start or not stands:
                break
        if row.start == start:
            row.cached = held + n
        return taken

    def _chunk(self, taken: dict[int, list[Draw]], asked: dict[int, int], accepted: dict[int, int]) -> TokenChunk:
        width = max(len(pairs) for pairs in taken.values())
        tokens = torch.full((len(self._rows), width), NO_TOKEN)
        logprobs = torch.zeros(len(self._rows), width)
        for number, pairs in taken.items():
            tokens[number, : len(pairs)] = torch.tensor([token for token, _ in pairs])
            logprobs[number, : len(pairs)] = torch.tensor([logprob for _, logprob in pairs])
        reasons = tuple(row.reason for row in self._rows)
        everyone = range(len(self._rows))
        return TokenChunk(
            tokens=tokens,
            finished=torch.tensor([reason is not None for reason in reasons]),
            reasons=reasons,
            logprobs=logprobs,
            guessed=tuple(asked.get(number, 0) for number in everyone),
            accepted=tuple(accepted.get(number, 0) for number in everyone),
        )


def _guessed_positions(guesses: Sequence[Sequence[int]]) -> list[int]:
    """Which of the positions read hold a guess behind them: all but the last of each row."""
    found: list[int] = []
    first = 0
    for guess in guesses:
        found.extend(range(first, first + len(guess)))
        first += len(guess) + 1
    return found

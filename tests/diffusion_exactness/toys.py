"""Models of a few tokens whose every conditional is in a table: p(token at i | the visible tokens), for every pattern.

consistent     all conditionals come from one joint distribution: then every order of naming tokens has the same
               likelihood, -log p(text), and samples have the distribution p
arbitrary      each conditional is drawn by itself, as in a trained network: then order matters, and only code that
               follows the right one gives the right numbers
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

IMPOSSIBLE = -1e4
"""A logit whose probability is 0 in float64, and finite, so that products with 0 are 0."""


@dataclass(frozen=True, eq=False)
class Toy:
    """Texts of `length` tokens 0 .. vocab - 1; the mask token is `vocab`.

    `table[pattern, place]` holds vocab + 1 logits, the mask token's last; a pattern is the tokens of a text, mask
    tokens among them, read as a number in base vocab + 1, the first token counting least. At a visible token stands
    what the other ones say of it: it must not matter.
    """

    length: int
    vocab: int
    table: np.ndarray

    @property
    def mask_id(self) -> int:
        return self.vocab

    def code(self, texts: np.ndarray) -> np.ndarray:
        """The numbers of patterns (..., length)."""
        return (np.asarray(texts) * (self.vocab + 1) ** np.arange(self.length)).sum(axis=-1)

    def logits(self, texts: np.ndarray) -> np.ndarray:
        """(..., length) -> (..., length, vocab + 1)."""
        return self.table[self.code(texts)]

    def nll(self, text: tuple[int, ...], hidden: tuple[bool, ...]) -> np.ndarray:
        """-log p of each token of `text` given those that are not `hidden`, in nats."""
        logits = self.logits(np.where(hidden, self.mask_id, text))
        peak = logits.max(axis=-1)
        log_z = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=-1))
        return log_z - logits[np.arange(self.length), list(text)]

    def texts(self) -> list[tuple[int, ...]]:
        """All of them."""
        return list(itertools.product(range(self.vocab), repeat=self.length))

    def shifted(self, by: float) -> "Toy":
        """The same distributions from logits that are larger by a number."""
        return Toy(self.length, self.vocab, self.table + by)

    def with_mask_logit(self, value: float) -> "Toy":
        """A model that would name the mask token, were it allowed to."""
        table = self.table.copy()
        table[..., self.mask_id] = value
        return Toy(self.length, self.vocab, table)


def arbitrary(seed: int, *, length: int = 4, vocab: int = 3, spread: float = 1.5) -> Toy:
    """Conditionals that come from no joint distribution."""
    rng = np.random.default_rng(seed)
    patterns = np.array([_pattern(code, length, vocab) for code in range((vocab + 1) ** length)])
    table = np.full((len(patterns), length, vocab + 1), IMPOSSIBLE)
    drawn = spread * rng.standard_normal((len(patterns), length, vocab))
    for place in range(length):  # what stands at the place itself says nothing
        others = patterns.copy()
        others[:, place] = vocab
        codes = (others * (vocab + 1) ** np.arange(length)).sum(axis=1)
        table[:, place, :vocab] = drawn[codes, place]
    return Toy(length, vocab, table)


def joint(seed: int, *, length: int = 4, vocab: int = 3, spread: float = 1.5) -> np.ndarray:
    """p of every text, as an array of `length` axes."""
    weights = np.exp(spread * np.random.default_rng(seed).standard_normal((vocab,) * length))
    return weights / weights.sum()


def consistent(p: np.ndarray) -> Toy:
    """The exact conditionals of the joint distribution `p`."""
    length, vocab = p.ndim, p.shape[0]
    table = np.full(((vocab + 1) ** length, length, vocab + 1), IMPOSSIBLE)
    for code, place in itertools.product(range(len(table)), range(length)):
        pattern = _pattern(code, length, vocab)
        pattern[place] = vocab
        visible = tuple(slice(None) if token == vocab else slice(token, token + 1) for token in pattern)
        axes = tuple(axis for axis in range(length) if axis != place)
        table[code, place, :vocab] = np.log(p[visible].sum(axis=axes))
    return Toy(length, vocab, table)


def nats(p: np.ndarray, text: tuple[int, ...], given: int = 0) -> float:
    """-log p(text[given:] | text[:given])."""
    return -math.log(p[text] / p[text[:given]].sum())


def _pattern(code: int, length: int, vocab: int) -> list[int]:
    return [code // (vocab + 1) ** place % (vocab + 1) for place in range(length)]

"""The card of a model's generated texts, and what is measured of them during training."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hornbook.data.shards import TokenStream
from hornbook.evaluation.card import LN_2, Card, CardValue, exp
from hornbook.evaluation.copied import COPIED_LENGTH, Copied, copied, shares_of
from hornbook.evaluation.judge import Judgement
from hornbook.evaluation.samples import LOOP_ROUNDS, SampleStatistics, Tokens, sample_statistics
from hornbook.evaluation.text_statistics import TextStatistics, text_statistics
from hornbook.evaluation.text_units import parting_ids
from hornbook.generation.comparison import REPEATED
from hornbook.generation.text import Generation
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SamplesCard(Card):
    """Texts of one checkpoint."""

    measure: ClassVar[str] = "samples"
    whole: ClassVar[tuple[str, ...]] = ("prompt_texts", "by_token", "copies", "by_word", "judgement")

    prompt_texts: tuple[str, ...]
    made: str
    """How the texts came about."""
    by_token: SampleStatistics
    copies: Copied | None
    """None where the training data are not there."""
    by_word: TextStatistics | None
    judge: str | None
    judgement: Judgement | None

    @property
    def protocol(self) -> str:
        """What the numbers are of."""
        return (
            f"continuations without their prompts; {self.made}; repetition: runs of {REPEATED} tokens that "
            f"stood in their text before; loops: texts that end with one passage {LOOP_ROUNDS} times; copied: passages "
            f"of {COPIED_LENGTH} tokens that stand in the training text"
        )

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint."""
        return f"{self.made} {self.judge} {self.prompt_texts}"

    def lists(self) -> dict[str, object]:
        """The prompts."""
        return {"prompt_texts": self.prompt_texts}

    def numbers(self) -> dict[str, CardValue]:
        """Of tokens, then of words, then the judge's."""
        numbers: dict[str, CardValue] = {"texts": self.by_token.texts, "prompts": len(self.prompt_texts)}
        numbers |= {"tokens": self.by_token.tokens}
        numbers |= flat(self.by_token, self.copies)
        if self.copies is not None:
            numbers |= {"longest_copy": self.copies.longest, "training_tokens": self.copies.training_tokens}
        if self.by_word is not None:
            words = self.by_word
            numbers |= {"words": words.words, "known_words": words.known_share, "distinct_2_words": words.distinct_2}
        if self.judgement is not None and self.judgement.tokens:
            nats, n_bytes = self.judgement.nats, self.judgement.bytes
            numbers |= {"judge_nats_per_token": nats / self.judgement.tokens}
            numbers |= {"judge_perplexity": exp(nats / self.judgement.tokens), "judge_tokens": self.judgement.tokens}
            numbers |= {"judge_bits_per_byte": nats / (LN_2 * n_bytes) if n_bytes else None}
        return numbers


def flat(found: SampleStatistics, copies: Copied | None) -> dict[str, float | None]:
    """The numbers that a card and a run in training share."""
    return {
        "length": found.length,
        "distinct_1": found.distinct_1,
        "distinct_2": found.distinct_2,
        "distinct_3": found.distinct_3,
        "repetition": found.repetition,
        "loops": found.loops,
        "entropy": found.entropy,
        "copied": None if copies is None else copies.share,
    }


def text_tokens(made: Generation, tokenizer: Tokenizer) -> Tokens:
    """The tokens that hold its text: special ones are left out, and those of a stop string."""
    special = set(tokenizer.special_tokens.values())
    tokens = [token for token in made.tokens if token not in special]
    left, found = len(made.text.encode()), 0
    if tokenizer.drops_first_blank and left and not made.text.startswith(" "):
        left += tokenizer.token_bytes(tokens[0]).startswith(b" ")  # that blank is not in the text
    while left > 0 and found < len(tokens):
        left -= len(tokenizer.token_bytes(tokens[found]))
        found += 1
    return tokens[:found]


def sample_metrics(
    made: Sequence[Generation], tokenizer: Tokenizer, training: Sequence[TokenStream], *, most: int = 2_000_000
) -> dict[str, float]:
    """{name: number} of texts that were made during training; what is not known is absent.

    To look through the first `most` tokens of the training data takes a fifth of a second or so.
    """
    texts = [text_tokens(generation, tokenizer) for generation in made]
    found = flat(sample_statistics(texts), copied(texts, training, most=most))
    return {name: value for name, value in found.items() if value is not None}


def samples_card(
    texts: Sequence[Tokens],
    tokenizer: Tokenizer,
    training: Sequence[TokenStream],
    *,
    most: int,
    judge: tuple[str, Judgement] | None,
    prompts: Sequence[str],
    made: str,
    checkpoint: str,
    step: int | None,
    data: str,
    started: float,
) -> SamplesCard:
    """The card of `texts`, the tokens of each, made since `started` (of time.perf_counter); `training` may be nothing.

    Copies and words are looked for among the first tokens of the training streams, `most` in all.
    """
    read = zip(training, shares_of(training, most), strict=True)
    documents = (document for stream, share in read for document in _documents(stream, tokenizer, share))
    strings = [tokenizer.decode(text, skip_special=True) for text in texts]
    return SamplesCard(
        prompt_texts=tuple(prompts),
        made=made,
        by_token=sample_statistics(texts),
        copies=copied(texts, training, most=most) if training else None,
        by_word=text_statistics(strings, documents) if training else None,
        judge=None if judge is None else judge[0],
        judgement=None if judge is None else judge[1],
        tokenizer_fingerprint=tokenizer.fingerprint,
        checkpoint=checkpoint,
        step=step,
        data=data,
        seconds=time.perf_counter() - started,
    )


def _documents(stream: TokenStream, tokenizer: Tokenizer, most: int) -> Iterator[str]:
    """Texts, with a blank for each special token: on its two sides stand different words."""
    parting = parting_ids(tokenizer)
    for number, start in enumerate(stream.document_starts):
        if int(start) >= most:
            return
        ids = stream.document(number)
        parts = np.split(ids, np.flatnonzero(np.isin(ids, parting)))
        yield " ".join(tokenizer.decode(part, skip_special=True) for part in parts)

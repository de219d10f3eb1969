"""Documents in, a vocabulary out. Only the table of distinct words is held, so the text may be larger than memory.

    documents -> WordCounts (word_counting) -> merges (reference.learn_merges, or the same compiled) -> BytePairScheme

The table grows with about the 0.6th power of the text: half a million words for 100 MB of English. `max_bytes` bounds
it. A special token in the text is a border, never a word: its characters are not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hornbook.config.tokenizer import SPECIAL_TOKENS, TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.storage.cores import available_cores
from hornbook.tokenizer import compiled
from hornbook.tokenizer.alphabet import BYTE_ORDER
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.documents import Documents
from hornbook.tokenizer.patterns import Splitter
from hornbook.tokenizer.reference import Pair, learn_merges
from hornbook.tokenizer.text_blocks import text_blocks
from hornbook.tokenizer.word_counting import count_documents, ordinary_texts
from hornbook.tokenizer.word_counts import WordCounts

_MOST_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """How far training is: bytes read while it counts words, merges learnt while it merges."""

    phase: Literal["count", "merge"]
    done: int
    total: int | None
    """None while counting a text of unknown size."""


ProgressCallback = Callable[[TrainProgress], None]


def special_names(config: TokenizerConfig) -> tuple[str, ...]:
    """The special tokens that a configuration asks for, in the order of their ids.

    Raises:
        TokenizerError: for an empty or repeated name.
    """
    names = (*SPECIAL_TOKENS[config.special_tokens], *config.extra_special_tokens)
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            raise TokenizerError(
                f"tokenizer.extra_special_tokens: {name!r} is {'there twice' if name else 'empty'}; expected distinct "
                f"names besides those of special_tokens = {config.special_tokens!r}"
            )
    return names


def train_scheme(
    documents: Documents, config: TokenizerConfig, progress: ProgressCallback | None = None
) -> BytePairScheme | CharacterScheme:
    """Learn the ordinary tokens of a tokenizer; the same for the same documents, however many threads count.

    A byte-pair vocabulary comes back smaller than asked for if the text has too few pairs to merge.

    Raises:
        TokenizerError: if vocab_size leaves no room for the bytes and the special tokens, or a text is not UTF-8.
    """
    if config.kind == "characters":
        return _train_characters(documents, config, progress or _silent)
    return learn_scheme(count_words(documents, config, progress=progress), config, progress)


def count_words(
    documents: Documents,
    config: TokenizerConfig,
    *,
    n_bytes: int | None = None,
    progress: ProgressCallback | None = None,
) -> WordCounts:
    """The first half of training byte pairs: the distinct words of documents, which no size or tie order changes.

    Args:
        documents: texts, UTF-8 bytes and paths.
        config: pattern, special tokens, max_bytes and threads.
        n_bytes: how much text there is, if the caller knows.
        progress: called after every few megabytes.

    Raises:
        TokenizerError: if vocab_size leaves no room for the bytes and the special tokens, or a text is not UTF-8.
    """
    report = progress or _silent
    total = config.max_bytes if n_bytes is None else min(n_bytes, config.max_bytes or n_bytes)
    n_merges_asked(config)
    return count_documents(
        documents,
        Splitter(config.pattern),
        special_names(config),
        max_bytes=config.max_bytes,
        n_bytes=n_bytes,
        threads=config.threads or min(available_cores(), _MOST_THREADS),
        report=lambda done: report(TrainProgress(phase="count", done=done, total=total)),
    )


def learn_scheme(
    words: WordCounts, config: TokenizerConfig, progress: ProgressCallback | None = None
) -> BytePairScheme:
    """The second half: merges until the vocabulary is full.

    Raises:
        TokenizerError: if vocab_size leaves no room for the bytes and the special tokens, or there are too many words.
    """
    n_merges, report = n_merges_asked(config), progress or _silent

    def merged(done: int) -> None:
        report(TrainProgress(phase="merge", done=done, total=n_merges))

    merges = _learn_merges(words, config, n_merges, merged)
    merged(len(merges))
    return BytePairScheme.from_merges(merges, pattern=config.pattern)


def n_merges_asked(config: TokenizerConfig) -> int:
    """How many merges fill a byte-pair vocabulary.

    Raises:
        TokenizerError: if vocab_size leaves no room for the bytes and the special tokens.
    """
    names = special_names(config)
    n_merges = config.vocab_size - 256 - len(names)
    if n_merges < 0:
        raise TokenizerError(
            f"tokenizer.vocab_size = {config.vocab_size} is too small: 256 bytes and {len(names)} special tokens "
            f"need at least {256 + len(names)}; raise it, or choose special_tokens = 'pretraining' or 'none'"
        )
    return n_merges


def _learn_merges(
    words: WordCounts, config: TokenizerConfig, n_merges: int, progress: Callable[[int], None]
) -> list[Pair]:
    # Merging costs pure Python about as much for each byte of distinct words as counting does for sixteen of text.
    kernels = compiled.kernels_for("train", 16 * len(words.text))
    if kernels is None:
        return learn_merges(words.mapping(), BYTE_ORDER, n_merges, tie_order=config.tie_order, progress=progress)
    try:
        merges: list[Pair] = kernels.module("merging").learn_merges(
            words, BYTE_ORDER, n_merges, tie_order=config.tie_order, progress=progress
        )
    except OverflowError as error:
        raise TokenizerError(f"the text has {error}, more than can be merged; set tokenizer.max_bytes") from None
    return merges


def _train_characters(documents: Documents, config: TokenizerConfig, report: ProgressCallback) -> CharacterScheme:
    names, done = special_names(config), 0
    seen: set[str] = set()
    for block in text_blocks(documents, Splitter("gpt2").cut, names, max_bytes=config.max_bytes):
        for text in ordinary_texts(block.texts(), names):
            seen.update(text)
        done += block.n_bytes
        report(TrainProgress(phase="count", done=done, total=config.max_bytes))
    return CharacterScheme.train(seen)


def _silent(_: TrainProgress) -> None:
    pass

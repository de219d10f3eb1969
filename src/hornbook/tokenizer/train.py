"""Documents in, a vocabulary out. Only the table of distinct words is held, so the text may be larger than memory.

The table grows with about the 0.6th power of the text: half a million words for 100 MB of English. `max_bytes` bounds
it. A special token in the text is a border, never a word: its characters are not counted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from hornbook.config.tokenizer import SPECIAL_TOKENS, TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import BYTE_ORDER
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.documents import Documents, decode_utf8, open_documents, pieces
from hornbook.tokenizer.patterns import Splitter
from hornbook.tokenizer.reference import count_words, learn_merges
from hornbook.tokenizer.special_tokens import split_at_names


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
    """Learn the ordinary tokens of a tokenizer; deterministic for the same documents in the same order.

    A byte-pair vocabulary comes back smaller than asked for if the text has too few pairs to merge.

    Raises:
        TokenizerError: if vocab_size leaves no room for the bytes and the special tokens, or a text is not UTF-8.
    """
    names = special_names(config)
    report = progress or (lambda _: None)
    if config.kind == "characters":  # which can be cut wherever another pattern allows
        return CharacterScheme.train(_texts(documents, config, names, Splitter("gpt2"), report))
    n_merges = config.vocab_size - 256 - len(names)
    if n_merges < 0:
        raise TokenizerError(
            f"tokenizer.vocab_size = {config.vocab_size} is too small: 256 bytes and {len(names)} special tokens "
            f"need at least {256 + len(names)}; raise it, or choose special_tokens = 'pretraining' or 'none'"
        )
    splitter = Splitter(config.pattern)
    counted = count_words(_texts(documents, config, names, splitter, report), splitter)
    words = {word.encode(): count for word, count in counted.items()}

    def merged(done: int) -> None:
        report(TrainProgress(phase="merge", done=done, total=n_merges))

    merges = learn_merges(words, BYTE_ORDER, n_merges, tie_order=config.tie_order, progress=merged)
    merged(len(merges))
    return BytePairScheme.from_merges(merges, pattern=config.pattern)


def _texts(
    documents: Documents,
    config: TokenizerConfig,
    names: tuple[str, ...],
    splitter: Splitter,
    report: ProgressCallback,
) -> Iterator[str]:
    """The ordinary text between special tokens, piece by piece, up to `max_bytes`."""
    done = 0
    for where, stream in open_documents(documents):
        offset = 0
        for whole in pieces(stream, splitter.cut, names):
            piece = whole if config.max_bytes is None else _first_bytes(whole, config.max_bytes - done)
            text = decode_utf8(piece, where, offset=offset)
            yield from (ordinary for ordinary, _ in split_at_names(text, frozenset(names)) if ordinary)
            done, offset = done + len(piece), offset + len(piece)
            report(TrainProgress(phase="count", done=done, total=config.max_bytes))
            if len(piece) < len(whole):
                return


def _first_bytes(data: bytes, limit: int) -> bytes:
    """At most `limit` bytes, without the beginning of a character that the limit cuts."""
    if len(data) <= limit:
        return data
    while limit > 0 and data[limit] & 0xC0 == 0x80:  # a continuation byte
        limit -= 1
    return data[:limit]

"""Counting the words of any amount of text: blocks of documents in, one table of distinct words out.

    documents -> blocks -> threads, each with a table of its own -> the tables added up -> WordCounts

Only the distinct words are held. The counts are the same for every number of threads and wherever blocks are cut.
Small inputs go through pure Python, as do patterns of your own, for which there is no compiled splitter. Where nobody
knows how much text will come, counting begins in pure Python, and its words are handed over once compiling pays.
"""

import logging
import queue
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from hornbook.errors import TokenizerError
from hornbook.tokenizer import compiled
from hornbook.tokenizer.bulk import ordered
from hornbook.tokenizer.documents import Documents
from hornbook.tokenizer.patterns import PATTERNS, Splitter
from hornbook.tokenizer.reference import count_words
from hornbook.tokenizer.special_tokens import split_at_names
from hornbook.tokenizer.text_blocks import TextBlock, text_blocks
from hornbook.tokenizer.word_counts import WordCounts

_logger = logging.getLogger(__name__)
_told: set[str] = set()
"""Patterns of users of which it was said that they are slow."""


def count_documents(
    documents: Documents,
    splitter: Splitter,
    names: Sequence[str] = (),
    *,
    max_bytes: int | None = None,
    n_bytes: int | None = None,
    threads: int = 1,
    report: Callable[[int], None] = lambda _: None,
) -> WordCounts:
    """The distinct words of documents and how often each stands there.

    Args:
        documents: texts, bytes and paths; read once, and only as far as needed.
        splitter: text to words.
        names: special tokens: borders between words and no words themselves, like the ends of documents.
        max_bytes: count the words of the first so many bytes only.
        n_bytes: how much text there is, if the caller knows better than `documents` tells.
        threads: how many count at the same time.
        report: called now and then with the bytes that are counted.

    Raises:
        TokenizerError: for invalid UTF-8, with its document and byte offset, and as `open_documents` does.
    """
    n_bytes = _known_size(documents) if n_bytes is None else n_bytes
    if n_bytes is not None and max_bytes is not None:
        n_bytes = min(n_bytes, max_bytes)
    blocks = text_blocks(documents, splitter.cut, names, max_bytes=max_bytes)
    counted, done = Counter[str](), 0
    kernels = None if n_bytes is None else _kernels(splitter.pattern, n_bytes)
    for block in blocks if kernels is None else ():
        if n_bytes is None and (kernels := _kernels(splitter.pattern, block.n_bytes)):
            blocks = chain([block], blocks)
            break
        for i, text in enumerate(block.texts()):
            counted.update(count_words(ordinary_texts([text], names), splitter))
            report(done + block.bounds[i + 1])
        done += block.n_bytes
    if kernels is None:
        return WordCounts.of({word.encode(): count for word, count in counted.items()})
    return _count_compiled(blocks, kernels, splitter, names, counted, threads, lambda n: report(done + n))


def ordinary_texts(texts: Iterable[str], names: Sequence[str]) -> Iterator[str]:
    """The texts without the special tokens in them, in parts that are not empty."""
    for text in texts:
        yield from (ordinary for ordinary, _ in split_at_names(text, frozenset(names)) if ordinary)


def _known_size(documents: Documents) -> int | None:
    """How many bytes of text there are (for texts: characters); None if only reading can tell."""
    if isinstance(documents, Path):
        documents = [documents]
    if not isinstance(documents, Sequence) or isinstance(documents, (str, bytes)):
        return None
    return sum(map(_size, documents))


def _size(document: str | bytes | Path) -> int:
    if isinstance(document, Path):
        return document.stat().st_size if document.is_file() else 0
    return len(document) if hasattr(document, "__len__") else 0  # reading will say that it is no text


def _kernels(pattern: str, n_bytes: int) -> ModuleType | None:
    """The kernels for so much more text, if they pay and can split by this pattern."""
    if pattern in PATTERNS:
        kernels = compiled.kernels_for("train", n_bytes)
        return kernels if kernels and pattern in kernels.module("splitting").PATTERN_KINDS else None
    if n_bytes >= compiled.LOADING_PAYS and pattern not in _told:
        _told.add(pattern)
        _logger.warning("The pattern %.60r is of your own: words are counted by regex, in Python, at 5 MB/s.", pattern)
    return None


def _count_compiled(
    blocks: Iterable[TextBlock],
    kernels: ModuleType,
    splitter: Splitter,
    names: Sequence[str],
    counted: Counter[str],
    threads: int,
    report: Callable[[int], None],
) -> WordCounts:
    counting = kernels.module("counting")
    counters: queue.SimpleQueue[Any] = queue.SimpleQueue()  # each is used by one thread at a time
    for _ in range(threads):
        counters.put(counting.WordCounter(splitter.pattern, [name.encode() for name in names]))

    def work(block: TextBlock) -> int:
        counter = counters.get()
        try:
            broken = counter.count(block.memory, block.bounds)
        except OverflowError as error:
            raise TokenizerError(f"{block.places[-1][0]}: {error}; put white space or line ends into it") from None
        finally:
            counters.put(counter)
        if broken is not None:
            list(block.texts())  # raises the error that names the place
            raise AssertionError(f"byte {broken} of a block is no UTF-8, but Python reads it")
        return block.n_bytes

    done = 0
    for n_bytes in ordered(work, blocks, threads):
        done += n_bytes
        report(done)
    tables = [counters.get().table for _ in range(threads)]
    if counted:
        tables.append(counting.WordTable.of_words({word.encode(): count for word, count in counted.items()}))
    if len(tables) == 1:
        words: WordCounts = tables[0].words()
        return words
    parts = ordered(lambda part: counting.WordTable.sum(tables, part, threads).words(), range(threads), threads)
    return WordCounts.joined(list(parts))

"""Counting a source without preparing it: documents, bytes, words and, with a tokenizer, tokens of each file and split.

The numbers are those that preparing would give, but for `max_tokens`, which ends nothing here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hornbook.config.data import DataConfig
from hornbook.data.documents import SourceReport
from hornbook.data.encoding import Batch, Encoded, Encoder, batched, encoded
from hornbook.data.index import SplitName
from hornbook.data.pieces import read_blocks
from hornbook.data.plan import stages
from hornbook.data.splits import SPLITS
from hornbook.errors import DataError
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass
class Counts:
    """Of one file and split."""

    documents: int = 0
    text_bytes: int = 0
    words: int = 0
    """What white space (of ASCII) separates."""
    tokens: int | None = None
    """The end-of-text token of each document included; None without a tokenizer."""

    def add(self, documents: int, text_bytes: int, words: int, tokens: int | None) -> None:
        """Count more."""
        self.documents += documents
        self.text_bytes += text_bytes
        self.words += words
        if tokens is not None:
            self.tokens = (self.tokens or 0) + tokens


ByFile = dict[tuple[str, SplitName], Counts]
"""File or table that documents come from, and the split that they are for -> counts, in the order of reading."""


def count_source(
    config: DataConfig,
    tokenizer: Tokenizer | None,
    report: SourceReport,
    *,
    progress: Callable[[SourceReport, ByFile], None] | None = None,
) -> ByFile:
    """Read everything that `config` names and count it.

    Args:
        config: sources, splits and what becomes of bad input.
        tokenizer: for tokens; None counts none.
        report: bad input is counted here.
        progress: called after every few megabytes, with what is read of the present source.

    Raises:
        DataError: as `prepare`; if documents are to end with a token that the tokenizer does not have.
    """
    if tokenizer is not None and config.end_of_text and tokenizer.end_of_text_id is None:
        raise DataError(
            "data.end_of_text = true, but this tokenizer has no <|endoftext|>; set data.end_of_text = false"
        )
    found: ByFile = {}
    for split, source in stages(config):
        own = SourceReport()
        batches = batched(read_blocks(config, split, source, own), own)
        for batch, ids in _with_ids(batches, tokenizer, config):
            _add(found, batch, ids)
            for message in ids.refused if ids is not None else ():
                report.skip("cannot be encoded", message)
            if progress is not None:
                progress(batch.report, found)
        report.add(own)
    return found


def _with_ids(
    batches: Iterator[Batch], tokenizer: Tokenizer | None, config: DataConfig
) -> Iterator[tuple[Batch, Encoded | None]]:
    if tokenizer is None:
        return ((batch, None) for batch in batches)
    end_of_text_id = tokenizer.end_of_text_id if config.end_of_text else None
    encoder = Encoder(tokenizer, "uint32", end_of_text_id, config.on_error)
    return encoded(batches, encoder, workers=config.workers)


def _add(found: ByFile, batch: Batch, ids: Encoded | None) -> None:
    lengths: list[int | None] = [None] * len(batch)
    if ids is not None:
        for place, length in zip(ids.order.tolist(), ids.lengths.tolist(), strict=True):
            lengths[place] = length
    place = 0
    for part in batch.parts:
        for text, split in zip(part.block.texts, part.splits.tolist(), strict=True):
            length = lengths[place]
            place += 1
            if length != 0:  # 0: it cannot be encoded
                counts = found.setdefault((part.block.name, SPLITS[split]), Counts())
                counts.add(1, len(text), len(text.split()), length)

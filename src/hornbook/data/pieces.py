"""The pieces of a source, each for its split, not yet tokenised: what preparing writes and counting counts."""

from collections.abc import Iterator

from hornbook.config.data import DataConfig, Source
from hornbook.data import splits
from hornbook.data.documents import Block, SourceReport
from hornbook.data.index import SplitName
from hornbook.data.plan import held_out
from hornbook.data.sources import open_blocks
from hornbook.data.splits import Piece, Pieces


def read_pieces(config: DataConfig, split: SplitName, source: Source, report: SourceReport) -> Iterator[Piece]:
    """The pieces of one stage of `plan.stages`; of the main one, `train`, parts may be for the other splits.

    `report` counts what is read, as in `open_source`; one that is not empty says where a hub stream goes on.

    Raises:
        DataError: as `open_source`.
    """
    for pieces in read_blocks(config, split, source, report):
        yield from pieces


def read_blocks(config: DataConfig, split: SplitName, source: Source, report: SourceReport) -> Iterator[Pieces]:
    """The same by the block.

    Raises:
        DataError: as `open_source`.
    """
    if split != "train":
        return splits.whole(open_blocks(source, on_error=config.on_error, report=report), split)
    valid, test = held_out(config)
    blocks = _main_blocks(config, report)
    if not (valid or test):
        return splits.whole(blocks, "train")
    if config.split == "documents":
        return splits.by_hash(blocks, valid_fraction=valid, test_fraction=test)
    total = sum(sum(map(len, block.texts)) for block in _main_blocks(config, SourceReport()))
    train_end, valid_end = splits.boundaries(total, valid_fraction=valid, test_fraction=test)
    return splits.by_position(blocks, train_end=train_end, valid_end=valid_end)


def _main_blocks(config: DataConfig, report: SourceReport) -> Iterator[Block]:
    return open_blocks(config.source, on_error=config.on_error, report=report, max_documents=config.max_documents)

"""The pieces of a source, each for its split, not yet tokenised: what preparing writes and counting counts."""

from collections.abc import Iterator
from itertools import islice

from hornbook.config.data import DataConfig, Source
from hornbook.data import splits
from hornbook.data.documents import Document, SourceReport
from hornbook.data.index import SplitName
from hornbook.data.plan import held_out
from hornbook.data.sources import open_source
from hornbook.data.splits import Piece


def read_pieces(config: DataConfig, split: SplitName, source: Source, report: SourceReport) -> Iterator[Piece]:
    """The pieces of one stage of `plan.stages`; of the main one, `train`, parts may be for the other splits.

    `report` counts what is read, as in `open_source`; one that is not empty says where a hub stream goes on.

    Raises:
        DataError: as `open_source`.
    """
    if split != "train":
        return splits.whole(open_source(source, on_error=config.on_error, report=report), split)
    valid, test = held_out(config)
    documents = _main_documents(config, report)
    if config.split == "documents" or not (valid or test):
        return splits.by_hash(documents, valid_fraction=valid, test_fraction=test)
    total = sum(len(document.text) for document in _main_documents(config, SourceReport()))
    train_end, valid_end = splits.boundaries(total, valid_fraction=valid, test_fraction=test)
    return splits.by_position(documents, train_end=train_end, valid_end=valid_end)


def _main_documents(config: DataConfig, report: SourceReport) -> Iterator[Document]:
    already, limit = report.documents, config.max_documents
    documents = open_source(config.source, on_error=config.on_error, report=report)
    return documents if limit is None else islice(documents, limit - already)

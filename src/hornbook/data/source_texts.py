"""The texts that a prepared data set was made from, read again beside it, as far as its sources still stand there."""

import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hornbook.config.data import DataConfig, HubSource, Source, TokensSource
from hornbook.data.dataset import Dataset
from hornbook.data.documents import SourceReport
from hornbook.data.index import SplitName
from hornbook.data.pieces import read_pieces
from hornbook.data.plan import make_plan, stages
from hornbook.data.splits import Piece
from hornbook.errors import HornbookError
from hornbook.tokenizer.tokenizer import Tokenizer

PATIENCE = 5.0
"""Seconds that one look for a text may take: a source can only be read from its beginning."""
_KEPT = 64


@dataclass(frozen=True)
class SourceText:
    """A text and where it stands; or no text, and why."""

    text: bytes | None
    where: str


class SourceTexts:
    """Source texts by the number of their document in a split.

    Nothing is read before the first text is asked for. Sources are read from their beginning on and no further than
    needed; going back more than a few documents begins anew.
    """

    def __init__(self, dataset: Dataset, split: SplitName, tokenizer: Tokenizer) -> None:
        self._split: SplitName = split
        self._tokenizer = tokenizer
        self._config: DataConfig | None = None
        self._stage: tuple[SplitName, Source] | None = None
        self._absence = self._find(dataset)
        self._may_be_refused = "cannot be encoded" in dataset.index.skipped
        self._pieces: Iterator[Piece] = iter(())
        self._next = 0
        self._kept: OrderedDict[int, SourceText] = OrderedDict()

    def text(self, number: int) -> SourceText:
        """The source text of one document; of one that cannot be had, `where` says why."""
        if self._absence:
            return SourceText(None, self._absence)
        if number in self._kept:
            return self._kept[number]
        try:
            if number < self._next or not self._kept:
                self._begin()
            return self._read_to(number)
        except HornbookError as error:
            return SourceText(None, f"source: not read again ({error})")

    def _find(self, dataset: Dataset) -> str:
        """Take the configuration from what the data set was made from; why that is not possible, or nothing."""
        if dataset.stage != "pretrain":
            return "source: records, of which only the tokens are kept"
        made_from = dataset.index.made_from
        try:
            config = _config_of(made_from)
            now = make_plan(config, self._tokenizer)
        except (ValueError, HornbookError) as error:
            return f"source: not read again ({str(error).splitlines()[0]})"
        by_name = dict(stages(config))
        stage = (self._split, by_name[self._split]) if self._split in by_name else ("train", by_name["train"])
        if isinstance(stage[1], HubSource):
            return "source: a data set of the hub, which is not fetched again for a look"
        if isinstance(stage[1], TokensSource):
            return "source: token files, which hold no text"
        field = f"input files of {'source' if stage[0] == 'train' else stage[0]}"
        if made_from.get(field) != now[field]:
            return f"source: moved or changed since ({made_from.get(field)} then, {now[field]} now)"
        self._config, self._stage = config, stage
        return ""

    def _begin(self) -> None:
        assert self._config is not None
        assert self._stage is not None
        pieces = read_pieces(self._config, *self._stage, SourceReport())
        self._pieces = (piece for piece in pieces if piece.split == self._split and self._was_written(piece))
        self._next = 0
        self._kept.clear()

    def _was_written(self, piece: Piece) -> bool:
        if not self._may_be_refused:
            return True
        try:
            self._tokenizer.encode_bytes(piece.text)
        except HornbookError:
            return False
        return True

    def _read_to(self, number: int) -> SourceText:
        deadline = time.monotonic() + PATIENCE
        for piece in self._pieces:
            found = self._kept[self._next] = SourceText(piece.text, piece.where)
            self._next += 1
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            if self._next > number:
                return found
            if time.monotonic() > deadline:
                return SourceText(None, f"source: farther on than {PATIENCE:g} seconds of reading reach")
        return SourceText(None, "source: it ends before this document")


def _config_of(made_from: Mapping[str, object]) -> DataConfig:
    """The settings that a plan holds; from JSON, where a path is a text."""
    return DataConfig.model_validate_json(
        json.dumps({k: v for k, v in made_from.items() if k in DataConfig.model_fields})
    )

"""A prepared data set, opened: its splits as token streams, and whether it fits a tokenizer."""

import hashlib
import json
from pathlib import Path

from hornbook.config.data import Stage
from hornbook.data.index import (
    TOKENIZER_DIRECTORY,
    DatasetIndex,
    ShardFile,
    SplitName,
    loss_mask_file,
    offsets_file,
    read_index,
)
from hornbook.data.shards import TokenStream, little_endian
from hornbook.errors import DataError
from hornbook.storage.digest import bytes_sha256, file_sha256
from hornbook.tokenizer.superset import first_difference
from hornbook.tokenizer.tokenizer import Tokenizer

_READ_BYTES = 1 << 20


class Dataset:
    """A directory that `hornbook data prepare` made."""

    def __init__(self, path: Path, index: DatasetIndex) -> None:
        self.path = path
        self.index = index

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> "Dataset":
        """Open a data set; with `verify`, read every file and compare its digest.

        Raises:
            DataError: if it is absent, incomplete or (with `verify`) damaged.
        """
        dataset = cls(Path(path), read_index(Path(path)))
        if verify:
            dataset.verify()
        return dataset

    @property
    def stage(self) -> Stage:
        """What it is for: text, conversations or pairs of answers."""
        return self.index.stage

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that hold at least one token."""
        return tuple(name for name, split in self.index.splits.items() if split.tokens)

    @property
    def empty_splits(self) -> tuple[SplitName, ...]:
        """The splits that were asked for and came out empty."""
        return tuple(name for name, split in self.index.splits.items() if not split.tokens)

    @property
    def vocab_size(self) -> int:
        """Ids of the tokenizer that the data was made with."""
        return self.index.vocab_size

    @property
    def digest(self) -> str:
        """Of every token, document boundary and bit of the loss mask: equal for equal content, wherever and whenever it
        was prepared."""
        content = {
            name: [
                split.offsets_sha256,
                *(shard.sha256 for shard in split.shards),
                *([split.loss_mask_sha256] if split.loss_mask_sha256 is not None else []),
            ]
            for name, split in self.index.splits.items()
        }
        return bytes_sha256(json.dumps(content, sort_keys=True).encode())

    @property
    def tokenizer_fingerprint(self) -> str:
        """Of the tokenizer that the data was made with."""
        return self.index.tokenizer_fingerprint

    @property
    def end_of_text_id(self) -> int | None:
        """The token that ends each document, or None if documents are not marked."""
        return self.index.end_of_text_id

    def split(self, name: SplitName) -> TokenStream:
        """The tokens of one split.

        Raises:
            DataError: if the data set has no such split, or it is empty.
        """
        found = self.index.splits.get(name)
        if found is None or not found.tokens:
            why = "no split" if found is None else "an empty split"
            advice = (
                "more text" if name == "train" else f"a larger data.{name}_fraction, data.{name}, or more documents"
            )
            raise DataError(
                f"{self.path}: {why} {name!r}, only {', '.join(self.splits) or 'nothing'}; prepare again with {advice}"
            )
        return TokenStream(self.path, name, found, vocab_size=self.index.vocab_size)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the data was made with, from the copy in the data set."""
        return Tokenizer.load(self.path / TOKENIZER_DIRECTORY)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer under which these ids would mean something else.

        The same tokenizer is right, and so is one that has more ids but keeps all of these.

        Raises:
            DataError: naming the first id that differs.
        """
        if tokenizer.fingerprint == self.tokenizer_fingerprint:
            return
        difference = first_difference(self.tokenizer(), tokenizer, where=("the data", "it"))
        if difference:
            raise DataError(
                f"{self.path}: made with another tokenizer: {difference}; "
                "use that tokenizer, or prepare the data again: hornbook data prepare CONFIG --force"
            )

    def verify(self) -> int:
        """Compare the digest of every file with the index; the number of bytes read.

        Raises:
            DataError: naming the first file that differs.
        """
        n_bytes = 0
        for name, split in self.index.splits.items():
            TokenStream(self.path, name, split)  # presence and sizes
            itemsize = little_endian(split.dtype).itemsize
            for shard in split.shards:
                _expect(self.path / shard.file, _range_sha256(self.path, shard, itemsize), shard.sha256)
                n_bytes += shard.tokens * itemsize
            beside = {offsets_file(name): split.offsets_sha256}
            if split.loss_mask_sha256 is not None:
                beside[loss_mask_file(name)] = split.loss_mask_sha256
            for file, sha256 in beside.items():
                _expect(self.path / file, file_sha256(self.path / file), sha256)
                n_bytes += (self.path / file).stat().st_size
        return n_bytes


def _range_sha256(directory: Path, shard: ShardFile, itemsize: int) -> str:
    digest = hashlib.sha256()
    left = shard.tokens * itemsize
    with (directory / shard.file).open("rb") as file:
        file.seek(shard.first_byte)
        while left and (data := file.read(min(left, _READ_BYTES))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


def _expect(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(
            f"{path}: damaged (sha256 {found[:12]}…, the index says {expected[:12]}…); prepare again with --force"
        )

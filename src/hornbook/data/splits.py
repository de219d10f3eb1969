"""Which part of the text is for training and which is held out.

By documents: a hash of the text decides, so a document's place depends on nothing but its own bytes: not on order, not
on what else there is, and equal documents always fall into the same split.

By position: the documents are one stream of bytes, and the first part of it is for training, the next for validation,
the last for testing. With valid_fraction = 0.1 on one ASCII file this is nanoGPT's split: first 90 % and last 10 % of
the characters. A document that spans a boundary is cut there, before the character that would be broken.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b

import numpy as np

from hornbook.data.documents import Block
from hornbook.data.index import SplitName

SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Piece:
    """A document, or the part of one that lies on one side of a boundary, and the split that it is for."""

    text: bytes
    where: str
    split: SplitName


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of a block of documents."""

    block: Block
    """Each piece as a document."""
    splits: np.ndarray
    """uint8, one a piece: its number in SPLITS."""

    def __len__(self) -> int:
        return len(self.block)

    def __iter__(self) -> Iterator[Piece]:
        for document, split in zip(self.block.documents(), self.splits.tolist(), strict=True):
            yield Piece(document.text, document.where, SPLITS[split])

    def after(self, count: int) -> "Pieces":
        """All but the first `count`."""
        block = Block(self.block.texts[count:], self.block.name, self.block.numbers[count:])
        return Pieces(block, self.splits[count:])


def whole(blocks: Iterable[Block], split: SplitName) -> Iterator[Pieces]:
    """Every document for the same split."""
    return (_one_split(block, SPLITS.index(split)) for block in blocks)


def by_hash(blocks: Iterable[Block], *, valid_fraction: float, test_fraction: float) -> Iterator[Pieces]:
    """About so large a fraction of the documents for validation and testing."""
    for block in blocks:
        hashes = b"".join([blake2b(text, digest_size=8).digest() for text in block.texts])
        place = np.frombuffer(hashes, dtype="<u8") / 2**64  # float64, in [0, 1]
        is_valid, is_test = place < valid_fraction, place < valid_fraction + test_fraction
        yield Pieces(block, np.where(is_valid, 1, np.where(is_test, 2, 0)).astype(np.uint8))


def by_position(blocks: Iterable[Block], *, train_end: int, valid_end: int) -> Iterator[Pieces]:
    """The first `train_end` bytes for training, those up to `valid_end` for validation, the rest for testing."""
    start = 0
    for block in blocks:
        end = start + sum(map(len, block.texts))
        if start < train_end < end or start < valid_end < end:
            yield _cut(block, train_end - start, valid_end - start)
        else:
            yield _one_split(block, (start >= train_end) + (start >= valid_end))
        start = end


def _one_split(block: Block, split: int) -> Pieces:
    return Pieces(block, np.full(len(block), split, dtype=np.uint8))


def _cut(block: Block, train_end: int, valid_end: int) -> Pieces:
    """The documents of a block, cut where training and validation end, in bytes from its start."""
    texts, numbers, splits = [], [], []
    start = 0
    for text, number in zip(block.texts, block.numbers, strict=True):
        first = 0
        for split, end in enumerate((train_end, valid_end, None)):
            cut = len(text) if end is None else _character_start(text, min(len(text), max(0, end - start)))
            if cut > first:
                texts.append(text[first:cut])
                numbers.append(number)
                splits.append(split)
                first = cut
        start += len(text)
    return Pieces(Block(texts, block.name, numbers), np.array(splits, dtype=np.uint8))


def boundaries(total: int, *, valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Where training ends and where validation ends, of `total` bytes, rounded down."""
    valid, test = exactly(valid_fraction), exactly(test_fraction)
    return int(total * (1 - valid - test)), int(total * (1 - test))


def exactly(fraction: float) -> Fraction:
    """The number as it is written in decimal: in binary, 1 - 0.1 - 0.2 is not 0.7."""
    return Fraction(repr(fraction))


def _character_start(text: bytes, place: int) -> int:
    """`place`, or if that is inside a character, where that begins: bytes 10xxxxxx continue one."""
    while place < len(text) and text[place] & 0xC0 == 0x80:
        place -= 1
    return place

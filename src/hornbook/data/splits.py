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

from hornbook.data.documents import Document
from hornbook.data.index import SplitName


@dataclass(frozen=True, slots=True)
class Piece:
    """A document, or the part of one that lies on one side of a boundary, and the split that it is for."""

    text: bytes
    where: str
    split: SplitName


def whole(documents: Iterable[Document], split: SplitName) -> Iterator[Piece]:
    """Every document for the same split."""
    return (Piece(document.text, document.where, split) for document in documents)


def by_hash(documents: Iterable[Document], *, valid_fraction: float, test_fraction: float) -> Iterator[Piece]:
    """About so large a fraction of the documents for validation and testing."""
    for document in documents:
        place = int.from_bytes(blake2b(document.text, digest_size=8).digest(), "little") / 2**64  # in [0, 1]
        split: SplitName = "train"
        if place < valid_fraction:
            split = "valid"
        elif place < valid_fraction + test_fraction:
            split = "test"
        yield Piece(document.text, document.where, split)


def by_position(documents: Iterable[Document], *, train_end: int, valid_end: int) -> Iterator[Piece]:
    """The first `train_end` bytes for training, those up to `valid_end` for validation, the rest for testing."""
    ends: tuple[tuple[SplitName, int | None], ...] = (("train", train_end), ("valid", valid_end), ("test", None))
    position = 0
    for document in documents:
        text, first = document.text, 0
        for split, end in ends:
            cut = len(text) if end is None else _character_start(text, min(len(text), max(0, end - position)))
            if cut > first:
                yield Piece(text[first:cut], document.where, split)
                first = cut
        position += len(text)


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

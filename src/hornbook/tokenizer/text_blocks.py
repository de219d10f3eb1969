"""Documents of any size and number as blocks of some megabytes: what one thread works on at a time.

A block is a row of pieces of documents, small documents whole and large ones cut where a word starts anyway (see
`documents`), with readable bytes behind them, as kernels need them:

    | document 7 | document 8 | the first 3 MB of document 9          | padding |
    0            ^ bounds     ^                                       ^
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import regex

from hornbook.tokenizer.documents import Documents, decode_utf8, last_cut, open_documents

BLOCK_BYTES = 2**22
PADDING = 256
"""Bytes behind the text of a block."""


@dataclass
class TextBlock:
    """Pieces of documents side by side."""

    memory: npt.NDArray[np.uint8]
    """The bytes of the pieces, and at least PADDING more."""
    bounds: list[int] = field(default_factory=lambda: [0])
    """Where each piece starts, and the end of the last one."""
    places: list[tuple[str, int]] = field(default_factory=list)
    """Of each piece its document's name and its byte offset there, for error messages."""

    @property
    def n_bytes(self) -> int:
        """Bytes of text."""
        return self.bounds[-1]

    def texts(self) -> Iterator[str]:
        """The pieces as text.

        Raises:
            TokenizerError: for invalid UTF-8, naming the document and the byte.
        """
        for i, (where, offset) in enumerate(self.places):
            yield decode_utf8(self.memory[self.bounds[i] : self.bounds[i + 1]].tobytes(), where, offset=offset)

    def add(self, n_bytes: int, where: str, offset: int) -> None:
        """Take the next `n_bytes` of the memory, which have been written, as a piece."""
        self.bounds.append(self.n_bytes + n_bytes)
        self.places.append((where, offset))


def text_blocks(
    documents: Documents,
    cut: regex.Pattern[bytes] | None,
    names: Sequence[str],
    *,
    max_bytes: int | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[TextBlock]:
    """All documents, or their first `max_bytes`, in blocks of `block_bytes`; none of them is empty.

    Args:
        documents: texts, bytes and paths.
        cut: a pattern that searches backwards and matches where a text may be cut; None keeps documents whole.
        names: special tokens, which stay whole.
        max_bytes: where to end; what lies behind is not asked for. A character that it cuts is left out.
        block_bytes: blocks are larger where a document has no place to cut.

    Raises:
        TokenizerError: as `open_documents` does.
    """
    specials = [name.encode() for name in names]
    block, left = _empty_block(block_bytes), max_bytes
    for where, stream in open_documents(documents):
        offset = held = 0  # of the piece that begins behind those of the block, and how much of it is read
        ended = False
        while not ended:
            space = block.memory.data[block.n_bytes + held : -PADDING]
            n_read = stream.readinto(space)  # type: ignore[attr-defined]
            held, ended = held + n_read, n_read < len(space)
            n_piece = held if ended else _place_to_cut(block, held, cut, specials)
            if left is not None and n_piece >= left:
                block.add(_whole_characters(block, left, held), where, offset)
                if block.n_bytes:
                    yield block
                return
            if n_piece:
                block.add(n_piece, where, offset)
                offset, held = offset + n_piece, held - n_piece
                left = None if left is None else left - n_piece
            if not ended:  # the block is full
                if block.n_bytes:
                    yield block
                block = _following_block(block, held, block_bytes)
    if block.n_bytes:
        yield block


def _empty_block(size: int) -> TextBlock:
    return TextBlock(np.empty(size + PADDING, np.uint8))


def _following_block(block: TextBlock, held: int, size: int) -> TextBlock:
    """An empty block that begins with what was held behind the pieces of the last one, and has room for more."""
    following = _empty_block(max(size, 2 * held))
    following.memory[:held] = block.memory[block.n_bytes : block.n_bytes + held]
    return following


def _place_to_cut(block: TextBlock, held: int, cut: regex.Pattern[bytes] | None, specials: Sequence[bytes]) -> int:
    """How many of the bytes behind the pieces of a block are a piece by themselves; 0 if that is not known."""
    if cut is None:
        return 0
    start = block.n_bytes
    return last_cut(block.memory.data[start : start + held], cut, specials) or 0


def _whole_characters(block: TextBlock, limit: int, held: int) -> int:
    """`limit` bytes of those behind the pieces of a block, or a few less: no beginning of a character that it cuts."""
    if limit >= held:
        return held
    following = block.memory[block.n_bytes : block.n_bytes + held]
    for start in range(limit, max(limit - 4, -1), -1):
        if following[start] & 0xC0 != 0x80:  # no continuation byte
            return start
    return limit  # no UTF-8, which whoever reads it will say

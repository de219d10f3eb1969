"""Pairs of answers to the same prompt, as preference training reads them: documents 2i and 2i + 1 of a split.

The chosen answers of a micro-batch are one batch of rows and the rejected ones another, both filled up on the right to
the same length: what the longest of all needs, in quarters of context_length, as in rows.py.
"""

from collections.abc import Sequence

from hornbook.data.batch import PreferenceBatch
from hornbook.data.rows import Rows
from hornbook.data.shards import Place, TokenStream
from hornbook.errors import DataError


class Pairs:
    """The pairs of one split."""

    def __init__(self, stream: TokenStream, *, context_length: int, lookahead: int, pad_id: int) -> None:
        """Rows have at most context_length + lookahead tokens.

        Raises:
            DataError: if an answer is longer, with its prompt.
        """
        if stream.n_documents % 2:
            raise DataError(
                f"{stream.name}: {stream.n_documents:,} documents are not pairs; prepare again: hornbook data prepare "
                "CONFIG --force"
            )
        self.stream = stream
        self._answers = Rows(stream, context_length=context_length, lookahead=lookahead, packing=False, pad_id=pad_id)

    def __len__(self) -> int:
        return self.stream.n_documents // 2

    def batch(self, numbers: Sequence[int], sample_ids: Sequence[int]) -> PreferenceBatch:
        """Some pairs as one batch."""
        sides = [[2 * number + side for number in numbers] for side in (0, 1)]
        width = self._answers.width(sides[0] + sides[1])
        chosen, rejected = (self._answers.filled_up(side, sample_ids, width) for side in sides)
        return PreferenceBatch(chosen=chosen, rejected=rejected)

    def place(self, number: int) -> Place:
        """Where the first token of a pair lies on disk: that of its chosen answer's row."""
        return self.stream.place(int(self.stream.document_starts[2 * number]))

"""Rows of conversations, as training reads them: several in one, or one each, and what fills them up.

    packed, two in a row of 12      tokens        a a a a a b b b b - - -
                                    documents     0 0 0 0 0 1 1 1 1 . . .      . is PADDING_DOCUMENT
                                    positions     0 1 2 3 4 0 1 2 3 0 1 2
                                    counts        . . . x x . . x x . . .

Each conversation sees itself alone, at positions of its own, so it gives the logits that it would give by itself. None
is split, none is left out. They are packed by best fit, longest first: each goes into the row that it fills up most,
which leaves a row in a hundred or less empty. Rows stand in the order of their first conversation, and are the same
for every epoch, seed and number of processes.

One a row, rows are as long as a micro-batch needs, in quarters of context_length: compiled code then has four shapes to
be made for, at most. Packed rows always have the whole length.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from hornbook.data.batch import PADDING_DOCUMENT, TokenBatch
from hornbook.data.shards import Place, TokenStream
from hornbook.errors import DataError

AnswerPadding = int | Literal["row"]


class Rows:
    """The conversations of one split in rows of context_length + lookahead tokens."""

    def __init__(
        self,
        stream: TokenStream,
        *,
        context_length: int,
        lookahead: int,
        packing: bool,
        pad_id: int,
        answer_padding: AnswerPadding = 0,
        end_of_text_id: int | None = None,
        block_length: int = 1,
        keeps_end_free: bool = False,
    ) -> None:
        """`answer_padding` tokens `end_of_text_id` follow each conversation as far as its row has room for them, are
        part of it and count; "row": up to the end of the row. What a template puts behind the last answer's stop token
        counts then too, or nobody would learn what stands between that and them.

        Rows that are cut short stay a multiple of `block_length` long.

        `keeps_end_free`: the last `lookahead` places of a row are always padding, for an objective that also reads a
        row without them: else the token that ends an answer would be trained there or not, as its batch is cut.

        Raises:
            DataError: if a conversation is longer than a row, or answers are padded without an end-of-text token.
        """
        self.stream = stream
        self.length = context_length + lookahead
        self.most = context_length if keeps_end_free else self.length
        """Tokens that the conversations of a row may have."""
        self.lookahead = lookahead
        self.packing = packing
        self.pad_id = pad_id
        self.answer_padding = self.length if answer_padding == "row" else answer_padding
        if self.answer_padding and end_of_text_id is None:
            raise DataError(
                f"{stream.name}: data.tuning.answer_padding = {answer_padding!r} needs an end-of-text token, and its "
                "tokenizer has none; set it to 0, or train a tokenizer with one"
            )
        self.end_of_text_id = pad_id if end_of_text_id is None else end_of_text_id
        self._grain = quarter(context_length, block_length)
        lengths = stream.document_lengths()
        check_lengths(stream, lengths, self.most, context_length)
        self._needed = np.minimum(lengths + self.answer_padding, self.most)
        numbers = range(len(lengths))
        self.rows = best_fit(self._needed, self.most) if packing else [(number,) for number in numbers]
        """The conversations of each row, by their numbers."""

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Sequence[int], sample_ids: Sequence[int]) -> TokenBatch:
        """Some rows as one batch."""
        return self.filled_up(numbers, sample_ids, self.length if self.packing else self.width(numbers))

    def width(self, numbers: Sequence[int]) -> int:
        """How long a batch of these rows is, of one conversation each."""
        longest = int(self._needed[list(numbers)].max()) + self.length - self.most
        return cut_length(longest, self._grain, self.length, self.lookahead)

    def filled_up(self, numbers: Sequence[int], sample_ids: Sequence[int], width: int) -> TokenBatch:
        """Some rows as one batch of this width, in which all of them must have room."""
        filled = [self._row(number) for number in numbers]
        tokens, counts, documents, positions = (
            torch.from_numpy(np.stack([row[part][:width] for row in filled])) for part in range(4)
        )
        return TokenBatch(
            tokens=tokens,
            loss_mask=counts,
            sample_ids=torch.tensor(list(sample_ids), dtype=torch.int64),
            document_ids=documents,
            positions=positions,
        )

    def place(self, number: int) -> Place:
        """Where the first token of a row lies on disk."""
        return self.stream.place(int(self.stream.document_starts[self.rows[number][0]]))

    def _row(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, which of them count, documents and positions, (length,) each."""
        tokens = np.full(self.length, self.pad_id, dtype=np.int64)
        counts = np.zeros(self.length, dtype=np.bool_)
        documents = np.full(self.length, PADDING_DOCUMENT, dtype=np.int64)
        positions = np.zeros(self.length, dtype=np.int64)
        start = 0
        for place, document in enumerate(self.rows[number]):
            first, end = self.stream.document_span(document)
            text_end = start + end - first
            stop = min(text_end + self.answer_padding, self.most)
            tokens[start:text_end] = self.stream.read(first, end - first)
            tokens[text_end:stop] = self.end_of_text_id
            counts[start:text_end] = self.stream.loss_mask(first, end - first)
            if stop > text_end:
                counts[start + _after_last(counts[start:text_end]) : stop] = True
            if self.lookahead:  # nothing of its own document stands before a first token to predict it from
                counts[start] = False
            documents[start:stop] = place
            positions[start:stop] = np.arange(stop - start)
            start = stop
        positions[start:] = np.arange(self.length - start)
        return tokens, counts, documents, positions


def _after_last(trained: np.ndarray) -> int:
    """The place behind the last one that is true, or else the end."""
    places = np.flatnonzero(trained)
    return int(places[-1]) + 1 if len(places) else len(trained)


def check_lengths(stream: TokenStream, lengths: np.ndarray, most: int, context_length: int) -> None:
    """Make sure that each document fits into a row.

    Raises:
        DataError: saying how many do not.
    """
    too_long = int((lengths > most).sum())
    if too_long:
        raise DataError(
            f"{stream.name}: {too_long:,} of {len(lengths):,} conversations are longer than a row of {most} tokens "
            f"(model.context_length = {context_length}), the longest has {int(lengths.max()):,}; raise "
            "model.context_length, or prepare the data again with this one: hornbook data prepare CONFIG --force"
        )


def best_fit(needed: np.ndarray, length: int) -> list[tuple[int, ...]]:
    """Items of `needed` room each, all at most `length`, into rows of `length`: the items of each row, in order.

    Longest first, equal ones in order, each into the row with the least room that is enough.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # rows by the room that they have left
    is_some = np.zeros(length + 1, dtype=np.bool_)
    for item in np.argsort(-needed, kind="stable").tolist():
        size = int(needed[item])
        room = size + int(is_some[size:].argmax())
        if is_some[room]:
            row = with_room[room].pop()
            is_some[room] = bool(with_room[room])
        else:
            row, room = len(rows), length
            rows.append([])
        rows[row].append(item)
        with_room[room - size].append(row)
        is_some[room - size] = True
    return sorted(tuple(sorted(row)) for row in rows)


def quarter(context_length: int, block_length: int = 1) -> int:
    """A quarter of the context, rounded up to whole blocks: what the length of a batch is rounded up to."""
    return -(-context_length // (4 * block_length)) * block_length


def cut_length(longest: int, grain: int, length: int, lookahead: int) -> int:
    """How long the rows of a batch are of which the longest has `longest` tokens: a whole number of grains and the
    lookahead, or `length`."""
    return min(length, -(-max(1, longest - lookahead) // grain) * grain + lookahead)

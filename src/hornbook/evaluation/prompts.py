"""Conversations and pairs of a prepared data set, as token ids: the prompt of an answer, and the answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from hornbook.config.data import Stage
from hornbook.data.dataset import Dataset
from hornbook.data.index import SplitName
from hornbook.data.shards import TokenStream
from hornbook.errors import DataError


@dataclass(frozen=True, eq=False)
class Conversation:
    """One document of tuning data, with at least one trained token."""

    number: int
    """Of the document in its split."""
    tokens: Int64[np.ndarray, " t"]
    trained: Bool[np.ndarray, " t"]
    """Tokens of answers and the stop token after each; never the first token, before which there is no prompt."""

    @property
    def last_answer(self) -> slice:
        """Where its last answer stands, the stop token included."""
        places = np.flatnonzero(self.trained)
        breaks = np.flatnonzero(np.diff(places) > 1)
        first = places[breaks[-1] + 1] if len(breaks) else places[0]
        return slice(int(first), int(places[-1]) + 1)

    @property
    def prompt(self) -> list[int]:
        """All before the last answer: what a model is given to answer."""
        return list(map(int, self.tokens[: self.last_answer.start]))

    @property
    def answer(self) -> list[int]:
        """The last answer."""
        return list(map(int, self.tokens[self.last_answer]))


def open_tuning(dataset: Dataset, split: SplitName, stage: Stage, *, measure: str) -> TokenStream:
    """The split of a data set of `stage`, the one that `measure` is of.

    Raises:
        DataError: for a data set of another stage, or without that split.
    """
    if dataset.stage != stage:
        raise DataError(
            f"{dataset.path}: prepared for stage {dataset.stage}, `hornbook eval {measure}` measures stage {stage}; "
            f"name such a data set, or prepare one: hornbook data prepare CONFIG --stage {stage}"
        )
    return dataset.split(split)


def read_conversations(stream: TokenStream, *, every: int = 1) -> Iterator[Conversation]:
    """The documents of a split that have trained tokens, or each `every`th."""
    for number in range(0, stream.n_documents, every):
        start, end = stream.document_span(number)
        trained = stream.loss_mask(start, end - start)
        trained[:1] = False
        if trained.any():
            yield Conversation(number, stream.read(start, end - start), trained)


def read_pairs(stream: TokenStream) -> list[tuple[Conversation, Conversation]]:
    """Chosen and rejected answers, in order.

    Raises:
        DataError: for an answer without a trained token.
    """
    both = list(read_conversations(stream))
    if len(both) != stream.n_documents or len(both) % 2:
        raise DataError(f"{stream.name}: holds a pair with nothing to measure; prepare again with --force")
    return list(zip(both[::2], both[1::2], strict=True))


def prompts_in_train(dataset: Dataset, split: SplitName, measured: Sequence[Conversation], *, every: int = 1) -> int:
    """How many of `measured` have a prompt that a conversation of the train split has, too; every one of it is read."""
    if split == "train":
        return len(measured)
    if "train" not in dataset.splits:
        return 0
    known = {tuple(trained.prompt) for trained in read_conversations(dataset.split("train"), every=every)}
    return sum(tuple(each.prompt) in known for each in measured)

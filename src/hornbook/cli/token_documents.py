"""What `hornbook tokenizer inspect` shows the tokens of: texts that were given, or documents of a prepared data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from hornbook.data.dataset import Dataset
    from hornbook.data.index import SplitName
    from hornbook.data.source_texts import SourceText
    from hornbook.tokenizer.tokenizer import Tokenizer


class GivenTexts:
    """Texts from the command line, files or stdin, each with its ids."""

    def __init__(self, texts: Sequence[tuple[str, np.ndarray, int]]) -> None:
        self._texts = texts
        """Where each comes from, its ids, and its bytes."""

    def __len__(self) -> int:
        return len(self._texts)

    def title(self, number: int) -> str:
        """Where it comes from, and how much it is."""
        where, ids, n_bytes = self._texts[number]
        ratio = f", {n_bytes / len(ids):.2f} bytes per token" if len(ids) else ""
        return f"{where}: {n_bytes:,} bytes, {len(ids):,} tokens{ratio}"

    def where(self, number: int) -> str:
        """Where it comes from."""
        return self._texts[number][0]

    def ids(self, number: int) -> np.ndarray:
        """Its tokens."""
        return self._texts[number][1]

    def notes(self, number: int) -> list[str]:
        """Nothing more to say."""
        return []


class StoredDocuments:
    """One split of a prepared data set, and the texts that it was made from where they still stand.

    Raises:
        DataError: if there is no such split, or `tokenizer` is not what its ids mean.
    """

    def __init__(self, dataset: Dataset, split: SplitName, tokenizer: Tokenizer) -> None:
        from hornbook.data.source_texts import SourceTexts

        dataset.check_tokenizer(tokenizer)
        self.split = split
        self._stream = dataset.split(split)
        self._tokenizer = tokenizer
        self._sources = SourceTexts(dataset, split, tokenizer)

    def __len__(self) -> int:
        return self._stream.n_documents

    def title(self, number: int) -> str:
        """Its number, from 0."""
        return f"{self._stream.name}: document {number:,} of {len(self):,}"

    def ids(self, number: int) -> np.ndarray:
        """Its tokens, the one that ends it included."""
        return self._stream.document(number)

    def source(self, number: int) -> SourceText:
        """The text that it was made from, or why that is not known."""
        return self._sources.text(number)

    def notes(self, number: int) -> list[str]:
        """Whether the source still says the same, and what it says if that differs."""
        source = self.source(number)
        if source.text is None:
            return [source.where]
        if source.text == self.text(number):
            return [f"{source.where}: the source text is the same, byte for byte"]
        return [f"{source.where}: the source text differs from what the ids give back:", source.text.decode()]

    def text(self, number: int) -> bytes:
        """What its ids give back, without the special token that ends it."""
        ids = self.ids(number)
        if len(ids) and int(ids[-1]) in self._tokenizer.special_tokens.values():
            ids = ids[:-1]
        return self._tokenizer.decode_bytes(ids)

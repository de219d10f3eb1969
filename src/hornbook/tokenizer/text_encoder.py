"""How a tokenizer turns text into ids: one text, a batch of documents or a file; compiled where that pays.

Pure Python (`special_tokens`, the scheme's `encode`) says what the ids are; the compiled kernels give the same.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from hornbook.errors import TokenizerError
from hornbook.storage.cores import available_cores
from hornbook.tokenizer.batch import Errors, check_errors, encode_compiled, encode_purely
from hornbook.tokenizer.bulk import BulkEncoder, MalformedError, encoder_for
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.documents import decode_utf8
from hornbook.tokenizer.encode_file import Chunk, FileCounts, FileProgress, encode_chunks, read_chunk
from hornbook.tokenizer.foreign import ForeignScheme
from hornbook.tokenizer.schemes import Scheme
from hornbook.tokenizer.special_tokens import SpecialTokens

_MOST_THREADS = 8
"""More are used only if asked for: a disk does not feed them."""

Array = npt.NDArray[Any]


class TextEncoder:
    """The encoding half of `Tokenizer`, which describes its methods."""

    def __init__(self, scheme: Scheme, special: SpecialTokens, vocab_size: int) -> None:
        self._scheme, self._special, self._vocab_size = scheme, special, vocab_size
        self._ids_of_names = special.all_ids

    def ids(self, text: str, names: frozenset[str]) -> list[int]:
        """Ids of a text in which these names of special and added tokens count."""
        if (encoder := self._compiled(len(text), names)) and (data := self._prepared(text, names)) is not None:
            found, _ = encoder.encode_parts([data], [-1], self._name_ids(names), np.dtype(np.uint32))
            ids: list[int] = found.tolist()
            return ids
        ids = []
        for number, (ordinary, token_id) in enumerate(self._special.split(text, names, self._scheme.normalize)):
            if isinstance(self._scheme, ForeignScheme):
                ids += self._scheme.encode(ordinary, begins=number == 0)
            else:
                ids += self._scheme.encode(ordinary)
            if token_id is not None:
                ids.append(token_id)
        return ids

    def batch(
        self, documents: Sequence[bytes], *, errors: Errors, threads: int, end_id: int | None, dtype: npt.DTypeLike
    ) -> tuple[Array, npt.NDArray[np.int64]]:
        """Ids of documents in one row, and their offsets."""
        of_ids, names, cut = self._checked(dtype), frozenset(self._special.added), self._cut
        _check_threads(threads)
        check_errors(errors)
        name_ids = self._name_ids(names)
        encoder = self._compiled(sum(map(len, documents)), names)
        if encoder and (prepared := self._prepared_documents(documents, names, errors)) is not None:
            return encode_compiled(
                encoder, prepared, name_ids, cut, errors=errors, threads=threads, end_id=end_id, dtype=of_ids
            )
        ids_of = partial(self.ids, names=names)
        return encode_purely(ids_of, documents, name_ids, cut, errors=errors, end_id=end_id, dtype=of_ids)

    def file(
        self,
        path: Path,
        out: Path,
        names: frozenset[str],
        *,
        threads: int | None,
        errors: Errors,
        dtype: npt.DTypeLike | None,
        shard_tokens: int | None,
        progress: FileProgress | None,
    ) -> FileCounts:
        """A file of text to a file of ids."""
        of_ids = self._checked(self._smallest_dtype() if dtype is None else dtype)
        threads = min(available_cores(), _MOST_THREADS) if threads is None else threads
        _check_threads(threads)
        check_errors(errors)
        name_ids = self._name_ids(names)
        encoder = self._compiled(path.stat().st_size if path.is_file() else 0, names)

        def encode(chunk: Chunk) -> Array:
            text = read_chunk(path, chunk, encoder.padding if encoder else 0)
            if encoder and (not self._normalizes or text.max(initial=0) < 0x80):
                try:
                    rows = np.array([[0, chunk.length, -1, 0]])
                    return encoder.encode(text, rows, name_ids, of_ids)[0]
                except MalformedError:
                    pass
            repaired = decode_utf8(text[: chunk.length].tobytes(), str(path), offset=chunk.offset, errors=errors)
            if encoder and (data := self._prepared(repaired, names)) is not None:
                return encoder.encode_parts([data], [-1], name_ids, of_ids)[0]
            return np.array(self.ids(repaired, names), of_ids)

        return encode_chunks(
            path,
            out,
            encode,
            cut=self._cut,
            names=name_ids,
            threads=threads if encoder else 1,
            shard_ids=shard_tokens,
            progress=progress,
        )

    @property
    def _cut(self) -> regex.Pattern[bytes] | None:
        """Where documents may be cut: nowhere if a name swallows the white space beside it, however much."""
        return None if self._special.flags else self._scheme.cut

    def _compiled(self, n_bytes: int, names: frozenset[str]) -> BulkEncoder | None:
        """The compiled encoder for so much more text in which these names count, None where pure Python is to do it."""
        return encoder_for(self._scheme, n_bytes) if self._in_one_search(names) else None

    def _in_one_search(self, names: frozenset[str]) -> bool:
        """Whether names that are looked for in two rounds can be looked for in one, as they are written.

        The second round is for names in the normal form of text. If no character is in names of both rounds, no two of
        them overlap.
        """
        if not names.isdisjoint(self._special.flags):
            return False
        late = names & self._special.normalized
        if any(self._scheme.normalize(name) != name for name in late):
            return False
        return not ({c for name in late for c in name} & {c for name in names - late for c in name})

    @property
    def _normalizes(self) -> bool:
        return isinstance(self._scheme, BytePairScheme) and self._scheme.normalizer is not None

    def _prepared(self, text: str, names: frozenset[str]) -> bytes | None:
        """The text as the kernels take it: in its normal form, as UTF-8.

        None for a lone surrogate, about which pure Python has more to say, and where the normal form makes up a name.
        """
        normal = self._special.normal_form(text, names, self._scheme.normalize) if self._normalizes else text
        return None if normal is None else _utf8(normal)

    def _prepared_documents(
        self, documents: Sequence[bytes], names: frozenset[str], errors: Errors
    ) -> Sequence[bytes] | None:
        """The same for documents, of which those in normal form are not copied; None if it is None for one of them."""
        if not self._normalizes:
            return documents
        prepared: list[bytes] = []
        for number, document in enumerate(documents):
            if document.isascii():
                prepared.append(document)
                continue
            data = self._prepared(decode_utf8(document, f"document {number}", errors=errors), names)
            if data is None:
                return None
            prepared.append(document if data == document else data)
        return prepared

    def _name_ids(self, names: frozenset[str]) -> dict[bytes, int]:
        return {name.encode(): self._ids_of_names[name] for name in names}

    def _smallest_dtype(self) -> npt.DTypeLike:
        return np.uint16 if self._vocab_size <= 2**16 else np.uint32

    def _checked(self, asked: npt.DTypeLike) -> np.dtype[Any]:
        dtype = np.dtype(asked)
        if dtype not in (np.uint16, np.uint32):
            raise TokenizerError(f"dtype = {dtype}; expected uint16 or uint32")
        if dtype.itemsize < np.dtype(self._smallest_dtype()).itemsize:
            raise TokenizerError(f"dtype = {dtype} holds ids to 65535, but there are some to {self._vocab_size - 1}")
        return dtype


def _utf8(text: str) -> bytes | None:
    """None for a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise TokenizerError(f"threads = {threads}; expected at least 1")

"""How a tokenizer turns ids into bytes: tokens joined, by a compiled kernel where that pays."""

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from hornbook.errors import TokenizerError
from hornbook.tokenizer import compiled

Array = npt.NDArray[Any]


class IdDecoder:
    """The bytes of every id.

    Args:
        tokens: the bytes of each id, None for an id of nobody.
        silent: ids that give no bytes.
        token_bytes: the bytes of one id; raises what an unknown id deserves.
    """

    def __init__(
        self, tokens: Sequence[bytes | None], silent: Collection[int], token_bytes: Callable[[int], bytes]
    ) -> None:
        self._tokens, self._silent, self._token_bytes = tokens, silent, token_bytes
        self._table: Any = None
        self._known = _Known(self.token_bytes)
        self.whole_texts: dict[int, str] = {}
        """For `StreamDecoder`."""

    def __reduce__(self) -> tuple[object, ...]:
        """Other processes get it without what it has made for itself."""
        return IdDecoder, (self._tokens, self._silent, self._token_bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one id."""
        return b"" if token_id in self._silent else self._token_bytes(token_id)

    def joined(self, ids: Iterable[SupportsIndex] | Array) -> bytes:
        """The bytes of ids."""
        if not isinstance(ids, np.ndarray | list | tuple):
            ids = list(ids)
        if (kernels := compiled.kernels_for("encode", len(ids))) and (row := _as_row(ids)) is not None:
            return self._decoded(kernels, row, np.array([0, len(row)]))[0].tobytes()
        return b"".join(map(self._known.__getitem__, ids.tolist() if isinstance(ids, np.ndarray) else ids))

    def rows(self, ids: Array, offsets: Array) -> list[bytes]:
        """The bytes of rows of ids: row i is ids[offsets[i] : offsets[i + 1]]."""
        ids = np.asarray(ids)
        if kernels := compiled.kernels_for("encode", len(ids)):
            data, ends = self._decoded(kernels, ids, offsets)
            whole, places = data.tobytes(), ends.tolist()
            return [whole[start:end] for start, end in pairwise(places)]
        return [self.joined(ids[start:end]) for start, end in pairwise(offsets)]

    def _decoded(self, kernels: Any, ids: Array, offsets: Array) -> tuple[Array, Array]:
        decoding = kernels.module("decoding")
        if self._table is None:
            self._table = decoding.TokenBytes(self._tokens, self._silent)
        try:
            bytes_and_ends: tuple[Array, Array] = self._table.decode(ids, offsets)
        except decoding.UnknownIdError as error:
            self._token_bytes(int(ids[error.index]))
            raise AssertionError(f"id {ids[error.index]} is known") from error
        return bytes_and_ends


class _Known(dict[Any, bytes]):
    """The bytes of ids that were asked for before; a look-up costs a tenth of asking again."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        super().__init__()
        self._token_bytes = token_bytes

    def __missing__(self, token_id: SupportsIndex) -> bytes:
        try:
            number = index(token_id)
        except TypeError as error:
            raise TokenizerError(f"token id {token_id!r}: expected a whole number") from error
        token = self[number] = self._token_bytes(number)
        return token


def _as_row(ids: Sequence[SupportsIndex] | Array) -> Array | None:
    """Ids as an array of integers in one row; None for anything else."""
    if isinstance(ids, np.ndarray):
        return ids if ids.ndim == 1 and ids.dtype.kind in "iu" else None
    try:
        return np.frombuffer(array("q", ids), np.int64)  # type: ignore[type-var]  # whatever has an __index__
    except (TypeError, OverflowError):
        return None

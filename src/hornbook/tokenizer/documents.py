"""Documents of any size as pieces of bounded size, cut where a word starts anyway.

A piece ends where the splitting pattern would start a word whatever stood before (`Splitter.cut`), and never inside a
special token or just before one, since white space is split differently where a text ends. So the words of the pieces
are the words of the document, and a file of ten gigabytes without a line end in the right place streams like any other.
"""

import io
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import regex

from hornbook.errors import TokenizerError

PIECE_BYTES = 2**22

Documents = Iterable[str | bytes | Path] | Path
"""Texts, bytes of UTF-8 and paths of text files in any mixture, or one path."""


def open_documents(documents: Documents) -> Iterator[tuple[str, BinaryIO]]:
    """Each document as (a name for error messages, a binary stream).

    Raises:
        TokenizerError: for a bare string, a missing file, a text with lone surrogates or what is no text.
    """
    if isinstance(documents, (str, bytes)):
        raise TokenizerError("documents: got one text; expected a list of texts, [text], or a Path of a text file")
    for i, document in enumerate([documents] if isinstance(documents, Path) else documents):
        if isinstance(document, Path):
            if not document.is_file():
                raise TokenizerError(f"{document}: no such text file")
            with document.open("rb") as stream:
                yield str(document), stream
        elif isinstance(document, (str, bytes, bytearray, memoryview)):
            data = encode_utf8(document) if isinstance(document, str) else document
            yield f"document {i}", io.BytesIO(data)
        else:
            raise TokenizerError(
                f"document {i}: got {type(document).__name__}; expected str, bytes of UTF-8 or a Path of a text file"
            )


def pieces(
    stream: BinaryIO, cut: regex.Pattern[bytes] | None, names: Iterable[str] = (), *, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The stream in pieces of about `piece_bytes`; longer where there is no place to cut, whole if `cut` is None.

    Args:
        stream: bytes of UTF-8 text.
        cut: a pattern that searches backwards and matches, with no width, where a text may be cut.
        names: special tokens, which stay whole.
    """
    specials = [name.encode() for name in names]
    held = b""
    while True:
        wanted = max(piece_bytes, len(held))  # doubling keeps the search linear in a text without places
        block = stream.read(wanted if cut else -1)
        held += block
        if cut is None or len(block) < wanted:  # the end
            break
        place = last_cut(held, cut, specials)
        if place is not None:
            yield held[:place]
            held = held[place:]
    if held:
        yield held


def decode_utf8(data: bytes, where: str, *, offset: int = 0, errors: Literal["strict", "replace"] = "strict") -> str:
    """Bytes as text; each broken part becomes U+FFFD with errors = "replace".

    Raises:
        TokenizerError: naming the place, the byte and its offset in the whole (`offset` is where `data` starts).
    """
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise TokenizerError(
            f"{where}: invalid UTF-8: byte 0x{data[error.start]:02x} at byte offset {offset + error.start} "
            f"({error.reason}); convert the text to UTF-8, or pass errors='replace' where that is offered"
        ) from error


def encode_utf8(text: str) -> bytes:
    """Text as bytes.

    Raises:
        TokenizerError: for half of a surrogate pair, which is no character and has no UTF-8 form.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"text: lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, which UTF-8 cannot hold; "
            "decode the original bytes again, with errors='replace' if they are damaged"
        ) from error


def last_cut(held: bytes | memoryview, cut: regex.Pattern[bytes], specials: Collection[bytes]) -> int | None:
    """The last place to cut a text so that no word and no special token is changed; None if there is none.

    It lies so far before the end that any special token there is wholly seen.
    """
    reach = max(map(len, specials), default=0) + 1
    end = len(held) - reach
    while end > 0:
        match = cut.search(held, 0, end + 1)
        if match is None or match.start() == 0:
            return None
        place = match.start()
        near = bytes(held[max(0, place - reach + 2) : place + reach])
        if not any(name in near for name in specials):
            return place
        end = place - 1
    return None

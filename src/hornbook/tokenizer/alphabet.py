"""Bytes as printable characters, so that vocab.json and merges.txt are text that people can read.

GPT-2's map: a byte that is a printable Latin-1 character stands for itself, each other byte for the next character from
U+0100 on (a blank is written Ġ, a line feed Ċ). The order of the characters is also the order of the first 256 ids.
Source: bytes_to_unicode in https://github.com/openai/gpt-2/blob/master/src/encoder.py
"""

import codecs

_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))

BYTE_ORDER: tuple[int, ...] = (*_PRINTABLE, *(b for b in range(256) if b not in _PRINTABLE))
"""Bytes in the order of their ids: printable ones first."""

BYTE_TO_CHARACTER: dict[int, str] = {
    b: chr(b) if b in _PRINTABLE else chr(256 + i - len(_PRINTABLE)) for i, b in enumerate(BYTE_ORDER)
}

_DECODING = "".join(BYTE_TO_CHARACTER[b] for b in range(256))
_ENCODING = codecs.charmap_build(_DECODING)


def printable(token: bytes) -> str:
    """A token as vocab.json writes it."""
    return codecs.charmap_decode(token, "strict", _DECODING)[0]


def from_printable(text: str) -> bytes | None:
    """The bytes of a token of vocab.json; None if a character stands for no byte."""
    try:
        return codecs.charmap_encode(text, "strict", _ENCODING)[0]
    except UnicodeEncodeError:
        return None

"""Unicode's composed form NFC, the same with every Python: é is one character, not e and an accent.

Python brings its own version of Unicode, and each version adds marks that are reordered and characters that compose.
Ids must not change with it, so what came after Unicode 9, which Hugging Face's library still has, is left where it
stands and nothing moves across it. Old characters are safe: Unicode never changes how they compose.
Source: https://www.unicode.org/reports/tr15/
"""

import re
import unicodedata

_ADDED_LATER = """
5C8-5C9 7FD 897-89F 8CA-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1AF0 1DF6-1DFA A82C 10D24-10D27 10D69-10D6D 10EAB-10EAC
10ECB-10ECF 10EF0-10EFB 10EFD-10EFF 10F46-10F50 10F82-10F85 11070 1133B 113CE-113D0 1145E 11839-1183A 1193D-1193E
11943 119E0 11A34 11A47 11A99 11D42 11D44-11D45 11D97 11F41-11F42 1612F 16FF0-16FF1 1D127-1D128 1D250-1D252
1D25B-1D25C 1D25F 1D280-1D281 1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 1E6E6 1E6EE-1E6EF
1E6F5 105C9 105D2 105DA 105E4 11380-113C9 11930 16100-1612E 16D63-16D6A
"""
"""Marks with a combining class and parts of compositions that Unicode 10 to 17 added, as hexadecimal ranges."""

_later = re.compile(
    "([" + "".join("-".join(f"\\U{end:0>8}" for end in span.split("-")) for span in _ADDED_LATER.split()) + "]+)"
)
_may_be_later = re.compile("[\u05c8-\U0010ffff]")
"""Thirty times as fast to look for, and enough for most European languages."""


def nfc(text: str) -> str:
    """A text in its composed form."""
    if unicodedata.is_normalized("NFC", text):  # and so is every part of it
        return text
    if not _may_be_later.search(text):
        return unicodedata.normalize("NFC", text)
    parts = _later.split(text)
    parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    return "".join(parts)

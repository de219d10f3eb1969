"""How text is split into words before merging: three published patterns, three relatives, or one of yours.

Merges never cross a word's edge, so the pattern decides what a token can be. Ids must not depend on anybody's Unicode
version: \\p{L}, \\p{N}, \\p{M} and the kinds of letters are replaced by the frozen ranges of `unicode_table`. Other
properties in a pattern of your own follow the installed package `regex`, in its version 1 syntax.

A long text is cut where a word starts whatever follows (see `documents`): `cut` finds such places.
"""

import re
from dataclasses import dataclass

import regex

from hornbook.errors import TokenizerError
from hornbook.tokenizer.unicode_table import RANGES

# Where a text may be cut. White space starts a word behind anything else, but not the line ends that cl100k and its
# family add to signs. What is surely no white space is told from one byte: those excepted end or begin white space
# beyond ASCII.
_BEHIND_OTHERS = rb"(?<=[^\t-\r \x80-\x8a\x9f\xa0\xa8\xa9\xaf])"
_BEFORE_WHITE = rb"(?r)" + _BEHIND_OTHERS + rb"(?=[\t-\r ])"
# A word that holds a line feed ends with it (o200k: or with slashes after it). Not so for GPT-2: "\n\n" before a letter
# is two words, but at the end of a text one.
_BEFORE_BLANK_OR_AFTER_LINE_END = (
    rb"(?r)" + _BEHIND_OTHERS + rb"(?=[\t\v\f ])|(?<=[\r\n])(?=[^\t-\r /\xc2\xe1\xe2\xe3])"
)


ADDED_DIGITS = ((0x11DE0, 0x11DE9), (0x16FF4, 0x16FF6))
"""Numbers of Unicode 17, newer than the frozen table: digits to the step Digits of Hugging Face, but not \\p{N}."""
_DIGITS = r"\p{N}" + "".join(f"{chr(first)}-{chr(last)}" for first, last in ADDED_DIGITS)


@dataclass(frozen=True)
class Pattern:
    """A published splitting pattern, and a bytes pattern for places where a text may be cut without changing a word."""

    expression: str
    cut: bytes


PATTERNS: dict[str, Pattern] = {
    # https://github.com/openai/gpt-2/blob/master/src/encoder.py
    "gpt2": Pattern(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        _BEFORE_WHITE,
    ),
    # https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py (cl100k_base, o200k_base), written
    # without possessive quantifiers and $, which the engine of Hugging Face reads otherwise.
    "cl100k": Pattern(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s",
        _BEFORE_BLANK_OR_AFTER_LINE_END,
    ),
    "o200k": Pattern(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        _BEFORE_BLANK_OR_AFTER_LINE_END,
    ),
    # The Split patterns in the tokenizer.json of Llama 3 and Qwen 2. They differ from cl100k where a text ends in white
    # space, and Qwen takes digits one by one.
    "llama3": Pattern(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        _BEFORE_BLANK_OR_AFTER_LINE_END,
    ),
    "qwen2": Pattern(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        _BEFORE_BLANK_OR_AFTER_LINE_END,
    ),
    # SmolLM and SmolLM2 set every digit apart before GPT-2's pattern sees the rest.
    "smollm": Pattern(
        rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+|[{_DIGITS}]| ?[^\s\p{{L}}{_DIGITS}]+|\s+(?=[{_DIGITS}])|\s+(?!\S)|\s+",
        _BEFORE_WHITE,
    ),
}

_PROPERTY = re.compile(r"\\\\|\\([pP])(?:\{(\w+)\}|(\w))")


class Splitter:
    """Splits text into words by one pattern; the words joined are the text again.

    Args:
        pattern: a name of PATTERNS, or a regular expression. Text that an expression of yours does not match becomes
            words of its own, so nothing is ever lost.

    Raises:
        TokenizerError: if the expression does not compile.
    """

    def __init__(self, pattern: str) -> None:
        known = PATTERNS.get(pattern)
        self.pattern = pattern
        self.expression = known.expression if known else pattern
        self.cut: regex.Pattern[bytes] | None = regex.compile(known.cut) if known else None
        """Searches backwards for a place to cut; None if no such place is known, for patterns of your own."""
        try:
            self.expression.encode()  # half of a surrogate pair could not be saved
            self._regex = regex.compile(with_frozen_classes(self.expression), regex.V1)
        except (regex.error, UnicodeEncodeError) as error:
            raise TokenizerError(
                f"tokenizer.pattern = {pattern!r} is neither one of {', '.join(PATTERNS)} "
                f"nor a regular expression: {error}"
            ) from error
        self._covers_everything = known is not None

    def __call__(self, text: str) -> list[str]:
        """The words of a text, in order."""
        if self._covers_everything:
            return self._regex.findall(text)
        words, end = [], 0
        for match in self._regex.finditer(text):
            if match.group():
                words += [text[end : match.start()], match.group()]
                end = match.end()
        return [word for word in [*words, text[end:]] if word]


def with_frozen_classes(expression: str) -> str:
    r"""A pattern with \p{L} and its like spelt out as nested sets of the frozen ranges; other properties stay."""

    def spell_out(match: re.Match[str]) -> str:
        category = match[2] or match[3]
        if category != "L" and category not in RANGES:
            return match[0]
        return f"[{'^' if match[1] == 'P' else ''}{_members(category)}]"

    return _PROPERTY.sub(spell_out, expression)


def code_point_ranges(category: str) -> list[tuple[int, int]]:
    """Inclusive ranges of a category of `unicode_table`, sorted; L is every kind of letter."""
    kinds = ("Lu", "Ll", "Lt", "Lm", "Lo") if category == "L" else (category,)
    ends = ([int(end, 16) for end in span.split("-")] for kind in kinds for span in RANGES[kind].split())
    merged: list[tuple[int, int]] = []
    for first, last in sorted((e[0], e[-1]) for e in ends):
        if merged and merged[-1][1] == first - 1:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def _members(category: str) -> str:
    r"""The inside of a set: ASCII ranges, then the rest behind a test for non-ASCII.

    `regex` tries the ranges one by one. The test spares ASCII text hundreds of comparisons, and the alphabets before
    U+0530 and then the largest ranges come first. Measured: English as fast as with \p{L}, Russian half and Chinese an
    eighth as fast (6 to 12 MB/s).
    """
    ranges = code_point_ranges(category)
    ascii_ranges = [r for r in ranges if r[1] < 0x80]
    others = sorted(ranges[len(ascii_ranges) :], key=lambda r: (r[0] >= 0x530, r[0] - r[1], r[0]))
    return "".join(map(_span, ascii_ranges)) + rf"[[^\x00-\x7F]&&[{''.join(map(_span, others))}]]"


def _span(span: tuple[int, int]) -> str:
    return rf"\U{span[0]:08X}-\U{span[1]:08X}"

"""From what files say to a vocabulary that is known to be right: every check of a loaded tokenizer stands here.

Files give names with ids and merges as pairs of names; each error names the file, and the line of a merge.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import from_printable
from hornbook.tokenizer.byte_pair import BytePairScheme, Normalizer


class WrittenMerge(NamedTuple):
    """A merge as a file has it."""

    where: str
    left: str
    right: str


def read_text(path: Path) -> str:
    """A file of UTF-8 text, its line ends unchanged.

    Raises:
        TokenizerError: if it is missing or no UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise TokenizerError(f"{path}: no such file; a tokenizer is incomplete without it") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: invalid UTF-8 at byte offset {error.start}; the file is damaged") from error


def parse_object(text: str, where: str) -> dict[str, object]:
    """A JSON object in which no key stands twice.

    Raises:
        TokenizerError: if it is anything else.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise TokenizerError(f"{where}: the key {repeated!r} stands there twice; expected it once")
        return entries

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise TokenizerError(
            f"{where}: no valid JSON, line {error.lineno} column {error.colno}: {error.msg}; the file is damaged"
        ) from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{where}: got a JSON {type(value).__name__}; expected an object")
    return value


def names_by_id(entries: Mapping[str, object], where: str, *, first: int = 0) -> list[str]:
    """The names in the order of their ids, which must be first, first + 1, ... without gaps.

    Raises:
        TokenizerError: naming the first id that is no number, repeated, missing or out of range.
    """
    by_id: dict[int, str] = {}
    for name, i in entries.items():
        if not isinstance(i, int) or isinstance(i, bool):
            raise TokenizerError(f"{where}: the id of {name!r} is {i!r}; expected a whole number")
        if i in by_id:
            raise TokenizerError(f"{where}: {by_id[i]!r} and {name!r} both have the id {i}; expected distinct ids")
        by_id[i] = name
    for i in range(first, first + len(by_id)):
        if i not in by_id:
            raise TokenizerError(
                f"{where}: no token has the id {i}; expected {len(by_id)} tokens with the ids {first} to "
                f"{first + len(by_id) - 1} without gaps"
            )
    return [by_id[i] for i in range(first, first + len(by_id))]


def merge_lines(path: Path) -> list[WrittenMerge]:
    """The merges of a merges.txt; a first line `#version: ...` and a blank last one do not count.

    Raises:
        TokenizerError: naming the line that is not two tokens with a blank between them.
    """
    merges = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        written = line.removesuffix("\r")
        if not written or (number == 1 and written.startswith("#version")):
            continue
        merges.append(parse_merge(written, f"{path} line {number}"))
    return merges


def parse_merge(written: str, where: str) -> WrittenMerge:
    """One merge, "left right".

    Raises:
        TokenizerError: if it is not two tokens with a blank between them.
    """
    parts = written.split(" ")
    if len(parts) != 2 or not all(parts):
        raise TokenizerError(f"{where}: got {written!r}; expected two tokens with one blank between them")
    return WrittenMerge(where, *parts)


def byte_pair_scheme(
    names: Sequence[str],
    merges: Iterable[WrittenMerge],
    where: str,
    *,
    pattern: str,
    whole_words_first: bool = False,
    normalizer: Normalizer | None = None,
) -> BytePairScheme:
    """The vocabulary of these printable tokens, in the order of their ids, and these merges.

    Raises:
        TokenizerError: if a token is not in printable form, a merge speaks of unknown tokens, or bytes are missing.
    """
    tokens = []
    for i, name in enumerate(names):
        token = from_printable(name)
        if not token:
            raise TokenizerError(
                f"{where}: the token {name!r} (id {i}) is not in byte-level form and was not named as a special token"
            )
        tokens.append(token)
    ids = {name: i for i, name in enumerate(names)}
    pairs = []
    for merge in merges:
        for part in (merge.left, merge.right, merge.left + merge.right):
            if part not in ids:
                raise TokenizerError(
                    f"{merge.where}: the merge {merge.left!r} {merge.right!r} needs the token {part!r}, which is not "
                    f"in {where}; do both belong together?"
                )
        pairs.append((ids[merge.left], ids[merge.right]))
    try:
        return BytePairScheme(
            tokens, pairs, pattern=pattern, whole_words_first=whole_words_first, normalizer=normalizer
        )
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}") from error

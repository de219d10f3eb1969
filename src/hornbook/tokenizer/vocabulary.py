"""From what files say to a vocabulary that is known to be right: every check of a loaded tokenizer stands here.

Files give names with ids and merges as pairs of names; each error names the file, and the line of a merge.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import from_printable
from hornbook.tokenizer.byte_pair import BytePairScheme, Normalizer
from hornbook.tokenizer.special_tokens import HIGHEST_ID


class WrittenMerges(NamedTuple):
    """Merges as a file has them, best first."""

    pairs: Sequence[tuple[str, str]]
    place: Callable[[int], str]
    """Where merge i stands, for error messages."""


def read_text(path: Path) -> str:
    """A file of UTF-8 text, its line ends unchanged.

    Raises:
        TokenizerError: if it is missing, cannot be read or is no UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise TokenizerError(f"{path}: no such file; a tokenizer is incomplete without it") from error
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read: {error.strerror}") from error
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
    except TokenizerError:
        raise
    except json.JSONDecodeError as error:
        raise TokenizerError(
            f"{where}: no valid JSON, line {error.lineno} column {error.colno}: {error.msg}; the file is damaged"
        ) from error
    except (RecursionError, ValueError) as error:  # brackets within brackets; a number of thousands of digits
        raise TokenizerError(f"{where}: no JSON that can be read ({error}); the file is damaged") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{where}: got a JSON {type(value).__name__}; expected an object")
    return value


def names_by_id(entries: Mapping[str, object], where: str) -> list[str | None]:
    """The name of each id from 0 to the highest; None for an id that no name has.

    Raises:
        TokenizerError: naming the first id that is no number, out of range or repeated.
    """
    by_id: dict[int, str] = {}
    for name, i in entries.items():
        if type(i) is not int:
            raise TokenizerError(f"{where}: the id of {name!r} is {i!r}; expected a whole number")
        if not 0 <= i <= HIGHEST_ID:
            raise TokenizerError(f"{where}: the id of {name!r} is {i}; expected 0 to {HIGHEST_ID}")
        if i in by_id:
            raise TokenizerError(f"{where}: {by_id[i]!r} and {name!r} both have the id {i}; expected distinct ids")
        by_id[i] = name
    return list(map(by_id.get, range(max(by_id, default=-1) + 1)))


def names_without_gaps(entries: Mapping[str, object], where: str, *, first: int = 0) -> list[str]:
    """The names in the order of their ids, which must be first, first + 1, ... without gaps.

    Raises:
        TokenizerError: as `names_by_id`, or naming the first id that is missing.
    """
    names = names_by_id(entries, where)[first:]
    dense = [name for name in names[: len(entries)] if name is not None]
    if len(dense) != len(entries):
        missing = first + [*names[: len(entries)], None].index(None)
        raise TokenizerError(
            f"{where}: no token has the id {missing}; expected {len(entries)} tokens with the ids {first} to "
            f"{first + len(entries) - 1} without gaps"
        )
    return dense


def merge_lines(path: Path) -> WrittenMerges:
    """The merges of a merges.txt; a first line `#version: ...` and blank lines do not count.

    Raises:
        TokenizerError: naming the line that is not two tokens with a blank between them.
    """
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    if lines[0].startswith("#version"):
        lines[0] = ""
    numbers = [number for number, line in enumerate(lines, start=1) if line]

    def place(i: int) -> str:
        return f"{path} line {numbers[i]}"

    return WrittenMerges(split_merges([line for line in lines if line], place), place)


def split_merges(written: Sequence[str], place: Callable[[int], str]) -> list[tuple[str, str]]:
    """Merges, each "left right".

    Raises:
        TokenizerError: naming the first that is not two tokens with a blank between them.
    """
    pairs = []
    for i, merge in enumerate(written):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(f"{place(i)}: got {merge!r}; expected two tokens with one blank between them")
        pairs.append((left, right))
    return pairs


def byte_pair_scheme(
    names: Sequence[str | None],
    merges: WrittenMerges | None,
    where: str,
    *,
    pattern: str,
    whole_words_first: bool = False,
    normalizer: Normalizer | None = None,
    drops_bytes: bool = False,
) -> BytePairScheme:
    """The vocabulary of these printable tokens, in the order of their ids, and these merges (None: by rank).

    Raises:
        TokenizerError: if a token is not in printable form, a merge speaks of unknown tokens, or bytes are missing.
    """
    ids = {name: i for i, name in enumerate(names) if name is not None}
    tokens = [
        None if name is None else from_printable(name) or _not_printable(name, ids[name], where) for name in names
    ]
    try:
        return BytePairScheme(
            tokens,
            None if merges is None else [(ids[left], ids[right]) for left, right in merges.pairs],
            pattern=pattern,
            whole_words_first=whole_words_first,
            normalizer=normalizer,
            drops_bytes=drops_bytes,
        )
    except (KeyError, TokenizerError) as error:
        if merges is not None:
            _check_merges(merges, ids, where)  # an error that names the place goes first
        raise TokenizerError(f"{where}: {error}") from error


def _check_merges(merges: WrittenMerges, ids: Mapping[str, int], where: str) -> None:
    for i, (left, right) in enumerate(merges.pairs):
        for part in (left, right, left + right):
            if part not in ids:
                raise TokenizerError(
                    f"{merges.place(i)}: the merge {left!r} {right!r} needs the token {part!r}, which is not "
                    f"in {where}; do both belong together?"
                )


def _not_printable(name: str, token_id: int, where: str) -> NoReturn:
    raise TokenizerError(
        f"{where}: the token {name!r} (id {token_id}) is not in byte-level form and was not named as a special token"
    )

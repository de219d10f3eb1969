"""Tokenizers on disk: a directory of a few files, and the vocabulary files of GPT-2.

    vocab.json           {"Ġthe": 278, ...}: ordinary tokens in printable form (see `alphabet`), or characters
    merges.txt           "#version: 0.2", then one merge a line, best first; absent for characters
    chat_template.json   how conversations become ids, if it has a template
    tokenizer.json       in place of the first two: a vocabulary of another kind, see `foreign`
    special_tokens.json  kind, pattern, {"<|endoftext|>": 4080, ...}, all settings, and the fingerprint of the whole

A directory is written whole or not at all. All that is read is checked, so a wrong file is one error with its name.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hornbook.config.chat import ChatTemplate
from hornbook.config.tokenizer import SPECIAL_TOKENS
from hornbook.errors import MissingExtraError, TokenizerError
from hornbook.storage.atomic import commit_directory, standing
from hornbook.tokenizer import foreign, hugging_face
from hornbook.tokenizer.alphabet import printable
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.chat_template import CHAT_TEMPLATE, read_beside
from hornbook.tokenizer.foreign import ForeignScheme
from hornbook.tokenizer.schemes import Scheme
from hornbook.tokenizer.special_tokens import SpecialTokens, Template, follows
from hornbook.tokenizer.vocabulary import (
    byte_pair_scheme,
    merge_lines,
    names_by_id,
    names_without_gaps,
    parse_object,
    read_text,
)

FORMAT = 2
"""Format 1, in which special tokens follow ordinary ones without gaps, is still written for what it can hold."""
VOCAB, MERGES, SPECIAL = "vocab.json", "merges.txt", "special_tokens.json"
HUGGING_FACE = "tokenizer.json"
_OURS = {VOCAB, MERGES, SPECIAL, CHAT_TEMPLATE, HUGGING_FACE}
ADDED = "added_tokens.json"
"""Beside vocab.json in GPT-2's form: which of its names are special, with their ids."""


class Loaded(NamedTuple):
    """What a file or directory says of a tokenizer."""

    scheme: Scheme
    special: SpecialTokens
    fingerprint: str | None = None
    """What it was when it was saved, if the files tell."""
    chat_template: ChatTemplate | None = None


def contents(scheme: Scheme, special: SpecialTokens, fingerprint: str) -> dict[str, str]:
    """The files of a tokenizer's directory: name -> text."""
    about: dict[str, object] = {"format": _format_needed(scheme, special), "kind": scheme.kind}
    files = {}
    if isinstance(scheme, ForeignScheme):
        files[HUGGING_FACE] = scheme.definition
    elif isinstance(scheme, CharacterScheme):
        files[VOCAB] = _json_text(scheme.ids)
    else:
        files[VOCAB], files[MERGES] = _json_text(_printable_ids(scheme)), _merge_lines(scheme)
        about["pattern"] = scheme.pattern
        about["whole_words_first"] = scheme.whole_words_first
        about["normalizer"] = scheme.normalizer
        if about["format"] != 1:
            about["by_rank"] = scheme.by_rank
            about["drops_bytes"] = scheme.drops_bytes
    about["special_tokens"] = special.ids
    if about["format"] != 1:
        about["added_tokens"] = special.added
        about["normalized_tokens"] = sorted(special.normalized)
        about["template"] = special.template._asdict()
        about["flags"] = special.flags
    about["fingerprint"] = fingerprint
    return {**files, SPECIAL: _json_text(about)}


def gpt2_files(scheme: BytePairScheme, special: SpecialTokens) -> dict[str, str]:
    """The same in GPT-2's form, name -> text: the vocabulary holds special tokens, too, and nothing names a pattern.

    Raises:
        TokenizerError: if that form would not give the same ids, or a special token has the name of an ordinary one.
    """
    refusals = {
        f"text is brought to the form {scheme.normalizer} first": scheme.normalizer is not None,
        "bytes of text have no id": scheme.drops_bytes,
        "added tokens count in any text": bool(special.added),
        "names swallow white space or are words of their own": bool(special.flags),
        "its words become tokens that merging does not reach": scheme.whole_words_first and any(scheme.unreached()),
    }
    if reasons := [reason for reason, applies in refusals.items() if applies]:
        raise TokenizerError(f"{VOCAB} and {MERGES} cannot hold this vocabulary: {reasons[0]}; write a {HUGGING_FACE}")
    vocabulary = _printable_ids(scheme)
    hugging_face.check_names(special.ids, vocabulary, VOCAB)
    return {
        VOCAB: _json_text({**vocabulary, **special.ids}),
        MERGES: _merge_lines(scheme),
        ADDED: _json_text(special.ids),
    }


def _printable_ids(scheme: BytePairScheme) -> dict[str, int]:
    return {printable(token): i for token, i in scheme.ids.items()}


def _merge_lines(scheme: BytePairScheme) -> str:
    written = ["" if token is None else printable(token) for token in scheme.tokens]
    lines = [f"{written[left]} {written[right]}" for left, right in scheme.merges]
    return "\n".join(["#version: 0.2", *lines]) + "\n"


def _format_needed(scheme: Scheme, special: SpecialTokens) -> int:
    if isinstance(scheme, ForeignScheme):
        return FORMAT
    plain = None not in scheme.tokens and follows(special.ids, len(scheme.tokens))
    if isinstance(scheme, BytePairScheme):
        plain = plain and -1 not in scheme.byte_ids and not scheme.by_rank
    return 1 if plain and special.is_plain else FORMAT


def save(files: Mapping[str, str], directory: Path, *, overwrite: bool = False) -> None:
    """Write the files of `contents` as a directory; the same files standing there already are left alone.

    Raises:
        TokenizerError: if another tokenizer stands there and `overwrite` is false, or anything but a tokenizer does.
        StorageError: if the disk refuses.
    """
    check_place(directory)
    if directory.exists():
        present = {path.name: path.read_bytes() for path in directory.iterdir()}
        if present == {name: text.encode() for name, text in files.items()}:
            return
        if present and not overwrite:
            raise another_tokenizer(directory)
    with commit_directory(directory, replace=True) as temporary:
        for name, text in files.items():
            (temporary / name).write_bytes(text.encode())


def check_place(directory: Path) -> None:
    """Refuse a place for a tokenizer where anything but a tokenizer stands.

    Raises:
        TokenizerError: if it does.
    """
    if not directory.exists():
        return
    if not directory.is_dir() or {path.name for path in directory.iterdir()} - _OURS:
        raise TokenizerError(f"{directory}: exists and is not a tokenizer; choose another directory")


def another_tokenizer(directory: Path, how: str = "") -> TokenizerError:
    """The error that a different tokenizer stands there; `how` it differs, if that is known."""
    return TokenizerError(
        f"{directory}: holds another tokenizer already{how}; choose another directory, or overwrite it "
        "(on the command line: --force)"
    )


def load(path: Path) -> Loaded:
    """Read a tokenizer's directory, a tokenizer.json, or a directory with vocab.json and merges.txt.

    Raises:
        TokenizerError: if the files are missing, damaged or need something that we do not do.
    """
    path = standing(path)
    if path.is_file():
        return Loaded(*_parsed(read_text(path), str(path)))
    if not path.is_dir():
        raise TokenizerError(f"{path}: no such tokenizer; expected a directory with {VOCAB}, or a {HUGGING_FACE}")
    if os.path.lexists(path / SPECIAL) and not _lists_ids_alone(path / SPECIAL):
        return _load_ours(path)._replace(chat_template=read_beside(path))
    if (path / HUGGING_FACE).is_file():
        return load(path / HUGGING_FACE)
    if (path / VOCAB).is_file() and (path / MERGES).is_file():
        return load_gpt2(path / VOCAB, path / MERGES, _names_among(path))
    raise TokenizerError(f"{path}: holds no tokenizer; expected {VOCAB}, {MERGES} and {SPECIAL}, or {HUGGING_FACE}")


def _parsed(text: str, where: str) -> tuple[Scheme, SpecialTokens]:
    """A tokenizer.json: by our own means if they can, else by the library `tokenizers`."""
    try:
        return hugging_face.parse(text, where)
    except hugging_face.UnsupportedError as error:
        try:
            return foreign.parse(text, where)
        except MissingExtraError as missing:
            raise TokenizerError(f"{error}; or {missing}") from None


def load_gpt2(
    vocab: Path, merges: Path, special_tokens: Sequence[str] | Mapping[str, int], *, pattern: str = "gpt2"
) -> Loaded:
    """Read GPT-2's form, in which the vocabulary may hold special tokens.

    Names that it does not hold get the ids that are given with them, or those that follow all others.

    Raises:
        TokenizerError: if a file is missing or damaged, or the two do not belong together.
    """
    if isinstance(special_tokens, str):
        raise TokenizerError(f"special tokens: got {special_tokens!r}; expected a list of names, [{special_tokens!r}]")
    entries = parse_object(read_text(vocab), str(vocab))
    given = special_tokens if isinstance(special_tokens, Mapping) else {}
    special: dict[str, object] = {name: entries.pop(name) for name in special_tokens if name in entries}
    special |= {name: i for name, i in given.items() if name not in special}
    ordinary, names = names_by_id(entries, str(vocab)), names_by_id(special, str(vocab))
    first = max(len(ordinary), len(names))
    ids = {name: i for i, name in enumerate(names) if name is not None}
    ids |= {name: first + i for i, name in enumerate(name for name in special_tokens if name not in ids)}
    scheme = byte_pair_scheme(ordinary, merge_lines(merges), str(vocab), pattern=pattern)
    return Loaded(scheme, SpecialTokens(ids))


def _names_among(path: Path) -> Sequence[str] | dict[str, int]:
    """The special tokens of a directory in GPT-2's form: those that it lists, or else those with names that we know."""
    for file in (path / ADDED, path / SPECIAL):
        if file.is_file():
            names = names_by_id(parse_object(read_text(file), str(file)), str(file))
            return {name: i for i, name in enumerate(names) if name is not None}
    written = parse_object(read_text(path / VOCAB), str(path / VOCAB))
    return [name for name in SPECIAL_TOKENS["chat"] if name in written]


def _lists_ids_alone(file: Path) -> bool:
    """Whether a special_tokens.json is that of another project, {"<|endoftext|>": 50256}, and says nothing else."""
    about = parse_object(read_text(file), str(file))
    return bool(about) and all(type(value) is int for value in about.values()) and "format" not in about


def _load_ours(path: Path) -> Loaded:
    where, where_special = str(path / VOCAB), str(path / SPECIAL)
    about = parse_object(read_text(path / SPECIAL), where_special)
    match about:
        case {"format": int(found)} if found not in range(1, FORMAT + 1):
            raise TokenizerError(
                f"{where_special}: format {found}; this version of hornbook reads format {FORMAT} and below"
            )
        case {"format": int(found), "kind": kind, "special_tokens": dict(special), "fingerprint": str(fingerprint)}:
            pass
        case _:
            raise TokenizerError(f"{where_special}: expected format, kind, special_tokens and fingerprint")
    specials = _special_tokens(about, where_special)
    if kind == "foreign":
        where = str(path / HUGGING_FACE)
        return Loaded(foreign.ForeignScheme(read_text(path / HUGGING_FACE), where), specials, fingerprint)
    entries = parse_object(read_text(path / VOCAB), where)
    if found == 1:
        ordinary: Sequence[str | None] = names_without_gaps(entries, where)
        names_without_gaps(special, where_special, first=len(ordinary))
    else:
        ordinary = names_by_id(entries, where)
    match about:
        case {"kind": "characters"}:
            return Loaded(_characters(ordinary, where), specials, fingerprint)
        case {
            "kind": "bpe",
            "pattern": str(pattern),
            "whole_words_first": bool(whole_words_first),
            "normalizer": None | "NFC" as normalizer,
        }:
            scheme = byte_pair_scheme(
                ordinary,
                None if about.get("by_rank") is True else merge_lines(path / MERGES),
                where,
                pattern=pattern,
                whole_words_first=whole_words_first,
                normalizer=normalizer,
                drops_bytes=about.get("drops_bytes") is True,
            )
            return Loaded(scheme, specials, fingerprint)
    raise TokenizerError(
        f"{where_special}: kind = {kind!r}: expected 'characters', 'foreign', or 'bpe' with its pattern"
    )


def _special_tokens(about: Mapping[str, object], where: str) -> SpecialTokens:
    """What special_tokens.json says of them; format 1 knows nothing but names with ids."""
    plain = {"added_tokens": {}, "normalized_tokens": [], "template": {"before": [], "after": []}, "flags": {}}
    match {**plain, **about}:
        case {
            "special_tokens": dict(special),
            "added_tokens": dict(added),
            "normalized_tokens": list(normalized),
            "template": {"before": list(before), "after": list(after)},
            "flags": dict(flags),
        } if _are_names(normalized, before, after, *flags.values()):
            pass
        case _:
            raise TokenizerError(f"{where}: added_tokens, normalized_tokens, template or flags is damaged")
    names_by_id(special, where)
    names_by_id(added, where)
    try:
        template = Template(tuple(before), tuple(after))
        return SpecialTokens(special, added=added, normalized=normalized, template=template, flags=flags)
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}") from error


def _are_names(*values: object) -> bool:
    """Whether each of these JSON values is a list of strings."""
    return all(isinstance(value, list) and all(isinstance(name, str) for name in value) for value in values)


def _characters(names: Sequence[str | None], where: str) -> CharacterScheme:
    try:
        return CharacterScheme([name or "" for name in names])
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}") from error


def _json_text(value: Mapping[str, object] | Mapping[str, int]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"

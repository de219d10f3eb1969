"""Tokenizers on disk: a directory of three files, and the vocabulary files of GPT-2.

    vocab.json           {"Ġthe": 278, ...}: ordinary tokens in printable form (see `alphabet`), or characters
    merges.txt           "#version: 0.2", then one merge a line, best first; absent for characters
    special_tokens.json  kind, pattern, {"<|endoftext|>": 4080, ...}, and the fingerprint of the whole

A directory is written whole or not at all. All that is read is checked, so a wrong file is one error with its name.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hornbook.config.tokenizer import SPECIAL_TOKENS
from hornbook.errors import TokenizerError
from hornbook.storage.atomic import commit_directory, standing
from hornbook.tokenizer import hugging_face
from hornbook.tokenizer.alphabet import printable
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.vocabulary import byte_pair_scheme, merge_lines, names_by_id, parse_object, read_text

FORMAT = 1
VOCAB, MERGES, SPECIAL = "vocab.json", "merges.txt", "special_tokens.json"
HUGGING_FACE = "tokenizer.json"


class Loaded(NamedTuple):
    """What a file or directory says of a tokenizer."""

    scheme: BytePairScheme | CharacterScheme
    special_tokens: dict[str, int]
    fingerprint: str | None = None
    """What it was when it was saved, if the files tell."""


def contents(
    scheme: BytePairScheme | CharacterScheme, special_tokens: Mapping[str, int], fingerprint: str
) -> dict[str, str]:
    """The files of a tokenizer's directory: name -> text."""
    about: dict[str, object] = {"format": FORMAT, "kind": scheme.kind}
    if isinstance(scheme, CharacterScheme):
        files = {VOCAB: _json_text(scheme.ids)}
    else:
        written = [printable(token) for token in scheme.tokens]
        lines = [f"{written[left]} {written[right]}" for left, right in scheme.merges]
        files = {
            VOCAB: _json_text({token: i for i, token in enumerate(written)}),
            MERGES: "\n".join(["#version: 0.2", *lines]) + "\n",
        }
        about["pattern"] = scheme.pattern
        about["whole_words_first"] = scheme.whole_words_first
        about["normalizer"] = scheme.normalizer
    about["special_tokens"] = dict(special_tokens)
    about["fingerprint"] = fingerprint
    return {**files, SPECIAL: _json_text(about)}


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
    if not directory.is_dir() or {path.name for path in directory.iterdir()} - {VOCAB, MERGES, SPECIAL}:
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
        return Loaded(*hugging_face.parse(read_text(path), str(path)))
    if not path.is_dir():
        raise TokenizerError(f"{path}: no such tokenizer; expected a directory with {VOCAB}, or a {HUGGING_FACE}")
    if (path / SPECIAL).is_file():
        return _load_ours(path)
    if (path / HUGGING_FACE).is_file():
        return load(path / HUGGING_FACE)
    if (path / VOCAB).is_file() and (path / MERGES).is_file():
        written = parse_object(read_text(path / VOCAB), str(path / VOCAB))
        return load_gpt2(path / VOCAB, path / MERGES, [name for name in SPECIAL_TOKENS["chat"] if name in written])
    raise TokenizerError(f"{path}: holds no tokenizer; expected {VOCAB}, {MERGES} and {SPECIAL}, or {HUGGING_FACE}")


def load_gpt2(vocab: Path, merges: Path, special_tokens: Sequence[str], *, pattern: str = "gpt2") -> Loaded:
    """Read GPT-2's form, in which the vocabulary may hold special tokens; those that it does not hold follow it.

    Raises:
        TokenizerError: if a file is missing or damaged, or the two do not belong together.
    """
    entries = parse_object(read_text(vocab), str(vocab))
    held = {name: entries.pop(name) for name in special_tokens if name in entries}
    ordinary = names_by_id(entries, str(vocab))
    special = names_by_id(held, str(vocab), first=len(ordinary))
    special += [name for name in special_tokens if name not in held]
    scheme = byte_pair_scheme(ordinary, merge_lines(merges), str(vocab), pattern=pattern)
    return Loaded(scheme, {name: len(ordinary) + i for i, name in enumerate(special)})


def _load_ours(path: Path) -> Loaded:
    where, where_special = str(path / VOCAB), str(path / SPECIAL)
    about = parse_object(read_text(path / SPECIAL), where_special)
    match about:
        case {"format": int(found)} if found != FORMAT:
            raise TokenizerError(f"{where_special}: format {found}; this version of hornbook reads format {FORMAT}")
        case {"format": int(), "kind": kind, "special_tokens": dict(special), "fingerprint": str(fingerprint)}:
            pass
        case _:
            raise TokenizerError(f"{where_special}: expected format, kind, special_tokens and fingerprint")
    ordinary = names_by_id(parse_object(read_text(path / VOCAB), where), where)
    first = len(ordinary)
    special_ids = {name: first + i for i, name in enumerate(names_by_id(special, where_special, first=first))}
    match about:
        case {"kind": "characters"}:
            return Loaded(_characters(ordinary, where), special_ids, fingerprint)
        case {
            "kind": "bpe",
            "pattern": str(pattern),
            "whole_words_first": bool(whole_words_first),
            "normalizer": None | "NFC" as normalizer,
        }:
            scheme = byte_pair_scheme(
                ordinary,
                merge_lines(path / MERGES),
                where,
                pattern=pattern,
                whole_words_first=whole_words_first,
                normalizer=normalizer,
            )
            return Loaded(scheme, special_ids, fingerprint)
    raise TokenizerError(f"{where_special}: kind = {kind!r}: expected 'characters', or 'bpe' with its pattern")


def _characters(names: Sequence[str], where: str) -> CharacterScheme:
    try:
        return CharacterScheme(names)
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}") from error


def _json_text(value: Mapping[str, object] | Mapping[str, int]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"

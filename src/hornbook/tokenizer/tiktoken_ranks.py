"""OpenAI's .tiktoken files: one token a line, base64 of its bytes and its rank, which is its id.

Such a file lists no merges: any two neighbours merge whose bytes together are a token, the lowest rank first and the
leftmost among equals. So every way to split a token into two tokens is a merge of its rank. A word that is a token
becomes it without merging. Neither the splitting pattern nor special tokens are in the file; those of OpenAI's own
encodings are known by name.
Source: https://github.com/openai/tiktoken/blob/main/tiktoken/load.py and tiktoken_ext/openai_public.py
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hornbook.errors import TokenizerError
from hornbook.tokenizer.byte_pair import BytePairScheme, joining_pairs
from hornbook.tokenizer.vocabulary import names_by_id


class Encoding(NamedTuple):
    """What tiktoken knows of an encoding beside its ranks."""

    pattern: str
    special_tokens: Mapping[str, int]


ENCODINGS: dict[str, Encoding] = {
    "r50k_base": Encoding("gpt2", {"<|endoftext|>": 50256}),
    "p50k_base": Encoding("gpt2", {"<|endoftext|>": 50256}),
    "cl100k_base": Encoding(
        "cl100k",
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Encoding("o200k", {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
}


def known_encoding(path: Path) -> Encoding:
    """The encoding that a file's name speaks of, such as cl100k_base.tiktoken.

    Raises:
        TokenizerError: if it is none that we know.
    """
    if path.stem not in ENCODINGS:
        raise TokenizerError(
            f"{path}: a .tiktoken file does not say how text was split, and the name is none of "
            f"{', '.join(ENCODINGS)}; give the pattern (on the command line: --pattern)"
        )
    return ENCODINGS[path.stem]


def load_ranks(path: Path, *, pattern: str, special_ids: Iterable[int] = ()) -> BytePairScheme:
    """The vocabulary of a .tiktoken file, for text split by `pattern`.

    Args:
        path: the file.
        pattern: see `patterns`.
        special_ids: ids of special tokens; other gaps between the ranks mean that the file is damaged.

    Raises:
        TokenizerError: if a line is not base64 and a number, or the ranks have gaps.
    """
    ranks: dict[str, object] = {}
    try:
        lines = path.read_bytes().splitlines()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise TokenizerError(f"{path}: no such file; expected a .tiktoken file") from error
    for number, line in enumerate(lines, start=1):
        if line:
            token, rank = _parse(line, f"{path} line {number}")
            if token in ranks:
                raise TokenizerError(f"{path} line {number}: {line!r} is there twice; expected each token once")
            ranks[token] = rank
    tokens = [None if name is None else name.encode("latin-1") for name in names_by_id(ranks, str(path))]
    if gaps := {i for i, token in enumerate(tokens) if token is None} - set(special_ids):
        raise TokenizerError(
            f"{path}: no token has the id {min(gaps)}; expected ranks without gaps but for special tokens"
        )
    try:
        return BytePairScheme(tokens, None, pattern=pattern, whole_words_first=True)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error


def dump_ranks(scheme: BytePairScheme) -> str:
    """The text of a .tiktoken file, which holds neither the pattern nor special tokens.

    Raises:
        TokenizerError: if ranks alone would not give the same ids for every text.
    """
    if reason := _not_ranks(scheme):
        raise TokenizerError(f".tiktoken holds nothing but ranks, so it cannot hold this vocabulary: {reason}")
    written = (
        f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(scheme.tokens) if token is not None
    )
    return "\n".join(written) + "\n"


def _not_ranks(scheme: BytePairScheme) -> str | None:
    """Why a vocabulary is not given by the ids of its tokens; None if it is.

    Merging must go in the order of the ids, and each token must be what its bytes merge to. Then any neighbours that
    make up a token are those that it was made of when it was learnt, since nothing merged across their ends.
    """
    if scheme.normalizer is not None:
        return f"text is brought to the form {scheme.normalizer} first"
    if missing := [byte for byte, i in enumerate(scheme.byte_ids) if i < 0]:
        return f"the byte 0x{missing[0]:02x} has no id"
    if scheme.by_rank:
        return None
    made = scheme.joined.tolist()
    if made != sorted(made):
        return "its merges are not in the order of the ids of what they make"
    if scheme.whole_words_first and scheme.merge_table.keys() == joining_pairs(scheme.ids).keys():
        return None
    unreached = next(scheme.unreached(), None)
    return None if unreached is None else f"the token {unreached!r} is not what its bytes merge to"


def _parse(line: bytes, where: str) -> tuple[str, int]:
    """A token, as Latin-1 text that is the key of a JSON-like object, and its rank."""
    written, _, rank = line.partition(b" ")
    try:
        token = binascii.a2b_base64(written, strict_mode=True)
        if token:
            return token.decode("latin-1"), int(rank)
    except ValueError:
        pass
    shown = line.decode(errors="replace")
    raise TokenizerError(f"{where}: got {shown!r:.80}; expected base64 and a rank with a blank between")

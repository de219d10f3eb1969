"""OpenAI's .tiktoken files: one token a line, base64 of its bytes and its rank, which is its id.

Such a file lists no merges: any two neighbours merge whose bytes together are a token, the lowest rank first. So every
way to split a token into two tokens is a merge of its rank. A word that is a token becomes it without merging.
Source: https://github.com/openai/tiktoken/blob/main/tiktoken/load.py
"""

import base64
import binascii
from pathlib import Path

from hornbook.errors import TokenizerError
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.reference import Pair
from hornbook.tokenizer.vocabulary import names_by_id, read_text


def load_ranks(path: Path, *, pattern: str) -> BytePairScheme:
    """The vocabulary of a .tiktoken file, for text split by `pattern`.

    Raises:
        TokenizerError: if a line is not base64 and a number, or the ranks have gaps.
    """
    ranks: dict[str, object] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line:
            token, rank = _parse(line, f"{path} line {number}")
            ranks[token.decode("latin-1")] = rank
    tokens = [name.encode("latin-1") for name in names_by_id(ranks, str(path))]
    try:
        return BytePairScheme(tokens, _all_merges(tokens), pattern=pattern, whole_words_first=True)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error


def _parse(line: str, where: str) -> tuple[bytes, int]:
    token, _, rank = line.partition(" ")
    try:
        return base64.b64decode(token, validate=True), int(rank)
    except (binascii.Error, ValueError) as error:
        raise TokenizerError(f"{where}: got {line!r:.80}; expected base64 and a rank with a blank between") from error


def _all_merges(tokens: list[bytes]) -> list[Pair]:
    ids = {token: i for i, token in enumerate(tokens)}
    merges: list[Pair] = []
    for token in tokens:
        splits = ((token[:i], token[i:]) for i in range(1, len(token)))
        merges += sorted((ids[left], ids[right]) for left, right in splits if left in ids and right in ids)
    return merges

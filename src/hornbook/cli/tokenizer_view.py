"""What `hornbook tokenizer` shows: words and colours for people, JSON lines for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hornbook.tokenizer.tokenizer import Tokenizer

LONGEST_SHOWN = 10
_COLOURS = ("on blue", "on green", "on magenta", "on cyan", "on red")


def show_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """What a tokenizer is."""
    from hornbook.tokenizer.byte_pair import BytePairScheme
    from hornbook.tracking.console import emit, speaks_to_people

    scheme = tokenizer.scheme
    facts: dict[str, object] = {
        "path": str(path),
        "kind": scheme.kind,
        "vocab_size": tokenizer.vocab_size,
        "pattern": scheme.pattern if isinstance(scheme, BytePairScheme) else None,
        "special_tokens": tokenizer.special_tokens,
        "longest_tokens": longest_tokens(tokenizer),
        "fingerprint": tokenizer.fingerprint,
    }
    if speaks_to_people():
        for name, value in facts.items():
            print(f"{name:<16}{value}")
    emit("tokenizer", console="auto", **facts)


def show_tokens(tokenizer: Tokenizer, ids: Sequence[int], where: str) -> None:
    """The tokens of a text, coloured, with their ids; bytes that are no whole character as \\x.. ."""
    from hornbook.tracking.console import emit, speaks_to_people

    pieces = [tokenizer.token_bytes(i) for i in ids]
    if speaks_to_people():
        from rich.console import Console
        from rich.text import Text

        line = Text()
        for n, (i, piece) in enumerate(zip(ids, pieces, strict=True)):
            line.append(_shown(piece), style=f"white {_COLOURS[n % len(_COLOURS)]}")
            line.append(f"{i} ", style="dim")
        Console().print(line)
        print(f"{where}: {sum(map(len, pieces)):,} bytes, {len(ids):,} tokens")
    special, start = set(tokenizer.special_tokens.values()), 0
    for i, piece in zip(ids, pieces, strict=True):
        emit("token", source=where, id=i, text=_shown(piece), bytes=piece.hex(), start=start, special=i in special)
        start += len(piece)


def show_comparison(tokenizers: Mapping[str, Tokenizer], data: bytes) -> None:
    """Sizes, shared tokens and, on a text, bytes per token."""
    from hornbook.tracking.console import emit, speaks_to_people

    one, two = tokenizers.values() if len(tokenizers) == 2 else [*tokenizers.values()] * 2  # the same path twice
    facts: dict[str, object] = {
        "same_ids": one.fingerprint == two.fingerprint,
        "vocab_sizes": [one.vocab_size, two.vocab_size],
        "shared_tokens": len(set(one.scheme.tokens) & set(two.scheme.tokens)),
        "bytes_per_token": [round(len(data) / len(t.encode_bytes(data)), 3) for t in (one, two)] if data else None,
    }
    if speaks_to_people():
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<16}{value}")
    emit("compare", console="auto", **facts)


def longest_tokens(tokenizer: Tokenizer) -> list[str]:
    """The longest ordinary tokens, longest first."""
    longest = sorted(tokenizer.scheme.tokens, key=lambda token: (-len(token), token))
    return [_shown(token) for token in longest[:LONGEST_SHOWN]]


def _shown(token: bytes) -> str:
    text = token.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

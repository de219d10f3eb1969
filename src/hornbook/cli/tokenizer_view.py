"""What `hornbook tokenizer` shows: words and colours for people, JSON lines for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.errors import TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from hornbook.config.run import Config
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tokenizer.train import TrainProgress
    from hornbook.tracking.console import ConsoleChoice
    from hornbook.tracking.progress import Progress

LONGEST_SHOWN = 10
_COLOURS = ("on blue", "on green", "on magenta", "on cyan", "on red")


class TrainBars:
    """One progress bar for each phase of training."""

    def __init__(self, console: ConsoleChoice) -> None:
        self._console = console
        self._phase: str | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.finish()

    def show(self, progress: TrainProgress) -> None:
        """The callback of `Tokenizer.train`."""
        from hornbook.tracking.progress import Progress

        if self._bar is None or progress.phase != self._phase:
            if self._bar is not None:
                self._bar.finish()
            unit = {"count": "bytes", "merge": "merges"}[progress.phase]
            self._bar = Progress(f"tokenizer {progress.phase}", unit=unit, console=self._console).start()
            self._phase = progress.phase
        self._bar.update(progress.done, progress.total)


def show_trained(tokenizer: Tokenizer, config: Config, numbers: Mapping[str, float | int | None]) -> None:
    """The result of training; says so where the text had fewer pairs to merge than asked for."""
    from hornbook.tracking.console import emit, speaks_to_people

    asked, longest = config.tokenizer.vocab_size, longest_tokens(tokenizer)
    short = config.tokenizer.kind == "bpe" and tokenizer.vocab_size < asked
    if speaks_to_people(config.tracking.console):
        print(f"{config.tokenizer.path}: {tokenizer.vocab_size:,} ids from {numbers['documents']:,} documents")
        if short:
            print(f"  fewer than the {asked:,} asked for: every word of the text is one token already")
        print(f"  {numbers['bytes_per_token']} bytes per token on the beginning of the text; {numbers['seconds']} s")
        print(f"  longest tokens: {' '.join(map(repr, longest))}")
    emit(
        "tokenizer",
        console=config.tracking.console,
        path=str(config.tokenizer.path),
        kind=config.tokenizer.kind,
        vocab_size=tokenizer.vocab_size,
        vocab_size_asked=asked if config.tokenizer.kind == "bpe" else None,
        fingerprint=tokenizer.fingerprint,
        longest_tokens=longest,
        **numbers,
    )


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


def rows_of_ids(lines: Iterable[str]) -> Iterator[list[int]]:
    """Ids of each line: numbers with blanks or commas between, a JSON list, or what `encode` writes.

    Raises:
        TokenizerError: naming the line that is none of these.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line) if line.lstrip().startswith(("{", "[")) else line.replace(",", " ").split()
            yield [int(i) for i in (value["ids"] if isinstance(value, dict) else value)]
        except (ValueError, KeyError, TypeError) as error:
            raise TokenizerError(
                f"stdin line {number}: got {line.strip()!r:.60}; expected ids such as 15496 11 995"
            ) from error


def _shown(token: bytes) -> str:
    text = token.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

"""What `hornbook tokenizer compare` says: tables for people, JSON lines for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli.token_text import quoted, visible
from hornbook.cli.tokenizer_view import longest_of, longest_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from hornbook.cli.tokenizer_compare import Compared, Kind
    from hornbook.tokenizer.comparison import Measured

EXAMPLES = 20
"""Tokens that are named of those that only one tokenizer has."""

Figure = tuple[float | None, str]
"""A number to compare by, and how it is written."""


def show(compared: Sequence[Compared], kinds: Sequence[Kind], skipped: Sequence[str]) -> None:
    """All of it."""
    from hornbook.tracking.console import speaks_to_people

    if speaks_to_people():
        from rich.console import Console

        _print(Console(), compared, kinds, skipped)
    else:
        emit_all(compared, kinds, skipped)


def emit_all(compared: Sequence[Compared], kinds: Sequence[Kind], skipped: Sequence[str]) -> None:
    """A line for each tokenizer, then a line for each tokenizer on each kind of text."""
    from hornbook.tracking.console import emit

    for one in compared:
        emit(
            "tokenizer",
            name=one.name,
            path=one.path,
            kind=one.tokenizer.scheme.kind,
            vocab_size=one.tokenizer.vocab_size,
            fingerprint=one.tokenizer.fingerprint,
            same_ids_as=one.same_as,
            unused=one.n_unused,
            unused_share=round(one.n_unused / one.n_ordinary, 4),
            only_here=len(one.only_here),
            only_here_examples=[visible(token) for token in one.only_here[:EXAMPLES]],
            longest_tokens=longest_tokens(one.tokenizer),
            digits=one.coverage.digits,
            spaces=one.coverage.spaces,
            tabs=one.coverage.tabs,
            newlines=one.coverage.newlines,
        )
    for kind in kinds:
        for one in compared:
            measured = one.measured[kind.name]
            emit(
                "compare",
                tokenizer=one.name,
                text=kind.name,
                group=kind.group,
                n_bytes=kind.size.n_bytes,
                n_characters=kind.size.n_characters,
                n_words=kind.size.n_words,
                n_tokens=measured.n_tokens,
                bytes_per_token=_rounded(measured.bytes_per_token),
                tokens_per_word=_rounded(measured.tokens_per_word),
                tokens_per_character=_rounded(measured.tokens_per_character),
                comes_back=measured.comes_back,
                error=measured.error,
            )
    for message in skipped:
        emit("skipped", message=message)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _print(console: Console, compared: Sequence[Compared], kinds: Sequence[Kind], skipped: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    for title, rows in tables(compared, kinds):
        console.print(Text(f"\n{title}", "bold"))
        table = Table()
        table.add_column("")
        for one in compared:
            table.add_column(Text(one.name), justify="right", overflow="fold")
        for name, figures in rows:
            best = best_of(figures)
            cells = [Text(text, "bold green" if value == best else "") for value, text in figures]
            table.add_row(Text(name), *cells)
        console.print(table)
    console.print(Text("\nthe tokenizers", "bold"))
    facts = Table()
    facts.add_column("")
    for one in compared:
        facts.add_column(Text(one.name), overflow="fold")
    for name, texts in fact_rows(compared):
        facts.add_row(name, *map(Text, texts))
    console.print(facts)
    for note in notes(compared, kinds, skipped):
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def tables(compared: Sequence[Compared], kinds: Sequence[Kind]) -> list[tuple[str, list[tuple[str, list[Figure]]]]]:
    """Tables of numbers: title, and rows of a kind's name with a figure for each tokenizer."""
    languages = [kind for kind in kinds if kind.group == "language"]
    english = languages[0].name

    def relative(one: Compared, measured: Measured) -> float | None:
        base = one.measured[english].n_tokens
        return measured.n_tokens / base if base and measured.n_tokens else None

    with_words = [kind for kind in kinds if kind.size.has_words]
    return [
        ("bytes per token: more is better", _rows(compared, kinds, lambda _, m: m.bytes_per_token)),
        ("tokens per word: fewer is better", _rows(compared, with_words, lambda _, m: m.tokens_per_word, sign=-1)),
        (
            f"tokens of the same few sentences, {english} = 1: fewer is better",
            _rows(compared, languages[1:], relative, sign=-1),
        ),
    ]


def _rows(
    compared: Sequence[Compared],
    kinds: Sequence[Kind],
    number: Callable[[Compared, Measured], float | None],
    sign: int = 1,
) -> list[tuple[str, list[Figure]]]:
    rows = []
    for kind in kinds:
        figures: list[Figure] = []
        for one in compared:
            measured = one.measured[kind.name]
            value = number(one, measured)
            mark = "" if measured.comes_back or measured.error else " ≠"
            figures.append((None if value is None else sign * value, "-" if value is None else f"{value:.2f}{mark}"))
        rows.append((kind.name, figures))
    return rows


def best_of(figures: Sequence[Figure]) -> float | None:
    """The greatest number of a row, if there is anything to compare it with."""
    values = [value for value, _ in figures if value is not None]
    return max(values) if len(set(values)) > 1 else None


def fact_rows(compared: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    """What is said of each tokenizer itself, in words."""
    return [
        ("ids", [f"{one.tokenizer.vocab_size:,}" for one in compared]),
        ("special tokens", [f"{len(one.tokenizer.special_tokens):,}" for one in compared]),
        ("split by", [getattr(one.tokenizer.scheme, "pattern", "characters") for one in compared]),
        ("unused here", [f"{one.n_unused:,} ({one.n_unused / one.n_ordinary:.0%})" for one in compared]),
        ("only in this one", [f"{len(one.only_here):,}" if len(compared) > 1 else "-" for one in compared]),
        ("same ids as", [", ".join(one.same_as) or "-" for one in compared]),
        *(
            (
                f"numbers of {digits} digit{'s' * (digits > 1)}",
                [_share(one.coverage.digits[digits - 1]) for one in compared],
            )
            for digits in (1, 2, 3, 4)
        ),
        ("runs of blanks", [ranges(one.coverage.spaces) for one in compared]),
        ("runs of tabs", [ranges(one.coverage.tabs) for one in compared]),
        ("runs of line ends", [ranges(one.coverage.newlines) for one in compared]),
        ("longest tokens", ["\n".join(quoted(longest_of(one.tokenizer))) for one in compared]),
        (
            "only in this one, such as",
            ["  ".join(quoted(one.only_here[:EXAMPLES])) or "-" for one in compared],
        ),
    ]


def _share(share: float) -> str:
    return f"{share:.1%} one token".replace(".0%", "%") if share else "never one token"


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in rising order, runs of them shortened: 1..16, 20."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{low}..{high}" if low < high else f"{low}" for low, high in runs) or "never one token"


def notes(compared: Sequence[Compared], kinds: Sequence[Kind], skipped: Sequence[str]) -> list[str]:
    """What the tables leave unsaid."""
    said = [f"{one.name}: {one.path}" for one in compared]
    given = [kind for kind in kinds if kind.group == "given"]
    said += [
        f"{kind.name}: {len(kind.texts):,} text{'s' * (len(kind.texts) > 1)}, {kind.size.n_bytes:,} bytes, "
        f"{kind.size.n_words:,} words"
        for kind in given
    ]
    if not given:
        said.append("measured on built-in samples of a few hundred bytes; name texts of yours for numbers that count")
    if any(not kind.size.has_words for kind in kinds):
        said.append("words are what white space separates; texts without are left out of tokens per word")
    for kind in kinds:
        for one in compared:
            measured = one.measured[kind.name]
            if measured.error:
                said.append(f"- {one.name} cannot encode {kind.name}: {measured.error}")
            elif not measured.comes_back:
                said.append(f"≠ {one.name} gives back another text for {kind.name}: {_why_not(one)}")
    if skipped:
        said.append(f"left out {len(skipped):,} files that are not UTF-8, first {skipped[0]}")
    return said


def _why_not(one: Compared) -> str:
    scheme = one.tokenizer.scheme
    if normalizer := getattr(scheme, "normalizer", None):
        return f"it brings text to {normalizer} first"
    if getattr(scheme, "drops_bytes", False):
        return "it has no ids for some bytes and leaves them out"
    return "this is a mistake of its files or of ours"

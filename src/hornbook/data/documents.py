"""What every source gives, documents, and what every source does with bad input: one message, or one more count.

Documents travel in blocks of about a megabyte, since a call for each of a million documents would take longer than
tokenising them.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from hornbook.config.data import OnError
from hornbook.data.index import Skipped
from hornbook.errors import DataError


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Valid UTF-8 text, never empty, and where it comes from: `path:line`."""

    text: bytes
    where: str


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Documents that follow one another in one file."""

    texts: Sequence[bytes]
    """Valid UTF-8, none empty."""
    name: str
    """The file or table that they come from."""
    numbers: Sequence[int]
    """The line or row there, from 1, in which each begins."""

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, i: int) -> str:
        """The place that document i comes from, `path:line`."""
        return f"{self.name}:{self.numbers[i]}"

    def documents(self) -> Iterator[Document]:
        """One by one."""
        return (Document(text, f"{self.name}:{number}") for text, number in zip(self.texts, self.numbers, strict=True))


@dataclasses.dataclass
class SourceReport:
    """What has been read of a source so far."""

    documents: int = 0
    text_bytes: int = 0
    empty: int = 0
    """Records whose text is the empty string: they are no documents, and no errors either."""
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    """Bad input that was left out, by reason."""
    examples: dict[str, str] = dataclasses.field(default_factory=dict)
    """The first message of each reason."""

    @property
    def records(self) -> int:
        """Rows of a table that have been consumed, whatever became of them."""
        return self.documents + self.empty + sum(self.skipped.values())

    def skip(self, reason: str, message: str) -> None:
        """Count one piece of bad input."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        self.examples.setdefault(reason, message)

    def left_out(self) -> dict[str, Skipped]:
        """Bad input by reason, as an index holds it."""
        return {reason: Skipped(count=count, first=self.examples[reason]) for reason, count in self.skipped.items()}

    def add(self, other: "SourceReport") -> None:
        """Count what another report counts as well."""
        self.documents += other.documents
        self.text_bytes += other.text_bytes
        self.empty += other.empty
        for reason, count in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
            self.examples.setdefault(reason, other.examples[reason])

    def snapshot(self) -> "SourceReport":
        """A copy that later reading does not change."""
        return dataclasses.replace(self, skipped=dict(self.skipped), examples=dict(self.examples))


class Gate:
    """Counts good documents into a report, and turns bad input into an error or, if that was asked for, a count.

    Args:
        on_error: what becomes of bad input.
        report: what is counted into.
        max_documents: how many the report may count before reading ends; None for no limit.
    """

    def __init__(self, on_error: OnError, report: SourceReport, max_documents: int | None = None) -> None:
        self.report = report
        self._on_error: OnError = on_error
        self._max_documents = max_documents

    @property
    def is_full(self) -> bool:
        """Whether no more documents are wanted."""
        return self._max_documents is not None and self.report.documents >= self._max_documents

    def parts(self, count: int) -> Iterator[slice]:
        """`count` records as slices that cannot hold more documents than are wanted: without a limit, one slice.

        So nothing after the last wanted document is looked at, let alone refused.
        """
        start = 0
        while start < count and not self.is_full:
            room = count if self._max_documents is None else self._max_documents - self.report.documents
            yield slice(start, min(count, start + room))
            start += room

    def refuse(self, reason: str, message: str) -> None:
        """Bad input: `reason` in a few words to count by, `message` with the place and what to do.

        Raises:
            DataError: with the message, if bad input is to stop everything.
        """
        if self._on_error == "stop":
            raise DataError(f"{message}, or leave out what is broken: --on-error skip")
        self.report.skip(reason, message)

    def text_block(self, texts: Sequence[bytes], path: Path, lines: Sequence[int], offsets: Sequence[int]) -> Block:
        """The valid ones of raw texts, each with the line (from 1) and the byte (from 0) of the file it starts at."""
        errors = {i: error for i, text in enumerate(texts) if (error := utf8_error(text)) is not None}
        for i, error in errors.items():
            bad_line = lines[i] + texts[i].count(b"\n", 0, error.start)
            self.refuse(
                "invalid UTF-8",
                f"{path}:{bad_line}: byte 0x{texts[i][error.start]:02x} at offset {offsets[i] + error.start} is not "
                f"UTF-8 ({error.reason}); convert the file to UTF-8",
            )
        if errors:
            texts = [text for i, text in enumerate(texts) if i not in errors]
            lines = [line for i, line in enumerate(lines) if i not in errors]
        return self.block(texts, str(path), lines)

    def value_block(self, value: object, field: str, name: str, number: int) -> Block:
        """The text field of one record."""
        text = self.value_text(value, field, f"{name}:{number}")
        return self.block([] if text is None else [text], name, [number])

    def value_text(self, value: object, field: str, where: str) -> bytes | None:
        """The text field of a record as bytes, to be put into a block; None if it is none."""
        if not isinstance(value, str):
            self.refuse("field is not text", f"{where}: {field!r} is {_kind(value)}, expected text; name another field")
            return None
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            bad = ord(value[error.start])
            self.refuse("invalid Unicode", f"{where}: {field!r} holds half a character (U+{bad:04X}); mend the text")
            return None

    def missing_field(self, field: str, found: list[str], where: str) -> None:
        """A record without the text field."""
        self.refuse(
            "missing field",
            f"{where}: no field {field!r}, only {', '.join(map(repr, found)) or 'nothing'}; "
            "set data.source.text_field (--text-field)",
        )

    def block(self, texts: Sequence[bytes], name: str, numbers: Sequence[int]) -> Block:
        """Count valid texts; those of them that are not empty are documents."""
        if not all(texts):
            numbers = [number for text, number in zip(texts, numbers, strict=True) if text]
            self.report.empty += len(texts) - len(numbers)
            texts = [text for text in texts if text]
        self.report.documents += len(texts)
        self.report.text_bytes += sum(map(len, texts))
        return Block(texts, name, numbers)


def utf8_error(text: bytes) -> UnicodeDecodeError | None:
    """What is wrong with the bytes of a text; None if they are UTF-8."""
    if text.isascii():  # ten times faster than decoding
        return None
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"

"""What every source gives, documents, and what every source does with bad input: one message, or one more count."""

import dataclasses
from pathlib import Path

from hornbook.config.data import OnError
from hornbook.errors import DataError


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Valid UTF-8 text, never empty, and where it comes from: `path:line`."""

    text: bytes
    where: str


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
    """Counts good documents into a report, and turns bad input into an error or, if that was asked for, a count."""

    def __init__(self, on_error: OnError, report: SourceReport) -> None:
        self.report = report
        self._on_error: OnError = on_error

    def refuse(self, reason: str, message: str) -> None:
        """Bad input: `reason` in a few words to count by, `message` with the place and what to do.

        Raises:
            DataError: with the message, if bad input is to stop everything.
        """
        if self._on_error == "stop":
            raise DataError(f"{message}, or leave out what is broken: --on-error skip")
        self.report.skip(reason, message)

    def bytes_document(self, text: bytes, path: Path, *, line: int, offset: int) -> Document | None:
        """A document from raw bytes that start at `line` (from 1) and byte `offset` (from 0) of the file."""
        try:
            text.decode()
        except UnicodeDecodeError as error:
            bad_line = line + text.count(b"\n", 0, error.start)
            self.refuse(
                "invalid UTF-8",
                f"{path}:{bad_line}: byte 0x{text[error.start]:02x} at offset {offset + error.start} is not UTF-8 "
                f"({error.reason}); convert the file to UTF-8",
            )
            return None
        return self._document(text, f"{path}:{line}")

    def value_document(self, value: object, field: str, where: str) -> Document | None:
        """A document from the text field of a record."""
        if not isinstance(value, str):
            self.refuse("field is not text", f"{where}: {field!r} is {_kind(value)}, expected text; name another field")
            return None
        try:
            text = value.encode()
        except UnicodeEncodeError as error:
            bad = ord(value[error.start])
            self.refuse("invalid Unicode", f"{where}: {field!r} holds half a character (U+{bad:04X}); mend the text")
            return None
        return self._document(text, where)

    def missing_field(self, field: str, found: list[str], where: str) -> None:
        """A record without the text field."""
        self.refuse(
            "missing field",
            f"{where}: no field {field!r}, only {', '.join(map(repr, found)) or 'nothing'}; "
            "set data.source.text_field (--text-field)",
        )

    def _document(self, text: bytes, where: str) -> Document | None:
        if not text:
            self.report.empty += 1
            return None
        self.report.documents += 1
        self.report.text_bytes += len(text)
        return Document(text, where)


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"

"""What a preparation has durably done, so that it can go on after `kill -9`.

The data set is built in a directory beside its final one, DIR.partial. Files there only grow; at a commit they are
synced, and `journal.json` is replaced by one that says how long each of them is and how much of the input that is.
Whatever is longer after a crash is cut off. When everything is written the directory takes its final name.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from hornbook.data.documents import SourceReport
from hornbook.data.index import SplitName
from hornbook.data.shards import Written
from hornbook.errors import DataError
from hornbook.storage.atomic import replace_file

JOURNAL_FILE = "journal.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Journal:
    """One committed state."""

    plan: dict[str, object]
    """What is being made: a preparation of anything else must not go on from here."""
    stage: int = 0
    """Which of the sources is being read."""
    pieces: int = 0
    """Pieces of it that are in the files."""
    report: SourceReport = dataclasses.field(default_factory=SourceReport)
    """What had been read of it when the last of those came."""
    before: SourceReport = dataclasses.field(default_factory=SourceReport)
    """The sources before it, and the texts that could not be encoded."""
    splits: dict[SplitName, Written] = dataclasses.field(default_factory=dict)


def write_journal(directory: Path, journal: Journal) -> None:
    """Commit a state."""
    replace_file(directory / JOURNAL_FILE, json.dumps(dataclasses.asdict(journal)))


def read_journal(directory: Path) -> Journal | None:
    """The last committed state, or None if nothing was committed.

    Raises:
        DataError: if the file is damaged.
    """
    path = directory / JOURNAL_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return Journal(
            plan=content["plan"],
            stage=content["stage"],
            pieces=content["pieces"],
            report=SourceReport(**content["report"]),
            before=SourceReport(**content["before"]),
            splits={
                name: Written(**{**split, "full_shards": tuple(split["full_shards"])})
                for name, split in content["splits"].items()
            },
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); start over: --force") from None

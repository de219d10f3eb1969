"""Answers that a checkpoint has given, kept between processes: one SQLite file for each checkpoint and way to score.

What is kept is an answer by the digest of its request. A file that is damaged is begun anew; where nothing can be kept,
questions are asked again. Files that nobody has looked into for KEPT_DAYS are deleted.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from hornbook.evaluation.requests import Likelihood

KEPT_DAYS = 90
FORMAT = 1
"""Part of the file's name: another number where scoring has changed."""
_TABLE = """
    CREATE TABLE IF NOT EXISTS answers
    (request BLOB PRIMARY KEY, log_probability REAL NOT NULL, is_greedy INTEGER NOT NULL) WITHOUT ROWID
"""
_DAMAGE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
"""What SQLite says of a file that is none of its own, is broken or has other columns; a busy one is no damage."""

Result = TypeVar("Result")


class ScoreStore:
    """The file DIRECTORY/NAME-FORMAT.sqlite, which is made when it is first used."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}-{FORMAT}.sqlite"
        self.problem: str | None = None
        """Why nothing is kept, once that is so."""
        with suppress(OSError):  # SQLite will say what is wrong with it
            directory.mkdir(parents=True, exist_ok=True)
            _sweep(directory)

    def find(self, digests: Iterable[bytes]) -> dict[bytes, Likelihood]:
        """The answers that are known, by digest."""
        wanted = set(digests)

        def read(file: sqlite3.Connection) -> dict[bytes, Likelihood]:
            rows = file.execute("SELECT request, log_probability, is_greedy FROM answers")
            return {key: Likelihood(value, bool(greedy)) for key, value, greedy in rows if key in wanted}

        return self._with_file(read, {})

    def keep(self, answers: Mapping[bytes, Likelihood]) -> None:
        """Add answers, all or none."""
        rows = [(key, value.log_probability, int(value.is_greedy)) for key, value in answers.items()]

        def write(file: sqlite3.Connection) -> None:
            file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

        self._with_file(write, None)

    def _with_file(self, work: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """What `work` makes of the file, in one transaction; a damaged one is begun anew first."""
        if self.problem is not None:
            return otherwise
        try:
            try:
                return self._once(work)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
                    raise
                self.path.unlink(missing_ok=True)
                return self._once(work)
        except (OSError, sqlite3.Error) as error:
            self.problem = f"{self.path}: {error}"
            return otherwise

    def _once(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with closing(sqlite3.connect(self.path)) as file, file:
            file.execute(_TABLE)
            result = work(file)
        self.path.touch()  # somebody wants it still
        return result


def _sweep(directory: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for path in directory.glob("*.sqlite"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()

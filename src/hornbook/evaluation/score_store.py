"""Answers that a checkpoint has given, kept between processes: one SQLite file for each checkpoint and way to score.

What is kept is an answer by the digest of its request. A file that is damaged is begun anew; where nothing can be kept,
questions are asked again. Files that nobody has looked into for KEPT_DAYS are deleted.
"""

import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from hornbook.evaluation.requests import Likelihood

KEPT_DAYS = 90
FORMAT = 1
"""Part of the file's name: another number where scoring has changed."""


class ScoreStore:
    """The file DIRECTORY/NAME-FORMAT.sqlite."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}-{FORMAT}.sqlite"
        self.problem: str | None = None
        """Why nothing is kept, once that is so."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _sweep(directory)
            try:
                self._begin()
            except sqlite3.DatabaseError:  # no such file, or a damaged one
                self.path.unlink(missing_ok=True)
                self._begin()
            self.path.touch()
        except (OSError, sqlite3.Error) as error:
            self.problem = f"{self.path}: {error}"

    def find(self, digests: Iterable[bytes]) -> dict[bytes, Likelihood]:
        """The answers that are known, by digest."""
        wanted, found = set(digests), {}
        if self.problem is None:
            try:
                with closing(sqlite3.connect(self.path)) as file:
                    rows = file.execute("SELECT request, log_probability, is_greedy FROM answers")
                    found = {key: Likelihood(value, bool(greedy)) for key, value, greedy in rows if key in wanted}
            except sqlite3.Error as error:
                self.problem = f"{self.path}: {error}"
        return found

    def keep(self, answers: Mapping[bytes, Likelihood]) -> None:
        """Add answers, all or none."""
        if self.problem is not None:
            return
        rows = [(key, value.log_probability, int(value.is_greedy)) for key, value in answers.items()]
        try:
            with closing(sqlite3.connect(self.path)) as file, file:
                file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self.problem = f"{self.path}: {error}"

    def _begin(self) -> None:
        with closing(sqlite3.connect(self.path)) as file, file:
            file.execute(
                "CREATE TABLE IF NOT EXISTS answers (request BLOB PRIMARY KEY, log_probability REAL NOT NULL, "
                "is_greedy INTEGER NOT NULL) WITHOUT ROWID"
            )
            file.execute("SELECT request, log_probability, is_greedy FROM answers LIMIT 1").fetchall()


def _sweep(directory: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for path in directory.glob("*.sqlite"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()

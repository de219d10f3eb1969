"""`prepare`: make the data set that a configuration describes, go on with making it, or find it made.

It is built in DIR.partial and renamed to DIR when it is whole, so readers never meet half a data set, and an older one
stays until its successor is complete. `plan` decides whether what lies there can be kept, `build` does the work.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from hornbook.config.data import DataConfig
from hornbook.data.build import Build, PrepareProgress, ProgressCallback
from hornbook.data.dataset import Dataset
from hornbook.data.index import INDEX_FILE, read_index
from hornbook.data.journal import JOURNAL_FILE, Journal, read_journal, write_journal
from hornbook.data.plan import differences, make_plan
from hornbook.errors import DataError
from hornbook.storage.atomic import discard_directory, sweep_temporaries
from hornbook.storage.disk import StorageError, explained, sync_directory, sync_tree
from hornbook.storage.faults import crash_point
from hornbook.storage.lock import alone
from hornbook.tokenizer.tokenizer import Tokenizer

__all__ = ["PrepareProgress", "find_made", "find_prepared", "make", "prepare"]


def prepare(
    config: DataConfig, tokenizer: Tokenizer, *, force: bool = False, progress: ProgressCallback | None = None
) -> Dataset:
    """Make the data set at `config.path` and open it; what is made already is not made again.

    With `force` it is made anew, and replaces a different one, finished or begun.

    Raises:
        DataError: for bad input; if a different data set stands there; if nothing is left to train on.
        StorageError: if the disk refuses; what was committed is kept, and the same call goes on from there.
    """
    assert config.stage == "pretrain", "conversations and pairs are for prepare_tuning"
    plan = make_plan(config, tokenizer)

    def build(work: Path, journal: Journal) -> None:
        Build(config, tokenizer, work, journal, progress).run()

    kept = "What is prepared so far is kept; the same command goes on from there"
    return make(config.path, plan, build, force=force, after_refusal=kept)


def make(
    path: Path, plan: dict[str, object], build: Callable[[Path, Journal], None], *, force: bool, after_refusal: str
) -> Dataset:
    """The data set of a plan at `path`: the one that stands there, or what `build` makes in the directory it is given.

    Raises:
        DataError: if a different data set stands there; as `build`.
        StorageError: if the disk refuses; `after_refusal` says what is left then.
    """
    if not force and (made := find_made(path, plan)) is not None:
        return made
    _check_place(path)
    work = path.with_name(f"{path.name}.partial")
    busy = DataError(f"{work}: another process is preparing this data set; wait for it, or choose another data.path")
    try:
        with explained(work):
            work.mkdir(parents=True, exist_ok=True)
        with alone(work, otherwise=busy):
            if not _is_whole(work, plan):
                build(work, _begin(work, plan, force=force))
                with explained(work):
                    (work / JOURNAL_FILE).unlink()
            _take_final_name(work, path)
    except StorageError as error:
        raise StorageError(f"{error}. {after_refusal}") from error
    return Dataset.open(path)


def find_prepared(config: DataConfig, tokenizer: Tokenizer) -> Dataset | None:
    """The data set that `prepare` would make, if it is made already; None if nothing is.

    Raises:
        DataError: as `find_made`.
    """
    if not (config.path / INDEX_FILE).exists():
        return None
    return find_made(config.path, make_plan(config, tokenizer))


def find_made(path: Path, plan: dict[str, object]) -> Dataset | None:
    """The data set of a plan, if it is made already; None if nothing is.

    Raises:
        DataError: if what is made differs, naming how; if its files are not what its index says.
    """
    if not (path / INDEX_FILE).exists():
        return None
    dataset = Dataset.open(path)
    if different := differences(dataset.index.made_from, plan):
        raise DataError(
            f"{path}: holds another data set ({different}); choose another data.path, or replace it: --force"
        )
    for name in dataset.splits:
        dataset.split(name)  # checks presence and size of its files
    return dataset


def _check_place(path: Path) -> None:
    if path.exists() and not (path.is_dir() and ((path / INDEX_FILE).exists() or not any(path.iterdir()))):
        raise DataError(f"{path}: exists and is no data set; choose another data.path, or remove it yourself")


def _is_whole(work: Path, plan: dict[str, object]) -> bool:
    """Whether only the renaming is left of an interrupted preparation."""
    complete = (work / INDEX_FILE).exists() and not (work / JOURNAL_FILE).exists()
    return complete and not differences(read_index(work).made_from, plan)


def _begin(work: Path, plan: dict[str, object], *, force: bool) -> Journal:
    """The state to go on from: that of an interrupted preparation of the same, or nothing done."""
    journal = _interrupted(work, plan, force=force)
    if journal is None:
        with explained(work):
            for path in work.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        journal = Journal(plan=plan)
        write_journal(work, journal)
    sweep_temporaries(work)
    return journal


def _interrupted(work: Path, plan: dict[str, object], *, force: bool) -> Journal | None:
    try:
        journal = read_journal(work)
    except DataError:
        if force:
            return None
        raise
    different = differences(journal.plan, plan) if journal is not None else ""
    if journal is not None and different and not force and (journal.stage or journal.pieces):
        raise DataError(
            f"{work}: an unfinished preparation of something else ({different}); finish it with its own settings, "
            "choose another data.path, or start over: --force"
        )
    return None if different else journal


def _take_final_name(work: Path, final: Path) -> None:
    with explained(final):
        sync_tree(work)
        crash_point("data:rename")
        if final.exists():
            discard_directory(final)
        work.rename(final)
        sync_directory(final.parent)

"""Saving a checkpoint in parts: every process writes what it has, while training goes on.

    1  model.json, state.json and tokenizer/ into a temporary directory, by the first process
    2  every process copies its parts to the host, and training goes on
    3  in the background, each writes its parts to shards/ and syncs them             (torch.distributed.checkpoint)
    4  when all have, and all parts can be seen, the first process writes manifest.json with every digest, last
    5  sync, rename, BEST, LATEST, retention, as hornbook.checkpoint.save has it

Killed before 5, whichever process it was, the old state stands. One save is under way at a time: the next one, and the
end of training, wait for it and hear what went wrong with it.
"""

import concurrent.futures
import contextlib
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import async_save

from hornbook.checkpoint.header import read_header
from hornbook.checkpoint.manifest import MODEL, OPTIMIZER, SHARDS_FOLDER, write_manifest
from hornbook.checkpoint.save import place_of_step, point
from hornbook.distributed.process_group import Processes, heard
from hornbook.errors import CheckpointError, HornbookError
from hornbook.storage.atomic import commit_directory, sweep_temporaries
from hornbook.storage.disk import explained
from hornbook.storage.faults import crash_point
from hornbook.storage.run_dir import Kind

SEEN_WITHIN_SECONDS = 120.0
"""What another machine has written to a network file system may show here only after its cache has aged."""


class ShardedSaves:
    """The saves of a run, made by all its processes alike."""

    def __init__(self, directory: Path, processes: Processes, *, timeout_minutes: float) -> None:
        """`directory` is the run's checkpoints/. A writer waits for the others no longer than `timeout_minutes`."""
        self.directory = directory
        self.processes = processes
        with heard():  # what the writers tell one another must not mix with what training does at the same time
            self.group = dist.new_group(backend="gloo", timeout=dt.timedelta(minutes=timeout_minutes))
        self.background = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.written: Future[Any] | None = None
        """Of the newest save: this process's parts, and with them everybody's."""
        self.completed: Future[None] | None = None
        """Of the newest save, on the first process: the checkpoint stands."""

    def save(
        self,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        *,
        step: int,
        kind: Kind,
        best: bool,
        describe: Callable[[Path], None],
        then: Callable[[], object],
    ) -> Path:
        """Begin to save these live tensors, which may change once this returns; says where the checkpoint will be.

        `describe` writes all but tensors and manifest into a directory; `then` runs in the background, when all is
        done. Both on the first process only.

        Raises:
            HornbookError: on every process, if this save or the one before could not be made.
        """
        self.finish()
        final, until_complete = place_of_step(self.directory, step), contextlib.ExitStack()
        temporary = Path(self.processes.first(lambda: self._begin(final, describe, until_complete)))
        tensors = {MODEL + name: tensor for name, tensor in model.items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in optimizer.items()}
        writer = HuggingFaceStorageWriter(str(temporary / SHARDS_FOLDER), save_distributed=True)
        sizes = {name: tensor.numel() for name, tensor in tensors.items()}  # of whole ones
        written = self.written = cast(Future[Any], async_save(tensors, storage_writer=writer, process_group=self.group))

        def complete() -> None:
            with until_complete:
                _wait(written, final)
                _check_whole(temporary / SHARDS_FOLDER, sizes, final)
                crash_point("checkpoint:manifest")
                write_manifest(temporary, step=step, kind=kind)
                crash_point("checkpoint:manifest")
                crash_point("checkpoint:rename")
            crash_point("checkpoint:rename")
            point(self.directory, final, step=step, kind=kind, best=best)
            then()

        if self.processes.is_first:
            self.completed = self.background.submit(complete)
        return final

    def _begin(self, final: Path, describe: Callable[[Path], None], until_complete: contextlib.ExitStack) -> str:
        """A directory with all but tensors and manifest, which becomes `final` when `until_complete` ends well."""
        with explained(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(self.directory)
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(commit_directory(final, replace=True))
            crash_point("checkpoint:model")
            describe(temporary)
            until_complete.push(stack.pop_all())
        return str(temporary)

    def finish(self) -> None:
        """Wait until the newest save is complete, if there is one; every process calls this.

        Raises:
            HornbookError: on every process, if it could not be made.
        """
        if self.written is None:
            return
        concurrent.futures.wait([self.written])  # what it raised, the first process knows too

        def end() -> None:
            assert self.completed is not None
            self.completed.result()

        try:
            self.processes.first(end)
        finally:
            self.written = self.completed = None


def _wait(written: Future[Any], final: Path) -> None:
    """Until every process has written its parts."""
    try:
        written.result()
    except (Exception, CheckpointException) as error:
        raise CheckpointError(f"{final}: could not be written: {_reason(error)}") from error


def _check_whole(folder: Path, sizes: Mapping[str, int], final: Path) -> None:
    """Make sure that every number of every tensor lies in `folder`, where other machines may have written elsewhere."""
    until = time.monotonic() + SEEN_WITHIN_SECONDS
    while partial := _partial(folder, sizes):
        if time.monotonic() > until:
            raise CheckpointError(
                f"{final}: rank 0 does not see what other processes have written ({partial[0]} and {len(partial) - 1} "
                "other tensors); put run.out_dir on a file system that all machines share"
            )
        time.sleep(1.0)


def _partial(folder: Path, sizes: Mapping[str, int]) -> list[str]:
    """The tensors of which not all numbers are in the files of a folder; a file that is not whole counts nothing."""
    found: Counter[str] = Counter()
    for file in folder.glob("*.safetensors"):
        with contextlib.suppress(CheckpointError):
            found.update({name: record.size for name, record in read_header(file).items()})
    return [name for name, size in sizes.items() if found[name] != size]


def _reason(error: BaseException) -> str:
    """The first words of what went wrong on any process: torch gives each one's error in a dictionary."""
    failures = getattr(error, "failures", None)
    if isinstance(failures, dict) and failures:
        rank, (cause, _) = next(iter(failures.items()))
        return f"rank {rank}: {cause}"
    if isinstance(error, HornbookError):
        return str(error)
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"

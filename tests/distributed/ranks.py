"""Real processes with a gloo group, started once for many tests: each call runs one function on all of them."""

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hornbook.config.distributed import DistributedConfig
from hornbook.distributed.environment import Place
from hornbook.distributed.process_group import joined

SECONDS = 300.0


class Ranks:
    """`n` processes; `call` gives what each returned, by rank."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._folder = tempfile.TemporaryDirectory()
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(n)]
        meeting_point = f"file://{Path(self._folder.name) / 'rendezvous'}"
        self._ends = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(target=_serve, args=(rank, n, meeting_point, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()

    def call(self, function: Callable[..., Any], *args: object) -> list[Any]:
        """`function(processes, *args)` on every rank; the function must be importable."""
        for end in self._ends:
            end.send((function, args))
        answers = []
        for rank, end in enumerate(self._ends):
            assert end.poll(SECONDS), f"rank {rank} of {self.n} does not answer"
            answers.append(end.recv())
        problems = [f"rank {rank}: {said}" for rank, (is_fine, said) in enumerate(answers) if not is_fine]
        assert not problems, "\n".join(problems)
        return [said for _, said in answers]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._folder.cleanup()


def _serve(rank: int, n: int, meeting_point: str, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    torch.multiprocessing.set_sharing_strategy("file_system")
    place = Place(rank=rank, world_size=n, local_rank=rank, local_world_size=n, meeting_point=meeting_point)
    with joined(place, DistributedConfig(timeout_minutes=5.0), torch.device("cpu")) as processes:
        while True:
            function, args = pipe.recv()
            try:
                pipe.send((True, function(processes, *args)))
            except Exception:  # noqa: BLE001  # told to the test
                pipe.send((False, traceback.format_exc()))

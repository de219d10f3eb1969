"""Reading a sharded checkpoint: tensors put together from the parts that processes wrote, one at a time.

    shards/shard-00001-model-00001-of-00001.safetensors     all parts that the first process wrote
    "model/NAME", "optimizer/NAME/KEY"                      their names in it
    __metadata__.DCP_SHARDING_INFO                          {name: {saved_offsets: [first row, 0, ...]}}, as JSON

These are files of torch.distributed.checkpoint in its safetensors form, which has no pickle in it. They say all that is
needed, so reading takes no process group and any number of processes.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hornbook.checkpoint.header import read_header, read_metadata
from hornbook.distributed.full_state import StoredTensors
from hornbook.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A run of a tensor's rows in a file."""

    file: Path
    first_row: int
    shape: tuple[int, ...]


class Pieces(StoredTensors):
    """The tensors of some files of parts whose names begin with `prefix`, by the rest of their names."""

    def __init__(self, files: Iterable[Path], prefix: str) -> None:
        """`files` are all of a checkpoint.

        Raises:
            CheckpointError: if a header is damaged, or parts are missing between others.
        """
        self.prefix = prefix
        parts: dict[str, list[_Part]] = defaultdict(list)
        for file in sorted(files):
            offsets = _offsets(file)
            for key, record in read_header(file).items():
                if key.startswith(prefix):
                    first_row = next(iter(offsets[key]), 0)
                    part = _Part(file=file, first_row=first_row, shape=record.shape)
                    parts[key.removeprefix(prefix)].append(part)
        self.parts = dict(parts)
        self.shapes = {name: _whole_shape(name, parts) for name, parts in self.parts.items()}

    def __getitem__(self, name: str) -> Tensor:
        """The whole tensor, on the CPU.

        Raises:
            CheckpointError: if a file cannot be read.
        """
        found: list[Tensor] = []
        for part in self.parts[name]:  # by row
            try:
                with safe_open(part.file, framework="pt") as file:
                    found.append(file.get_tensor(self.prefix + name))
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{part.file}: cannot be read: {error}; use another checkpoint") from error
        return found[0] if len(found) == 1 else torch.cat(found)

    def __contains__(self, name: object) -> bool:
        return name in self.parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def _offsets(file: Path) -> dict[str, list[int]]:
    try:
        sharding = json.loads(read_metadata(file)["DCP_SHARDING_INFO"])
        return {key: entry["saved_offsets"] for key, entry in sharding.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: does not say which rows it has ({error}); use another checkpoint") from error


def _whole_shape(name: str, parts: list[_Part]) -> tuple[int, ...]:
    folder = parts[0].file.parent
    parts[:] = sorted((part for part in parts if 0 not in part.shape), key=lambda part: part.first_row)
    at = 0
    for part in parts:
        if part.first_row != at:
            raise CheckpointError(f"{folder}: rows of {name} from {at} on are missing; use another checkpoint")
        at += part.shape[0] if part.shape else 1
    if not parts:
        raise CheckpointError(f"{folder}: all rows of {name} are missing; use another checkpoint")
    first = parts[0].shape
    return (at, *first[1:]) if first else ()

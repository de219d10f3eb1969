"""What a run chose by clock or by probing: made once, stored beside the run, and taken again when it goes on.

    RUN/choices.json   {"device": "cpu", "threads": 2, "fp32_products": "fast", "compile": false, ...}

Each of them may change the last bits of a result, so a run that resumed with others would not be the same run.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hornbook.distributed.precision import Products
from hornbook.errors import CheckpointError
from hornbook.storage.atomic import replace_file
from hornbook.training.out_of_memory import Shrunk


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a run computes, beyond what its configuration says."""

    device: str
    """The type of device that this was chosen for: cpu, cuda or mps."""
    threads: int
    """Of torch on the CPU."""
    fp32_products: Products
    compile: bool
    plain_max_keys: int
    """Up to so many keys attention is trained by its formula; beyond, by torch's kernel."""
    micro_batch_size: int
    """Windows in one forward pass, as long as memory does not run out."""
    eval_batch_size: int
    """Windows in one forward pass of a validation."""
    world_size: int = 1
    """Processes that this was chosen for."""
    shrunk: Shrunk = ()
    """When it did; a run that goes on repeats the steps before with the larger ones, as they were made."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why, by the name of the choice."""

    def line(self) -> str:
        """All of it in one line for people."""

        def why(name: str) -> str:
            return f" ({self.reasons[name]})" if name in self.reasons else ""

        attention = (
            f"plain attention up to {self.plain_max_keys:,} keys" if self.plain_max_keys else "torch's attention"
        )
        return "; ".join(
            [
                f"{self.fp32_products} float32 products{why('fp32_products')}",
                f"{'compiled' if self.compile else 'not compiled'}{why('compile')}",
                f"{attention}{why('plain_max_keys')}",
                f"micro-batches of {self.micro_batch_size}{why('micro_batch_size')}"
                + "".join(f", of {rows} from step {done + 1} on" for done, rows in self.shrunk),
                f"{self.threads} threads" + (f" in each of {self.world_size} processes" if self.world_size > 1 else ""),
            ]
        )

    def replaced(self, **changes: object) -> Self:
        """The same with other values, which a reason may explain."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def write(self, path: Path) -> None:
        """Store them, whole or not at all.

        Raises:
            StorageError: if the disk refuses.
        """
        replace_file(path, json.dumps(self.to_json(), indent=2) + "\n")

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was stored; None if nothing was: the run is older than its choices, or was killed before it made any.

        Raises:
            CheckpointError: if the file holds something else.
        """
        if not path.is_file():
            return None
        try:
            values: dict[str, Any] = dict(json.loads(path.read_bytes()))
            found = cls.from_json(values)
        except (ValueError, TypeError) as error:
            raise _unreadable(path, str(error)) from None
        fields = found.to_json()
        wrong = [f"{name} = {fields[name]!r}" for name, kind in _KINDS.items() if type(fields[name]) is not kind]
        sizes = [found.micro_batch_size, *(rows for _, rows in found.shrunk)]
        if wrong or found.fp32_products not in ("exact", "fast") or min(sizes) < 1:
            raise _unreadable(path, ", ".join(wrong) or "a value out of range")
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        shrunk = tuple((int(done), int(rows)) for done, rows in values.get("shrunk", ()))
        return cls(**{**values, "shrunk": shrunk})


_KINDS = {
    **{"device": str, "fp32_products": str, "compile": bool},
    **dict.fromkeys(("threads", "plain_max_keys", "micro_batch_size", "eval_batch_size", "world_size"), int),
}


def _unreadable(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: these are no choices of a run ({problem}); remove the file to choose anew, which may change the last "
        "bits of what follows"
    )

"""Measures, with processes of this machine, what the model of scaling in `planning` needs, and what it is held against.

    python -m hornbook.selftest.parallel_timing FOLDER      one of the processes; FOLDER/settings.json says what to do

No step enters its own prediction: its parts are measured by themselves (step_parts.py).
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbook.config.dump import to_json
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.distributed.device import device_of_rank
from hornbook.distributed.environment import place_of
from hornbook.distributed.precision import fp32_products
from hornbook.distributed.process_group import joined
from hornbook.errors import ConfigError
from hornbook.planning.calibration import Measured, StepMeasured, SumTime
from hornbook.planning.overlap import Compute, gradients
from hornbook.selftest.ranks import be_a_rank, run_ranks
from hornbook.selftest.step_parts import Work, parts, sums, whole_step
from hornbook.storage.atomic import replace_file

BUCKETS_MB = (1.0, 5.0, 25.0, 100.0, 0.0)
_SETTINGS, _ANSWER = "settings.json", "measured.json"


def measure(
    config: Config,
    *,
    n: int = 2,
    buckets_mb: Sequence[float] = BUCKETS_MB,
    repeats: int = 5,
) -> Measured:
    """Measure on `n` processes of this machine; `config` says which model and step, on random tokens.

    config: there is no tokenizer to ask, so model.vocab_size must be set.
    buckets_mb: sizes of buckets, 0 for one bucket; steps are measured with each, the optimizer whole and sharded.

    Raises:
        ConfigError: without model.vocab_size.
        HornbookError: if the processes cannot train so.
    """
    if config.model.vocab_size is None:
        raise ConfigError(
            "model.vocab_size is not set, and timing reads no tokenizer; set it: --set model.vocab_size=32768"
        )
    with tempfile.TemporaryDirectory(prefix="hornbook-") as folder:
        root = Path(folder)
        settings = {"config": json.loads(to_json(config)), "buckets_mb": list(buckets_mb), "repeats": repeats}
        replace_file(root / _SETTINGS, json.dumps(settings))
        run_ranks("hornbook.selftest.parallel_timing", root, n)
        return _read(json.loads((root / _ANSWER).read_text(encoding="utf-8")))


def _read(found: dict[str, Any]) -> Measured:
    compute = found["compute"]
    return Measured(
        **{name: found[name] for name in ("n", "compute_beside_network", "network_beside_compute", "variation")},
        sums=tuple(SumTime(**each) for each in found["sums"]),
        compute=Compute(
            forward=compute["forward"],
            backward=gradients(compute["arrivals"], compute["sizes"]),
            update=compute["update"],
            micro_batches=compute["micro_batches"],
        ),
        steps=tuple(StepMeasured(**each) for each in found["steps"]),
    )


def work(folder: Path) -> None:
    """One of the processes; the first writes the answer."""
    settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    config = load_config(None, values=settings["config"]).config
    place = place_of(os.environ)
    device = device_of_rank(config.run.device, place)
    with joined(place, config.distributed, device) as processes:
        begun = Work.begin(config, device, processes, settings["repeats"])
        with fp32_products(begun.choices.fp32_products, device):
            found = {"n": processes.world_size, "sums": sums(begun), **parts(begun)}
            found["steps"] = [
                whole_step(begun, size, is_sharded) for size in settings["buckets_mb"] for is_sharded in (False, True)
            ]
        if processes.is_first:
            replace_file(folder / _ANSWER, json.dumps(found))


if __name__ == "__main__":
    be_a_rank(work)

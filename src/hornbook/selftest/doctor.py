"""Does this installation work? What `hornbook doctor` finds out, in less than a minute.

Every stage makes its own small data, does what its verb does, and compares numbers with what is known of them: the
entropy of a source, ln 2, a definition in other words, the same work done in another way. No stage uses what another
one made, so that the line of the one that is broken turns red, and no other.
"""

import importlib.util
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hornbook.errors import ConfigError, HornbookError, MissingExtraError
from hornbook.selftest import doctor_text, doctor_training, doctor_tuning, doctor_use, doctor_ways
from hornbook.selftest.doctor_check import Check, Diagnosis, Stage, Status

STAGES: Mapping[str, Stage] = {
    "tokenizer": doctor_text.tokenizer,
    "data": doctor_text.data,
    "autoregressive": doctor_training.autoregressive,
    "diffusion": doctor_training.diffusion,
    "sft": doctor_tuning.sft,
    "dpo": doctor_tuning.dpo,
    "resume": doctor_ways.resume,
    "parallel": doctor_ways.parallel,
    "generate": doctor_use.generate,
    "serve": doctor_use.serve,
    "export": doctor_use.export,
}
"""In the order of a model's life."""

_COMPILE = "from hornbook.generation import kernels; kernels.is_compiled() or kernels.load()"


def examine(stages: Sequence[str], tell: Callable[[Diagnosis], None]) -> list[Diagnosis]:
    """Run these stages (none: all), in their order; `tell` hears of each when it is done.

    Raises:
        ConfigError: for a stage that does not exist.
    """
    if unknown := [name for name in stages if name not in STAGES]:
        raise ConfigError(f"there is no stage {unknown[0]!r}; stages are {', '.join(STAGES)}")
    chosen = {name: stage for name, stage in STAGES.items() if name in stages or not stages}
    found = []
    with _compiling_meanwhile("generate" in chosen and len(chosen) > 1) as compiled:
        for name, stage in chosen.items():
            if name == "generate":
                compiled()
            found.append(diagnose(name, stage))
            tell(found[-1])
    return found


@contextmanager
def _compiling_meanwhile(is_wanted: bool) -> Iterator[Callable[[], object]]:
    """On a machine that has never decoded, another process compiles the decoding kernels; what is yielded waits."""
    if not is_wanted or importlib.util.find_spec("numba") is None:
        yield lambda: None
        return
    compiling = subprocess.Popen([sys.executable, "-P", "-c", _COMPILE], stderr=subprocess.DEVNULL)
    try:
        yield compiling.wait
    finally:
        compiling.kill()
        compiling.wait()


def diagnose(name: str, stage: Stage) -> Diagnosis:
    """Run one stage in a folder that is gone afterwards."""
    began = time.perf_counter()
    checks: tuple[Check, ...] = ()
    message = None
    status: Status
    try:
        with tempfile.TemporaryDirectory(prefix="hornbook-doctor-") as folder:
            checks = tuple(stage(Path(folder)))
        status = "pass" if all(check.passed for check in checks) else "fail"
    except MissingExtraError as error:
        status, message = "absent", str(error)
    except HornbookError as error:
        status, message = "fail", str(error)
    except Exception as error:  # noqa: BLE001  # whatever is broken here: the others are examined all the same
        status, message = "fail", _told(error)
    return Diagnosis(stage=name, status=status, checks=checks, message=message, seconds=time.perf_counter() - began)


def _told(error: Exception) -> str:
    """What happened, and in which line of which file."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"

"""The numbers that a run is known by, in words."""

import statistics
import time
from collections.abc import Callable, Mapping

from hornbook.reporting.least_loss import is_bounded
from hornbook.reporting.record import RunRecord
from hornbook.reporting.scale import short
from hornbook.tracking.figures import count, duration


def key_numbers(record: RunRecord) -> dict[str, str]:
    """{what: number} in a fixed order; what is not known is absent."""
    best, tokens = record.curve("val/loss").lowest, record.curve("train/tokens").last
    memory = record.curve("train/peak_memory_bytes").last
    parameters = record.fact("n_parameters")
    sign = "≤ " if is_bounded(record.settings) else ""
    numbers = {
        "step": f"{record.last_step:,}" + (f" of {record.total_steps:,}" if record.total_steps else ""),
        "parameters": count(parameters) if isinstance(parameters, int) else "",
        "tokens": count(tokens) if tokens is not None else "",
        "best validation loss": f"{sign}{best[1]:.4f} at step {best[0]:,}" if best else "",
        "perplexity there": _then(record, "val/perplexity", best, sign),
        "bits per byte there": _then(record, "val/bits_per_byte", best, sign),
        "training loss": _last(record, "train/loss"),
        "tokens a second": _typical(record, "train/tokens_per_second", count),
        "MFU": _typical(record, "train/mfu", lambda value: f"{value:.1%}"),
        "time": duration(60.0 * record.training_minutes) if record.training_minutes else "",
        "peak memory": f"{count(memory)}B" if memory is not None else "",
        "skipped steps": f"{len(record.skipped_steps)}" if record.skipped_steps else "",
    }
    return {name: said for name, said in numbers.items() if said}


def standing(record: RunRecord) -> str:
    """How the run stands, as a sentence."""
    step, total = record.last_step, record.total_steps
    where = f"step {step:,} of {total:,}" if total else f"step {step:,}"
    match record.state:
        case "finished" if total is None or step >= total:
            return f"Finished at {where}."
        case "finished":
            return f"Ended early and well at {where}."
        case "running" | "starting":
            return f"Still {record.state} when this page was written, {_last_sign(record)}: {where}."
        case "preempted":
            return f"Interrupted at {where}, and saved."
        case "failed":
            return f"Failed at {where}."
    return f"In an unknown state at {where}."


def identity(record: RunRecord) -> str:
    """Architecture, data and device in one line."""
    dataset, device = record.fact("dataset"), record.fact("device")
    parts = [record.fact("architecture"), dataset and f"trained on {dataset}", device and f"on {device}"]
    return ", ".join(str(part) for part in parts if part)


def _then(record: RunRecord, metric: str, best: tuple[int, float] | None, sign: str) -> str:
    curve = record.curve(metric)
    values: Mapping[int, float] = dict(zip(curve.steps, curve.values, strict=True))
    return sign + short(values[best[0]]) if best and best[0] in values else ""


def _last(record: RunRecord, metric: str) -> str:
    last = record.curve(metric).last
    return "" if last is None else f"{last:.4f}"


def _typical(record: RunRecord, metric: str, say: Callable[[float], str]) -> str:
    """The median of the later half: the first steps warm up."""
    values = [value for value in record.curve(metric).values if value == value]
    return say(statistics.median(values[len(values) // 2 :])) if values else ""


def _last_sign(record: RunRecord) -> str:
    times = [moment for event in record.events if isinstance(moment := event.get("time"), int | float)]
    return f"{duration(time.time() - times[-1])} after its last event" if times else "before its first event"

"""The model's numbers as tables for people: predicted beside measured, and what was only simulated, clearly apart."""

from collections.abc import Iterable, Sequence

from hornbook.planning.calibration import Measured, Prediction, fit_link, interference
from hornbook.planning.overlap import COMPUTE, MEGABYTE, NETWORK
from hornbook.planning.scaling import Scaled


def measured_lines(measured: Measured) -> list[str]:
    """What the parts of a step took, as the model takes it in."""
    link, lost = fit_link(measured.sums, measured.n), interference(measured)
    compute = measured.compute
    backward = compute.seconds - compute.update - compute.micro_batches * compute.forward
    return [
        f"MEASURED on {measured.n} processes of this machine:",
        f"  all-reduce             latency {1e6 * link.latency:.0f} us, bandwidth {link.bandwidth / 1e9:.2f} GB/s",
        f"  computing a step       {1e3 * compute.seconds:.0f} ms: forward {1e3 * compute.forward:.0f}, "
        f"backward {1e3 * backward:.0f}, update {1e3 * compute.update:.0f}; it varies by {measured.variation:.1%}",
        f"  gradients              {compute.n_bytes / MEGABYTE:.0f} MB in {len(compute.backward)} pieces",
        f"  in each other's way    summing slows computing by {lost[COMPUTE, NETWORK]:.0%}, computing slows summing by "
        f"{lost[NETWORK, COMPUTE]:.0%}",
    ]


def prediction_lines(predictions: Sequence[Prediction]) -> list[str]:
    """Each measured step beside the simulated one."""
    lines = [f"{'bucket MB':>10}{'buckets':>9}{'optimizer':>11}{'measured ms':>13}{'simulated ms':>14}{'error':>8}"]
    for each in predictions:
        kept = "sharded" if each.measured.shard_optimizer else "whole"
        lines.append(
            f"{_megabytes(each.measured.bucket_bytes / MEGABYTE):>10}{each.buckets:>9}{kept:>11}"
            f"{1e3 * each.measured.seconds:>13.1f}{1e3 * each.seconds:>14.1f}{each.error:>+8.1%}"
        )
    return lines


def scaling_lines(rows: Iterable[Scaled]) -> list[str]:
    """The simulated step of each number of processes."""
    lines = [
        f"{'processes':>10}{'bucket MB':>11}{'step ms':>10}{'exposed ms':>12}{'slowest ms':>12}{'efficiency':>12}",
    ]
    lines += [
        f"{row.n:>10,}{_megabytes(row.bucket_mb):>11}{1e3 * row.seconds:>10.1f}{1e3 * row.exposed:>12.1f}"
        f"{1e3 * row.waiting:>12.1f}{row.efficiency:>12.1%}"
        for row in rows
    ]
    return lines


def _megabytes(size: float) -> str:
    return f"{size:g}" if size else "one"

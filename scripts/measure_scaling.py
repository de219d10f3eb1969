"""Measure data-parallel steps on this machine, hold the model of `hornbook.planning` against them, print the tables.

    python scripts/measure_scaling.py [CONFIG] [--nproc 2] [--buckets-mb 1,5,25,0] [--set KEY=VALUE ...]
    python scripts/measure_scaling.py --simulated-only

CONFIG needs model.vocab_size; without one, a small model is measured. Nothing else should run meanwhile.
"""

import argparse

from hornbook.config.load import load_config
from hornbook.planning.calibration import predictions
from hornbook.planning.scaling import NETWORKS, compute_on_paper, scaling
from hornbook.planning.tables import measured_lines, prediction_lines, scaling_lines

SHAPE: dict[str, object] = {
    "model.n_layers": 6,
    "model.d_model": 256,
    "model.n_heads": 4,
    "model.context_length": 128,
    "model.vocab_size": 4096,
    "train.tokens_per_step": 512,
    "train.micro_batch_size": 2,
    "train.compile": "off",
}
ON_PAPER = (("gpt2", 50_304, 16_384, 1), ("llama-1b", 50_304, 16_384, 4))
"""Presets with their vocabulary, the tokens of a micro-batch, and micro-batches a step."""
REACHED, MEMORY, VARIATION = 0.4 * 989e12, 3.35e12, 0.02


def main() -> None:
    """Print everything that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?")
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--buckets-mb", default="0.25,1,4,0")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--simulated-only", action="store_true")
    args = parser.parse_args()
    if not args.simulated_only:
        measured(args)
    simulated()


def measured(args: argparse.Namespace) -> None:
    """The parts of a step, and whole steps beside their predictions."""
    from hornbook.selftest.parallel_timing import measure

    config = load_config(args.config, args.overrides, values=None if args.config else SHAPE).config
    sizes = [float(size) for size in args.buckets_mb.split(",")]
    found = measure(config, n=args.nproc, buckets_mb=sizes, repeats=args.repeats)
    print("\n".join([*measured_lines(found), "", *prediction_lines(predictions(found)), ""]))


def simulated() -> None:
    """Steps of hardware that is not here."""
    for preset, vocab_size, tokens, micro_batches in ON_PAPER:
        config = load_config(None, values={"model.preset": preset}).config.model.complete(vocab_size=vocab_size)
        compute = compute_on_paper(
            config, tokens=tokens, flops_per_second=REACHED, bytes_per_second=MEMORY, micro_batches=micro_batches
        )
        for name, network in NETWORKS.items():
            print(f"SIMULATED: {preset}, {micro_batches * tokens:,} tokens a process and step, {name}")
            print("\n".join([*scaling_lines(scaling(compute, network, variation=VARIATION)), ""]))


if __name__ == "__main__":
    main()

"""What `hornbook plan` predicts beside what training takes here: memory and time of seeded random configurations.

    python scripts/check_plan.py                # ten of at least 1 GB, some ten minutes on a quiet machine
    python scripts/check_plan.py --count 1 --least-gb 0.3

Each configuration is trained for a few steps in a fresh process, whose allocator gives freed memory back at once
(MALLOC_MMAP_THRESHOLD_), so that the peak is of what is needed; and in a second one as `hornbook train` sets it up, which
keeps it, and whose steps are timed. Memory is the most that was resident less what was after the imports. Exit status
1 if a needed memory is more than 15 % off, or a step more than 25 %.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MOST_MEMORY_ERROR, MOST_TIME_ERROR = 0.15, 0.25
STEPS = 5
RETURNED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}


def draw(rng: random.Random) -> dict[str, Any]:
    """A configuration as TOML tables have it."""
    head_dim, n_heads = 64, rng.choice((4, 6, 8, 12))
    context = rng.choice((128, 256, 512, 1024))
    rows = max(1, rng.choice((2048, 4096, 8192)) // context)
    micro_batches = rng.choice((1, 1, 2))
    return {
        "model": {
            "d_model": head_dim * n_heads,
            "n_heads": n_heads,
            "n_kv_heads": rng.choice((n_heads, n_heads // 2)),
            "n_layers": rng.randint(2, 10),
            "context_length": context,
            "vocab_size": rng.choice((2048, 8192, 16384, 32768)),
            "feed_forward": rng.choice(("swiglu", "gelu", "relu2", "relu")),
            "norm": rng.choice(("rms_norm", "layer_norm")),
            "position": rng.choice(("rotary", "rotary", "learned")),
            "qk_norm": rng.choice((False, True)),
            "tie_embeddings": rng.choice((False, True)),
        },
        "train": {
            "precision": rng.choice(("fp32", "bf16")),
            "micro_batch_size": rows,
            "tokens_per_step": rows * context * micro_batches,
            "activation_checkpointing": rng.choice((False, False, True)),
            "compile": "off",
        },
        "tracking": {"console": "none"},
    }


def planned(values: dict[str, Any]) -> dict[str, float]:
    """The prediction, in bytes and seconds."""
    from hornbook.cli.plan_choices import chosen, dry_run_of, rates_of, shape_for
    from hornbook.config.load import load_config
    from hornbook.planning.estimate import Wishes, make_plan

    config = load_config(None, values=values).config
    shape, _ = shape_for(config)
    choices, _ = chosen(config, shape)
    wishes = Wishes(
        rows=choices.micro_batch_size,
        plain=choices.plain_max_keys >= shape.context_length,
        compiled=False,
        tokens=None,
        world_sizes=(1,),
        mfu=0.4,
        price=None,
    )
    held, machine = dry_run_of(config, shape, choices), rates_of(config, choices)
    plan = make_plan(config, shape, wishes, [], machine=machine, held=held, free=None, remarks=[])
    assert plan.process_bytes
    assert plan.kept_bytes
    assert plan.step_seconds
    return {"bytes": plan.process_bytes, "kept": plan.kept_bytes, "seconds": plan.step_seconds}


def trained(values: dict[str, Any], keeps: bool) -> dict[str, float]:
    """In this process: the peak beyond the imports, and the median step but for the first."""
    import torch

    from hornbook.config.load import load_config
    from hornbook.data.batch import TokenBatch
    from hornbook.distributed.device import keep_freed_memory
    from hornbook.distributed.precision import fp32_products
    from hornbook.objectives.objective import StepContext
    from hornbook.training.choosing import choose
    from hornbook.training.start import build_learner, build_model
    from hornbook.training.step import train_step

    if keeps:
        keep_freed_memory()
    config = load_config(None, values=values).config
    shape = config.model.complete(vocab_size=config.model.vocab_size or 1)
    cpu = torch.device("cpu")
    before = status("VmRSS")
    choices, _ = choose(config, shape, cpu, kept=None, steps_left=STEPS)
    learner = build_learner(config, build_model(config, shape, choices, None).train())
    rows, seconds = choices.micro_batch_size, []
    with fp32_products(choices.fp32_products, cpu):
        for step in range(STEPS):
            windows = [
                torch.randint(shape.vocab_size, (rows, shape.context_length + 1))
                for _ in range(config.rows_per_step // rows)
            ]
            batches = [
                TokenBatch(
                    tokens=tokens,
                    loss_mask=torch.ones_like(tokens, dtype=torch.bool),
                    sample_ids=torch.arange(rows),
                )
                for tokens in windows
            ]
            start = time.perf_counter()
            train_step(learner, batches, StepContext(seed=0, step=step, samples_per_step=rows), multiplier=1.0)
            seconds.append(time.perf_counter() - start)
    return {"bytes": status("VmHWM") - before, "seconds": statistics.median(seconds[1:])}


def status(name: str) -> int:
    """Bytes that the kernel counts for this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def in_fresh_process(what: str, values: dict[str, Any], environment: dict[str, str]) -> dict[str, float]:
    """The numbers of `planned` or `trained`."""
    command = [sys.executable, __file__, "--child", what, json.dumps(values)]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--least-gb", type=float, default=1.0, help="configurations predicted below are drawn anew")
    parser.add_argument("--most-gb", type=float, default=8.0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, values = args.child[0], json.loads(args.child[1])
        print(json.dumps(planned(values) if what == "planned" else trained(values, what == "kept")))
        return 0
    rng, rows, worst = random.Random(args.seed), 0, [0.0, 0.0]
    print(f"{'':56}{'needed GB':>18}{'':7}{'held GB':>16}{'':7}{'step s':>16}")
    while rows < args.count:
        values = draw(rng)
        found = in_fresh_process("planned", values, {})
        if not args.least_gb <= found["bytes"] / 1e9 <= args.most_gb:
            continue
        rows += 1
        needed = in_fresh_process("needed", values, RETURNED)
        kept = in_fresh_process("kept", values, {})
        model, train = values["model"], values["train"]
        print(
            f"{model['n_layers']:2} x {model['d_model']:<4} V {model['vocab_size']:<6} T {model['context_length']:<5}"
            f"rows {train['micro_batch_size']:<3} {train['precision']} {model['feed_forward']:<7}"
            f"{'recomputed' if train['activation_checkpointing'] else '':<11}"
            + "".join(
                f"{predicted:7.2f}{measured:8.2f}{predicted / measured - 1:+8.1%}"
                for predicted, measured in (
                    (found["bytes"] / 1e9, needed["bytes"] / 1e9),
                    (found["kept"] / 1e9, kept["bytes"] / 1e9),
                    (found["seconds"], kept["seconds"]),
                )
            ),
            flush=True,
        )
        worst[0] = max(worst[0], abs(found["bytes"] / needed["bytes"] - 1))
        worst[1] = max(worst[1], abs(found["seconds"] / kept["seconds"] - 1))
    print(f"largest error: memory {worst[0]:.1%} (at most {MOST_MEMORY_ERROR:.0%}), step {worst[1]:.1%} (25 %)")
    return int(worst[0] > MOST_MEMORY_ERROR or worst[1] > MOST_TIME_ERROR)


if __name__ == "__main__":
    raise SystemExit(main())

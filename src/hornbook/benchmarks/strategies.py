"""What `hornbook bench train --strategies` compares: how two processes of one thread each train together.

    ours             gradients summed in buckets, every process has all of the optimizer's state
    ours, sharded    each keeps the state of its share and sends its parameters round: the default of training
    torch DDP        torch's own DistributedDataParallel around the same model, with the same step and optimizer

All make the same steps on the same rows, in bf16 and compiled, in the same two processes by turns: what was compiled
serves all of them.
"""

from collections.abc import Iterator

import torch

from hornbook.benchmarks.harness import Bar, Case
from hornbook.benchmarks.side import Side
from hornbook.benchmarks.training import LEARNING_RATE, Shape
from hornbook.models.attention import plain_keys

SLOWER = 1.05
"""Ours may take so many times as long as torch's DDP."""
SIDES = {"hornbook": "whole", "hornbook, sharded": "sharded", "torch DDP": "torch"}


def strategy_cases(shapes: dict[str, Shape]) -> Iterator[Case]:
    """Each shape, its rows on each of the two processes."""
    for name, shape in shapes.items():
        table = shape.model("llama")
        settings = {
            "table": table.model_dump(mode="json", exclude_unset=True),
            "rows": shape.rows,
            "context": shape.context,
            "steps": shape.steps,
            "learning_rate": LEARNING_RATE,
            "plain_max_keys": plain_keys("cpu", torch.bfloat16, fast_products=True),
            "strategies": list(SIDES.values()),
        }
        yield Case(
            name=f"train {name} on two processes",
            note=f"{shape.words}; on each of two processes of one thread, whose memory is that of all sides together",
            unit="tokens",
            amount=2 * shape.steps * shape.rows * shape.context,
            # The two processes' gradients are added in one order by all sides; their norms are not.
            equal={"loss": 1e-3, "learns": 0},
            sides=[
                Side(name=side, file="hornbook_parallel_step.py", settings=settings, part=strategy)
                for side, strategy in SIDES.items()
            ],
            bars=[Bar(kind="ratio", peer="torch DDP", value=round(1 / SLOWER, 3))] if shape.ratio else [],
        )

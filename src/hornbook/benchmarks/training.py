"""What `hornbook bench train` compares: a training step of ours with those of transformers, litgpt and nanoGPT.

    train b          a Llama: ours, transformers, litgpt, and as many operations as bare bf16 products
    train b, gpt2    a GPT-2, where a nanoGPT checkout is given: ours, transformers, nanoGPT

A step is forward, backward, clipping to a norm of 1 and AdamW, on the same rows of tokens from the same weights; that
these are the same is checked by the loss before any step, in float32, and by the number of parameters. Weights,
gradients and optimizer state are float32 on all sides. Ours is the step that `hornbook train` makes in bf16, compiled.
A peer takes torch's fused AdamW and the fastest of its modes (float32 or bf16 autocast, eager or compiled, its own
forms of attention), which it finds by a short trial before the first block. Compiling is part of setting up, not of
the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hornbook.benchmarks.harness import Bar, Case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.side import Side
from hornbook.benchmarks.transformer import random_model
from hornbook.config.model import ModelTable
from hornbook.models.accounting import training_flops_per_token
from hornbook.storage.cores import available_cores

LEARNING_RATE = 1e-4
PRODUCTS = "bf16 products"
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"norm_eps": 1e-6},
    "gpt2": {"feed_forward": "gelu", "norm": "layer_norm", "position": "learned", "bias": True},
}
"""What [model] says beside the sizes; the eps is the default of a Llama in transformers."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and a batch, what a block of it is, and what ours has to reach there."""

    n_layers: int
    d_model: int
    n_heads: int
    context: int
    rows: int
    vocab_size: int
    steps: int
    """Of one block: a second or three on two cores."""
    ratio: tuple[float, float] | None = None
    """Floor and aim against each peer."""
    share: tuple[float, float] | None = None
    """Floor and aim of the share of the rate of bf16 products."""

    def model(self, family: str) -> ModelTable:
        """The [model] of this shape."""
        sizes = {name: getattr(self, name) for name in ("n_layers", "d_model", "n_heads", "vocab_size")}
        return ModelTable(**sizes, context_length=self.context, init="gpt2", **FAMILIES[family])

    @property
    def words(self) -> str:
        """The shape for people."""
        return (
            f"{self.n_layers} layers, d_model {self.d_model}, {self.rows} rows of {self.context} tokens, "
            f"vocabulary {self.vocab_size:,}, {self.steps} steps a block"
        )


_SIZES: dict[str, dict[str, Any]] = {
    "a": {"n_layers": 4, "d_model": 128, "n_heads": 4, "context": 64, "rows": 12, "vocab_size": 65, "steps": 80},
    "b": {"n_layers": 6, "d_model": 384, "n_heads": 6, "context": 256, "rows": 16, "vocab_size": 65, "steps": 4},
    "c": {"n_layers": 8, "d_model": 512, "n_heads": 8, "context": 512, "rows": 4, "vocab_size": 32_768, "steps": 2},
    "d": {"n_layers": 12, "d_model": 768, "n_heads": 12, "context": 1024, "rows": 1, "vocab_size": 50_304, "steps": 1},
}
SHAPES: dict[str, Shape] = {
    "a": Shape(**_SIZES["a"], ratio=(1.7, 3.0), share=(0.33, 0.50)),
    "b": Shape(**_SIZES["b"], ratio=(1.3, 1.6), share=(0.65, 0.75)),
    "c": Shape(**_SIZES["c"], ratio=(1.3, 1.8), share=(0.50, 0.70)),
    "d": Shape(**_SIZES["d"], ratio=(1.4, 1.8), share=(0.55, 0.75)),
}
QUICK = Shape(n_layers=1, d_model=32, n_heads=2, context=8, rows=2, vocab_size=65, steps=2)
"""For trying the command out: seconds, and nothing to reach."""


def train_cases(
    shapes: dict[str, Shape], directory: Path, *, nanogpt: Path | None = None, on_gpu: bool = False
) -> Iterator[Case]:
    """Each shape as a Llama, and with a nanoGPT checkout also as a GPT-2; a GPU makes more steps of each.

    Raises:
        MissingExtraError: without transformers.
    """
    for name, shape in shapes.items():
        timed = replace(shape, steps=shape.steps * 40) if on_gpu else shape
        yield _case(f"train {name}", timed, "llama", directory / name, ("transformers", "litgpt"))
        if nanogpt is not None:
            peers = ("transformers", "nanogpt")
            yield _case(f"train {name}, gpt2", timed, "gpt2", directory / f"{name}-gpt2", peers, checkout=nanogpt)


def _case(
    name: str, shape: Shape, family: str, directory: Path, peers: Sequence[str], checkout: Path | None = None
) -> Case:
    settings = _settings(shape, family, directory, checkout)
    cores = available_cores()
    ours = Side(name="hornbook", file="hornbook_train_step.py", settings=settings, threads=cores)
    products = Side(name=PRODUCTS, file="bf16_products.py", settings=settings, threads=cores)
    theirs = [
        Side(
            name=peer,
            file="peer_train_step.py",
            settings={**settings, "library": peer},
            threads=cores,
            python=python,
        )
        for peer in peers
        if (python := peer_python("transformers" if peer == "nanogpt" else peer))
    ]
    return Case(
        name=name,
        note=shape.words,
        unit="tokens",
        amount=shape.steps * shape.rows * shape.context,
        equal={"loss": 1e-4, "parameters": 0, "learns": 0},
        sides=[ours, products, *theirs],
        bars=_bars(shape, peers),
    )


def _settings(shape: Shape, family: str, directory: Path, checkout: Path | None) -> dict[str, Any]:
    """What every side of a case is told; the weights are made here."""
    table = shape.model(family)
    config = table.complete(vocab_size=shape.vocab_size)
    flops = training_flops_per_token(config, context=shape.context)
    return {
        "model": str(random_model(directory, family, config)),
        "table": table.model_dump(mode="json", exclude_unset=True),
        "learning_rate": LEARNING_RATE,
        "rows": shape.rows,
        "context": shape.context,
        "steps": shape.steps,
        "operations": flops * shape.steps * shape.rows * shape.context,
        "checkout": str(checkout) if checkout else None,
    }


def _bars(shape: Shape, peers: Sequence[str]) -> list[Bar]:
    bars = []
    if shape.ratio:
        floor, aim = shape.ratio
        bars += [Bar(kind="ratio", peer=peer, value=floor, aim=aim) for peer in peers]
    if shape.share:
        floor, aim = shape.share
        bars.append(Bar(kind="share", peer=PRODUCTS, value=floor, aim=aim))
    return bars

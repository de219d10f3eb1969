"""What `hornbook bench decode` compares: ours with transformers and llama.cpp, from the same random weights.

    prefill    one row of 512 tokens is read, and one token named
    decode     one row: 128 tokens after a short prompt
    batch      sixteen rows at once: 128 tokens each

each in fp32, bf16 and int8. transformers decodes with its growing cache and with its static one; it has no int8, so it
answers there in bf16. llama.cpp runs the same weights from a GGUF file as F32, BF16 and Q8_0. All decode greedily,
with as many threads; in fp32 their tokens are compared.

Beside them stands a limit that nobody can pass. A step of decoding reads every weight once, whatever the number of
rows, so `memory reads` reads as many bytes from a buffer of that size, as often as there are steps. Reading a long
prompt is bound by products instead: `bf16 products` makes as many operations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hornbook.benchmarks.harness import Bar, Case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.side import Side
from hornbook.benchmarks.transformer import random_model
from hornbook.config.model import ModelConfig, ModelTable
from hornbook.models.accounting import flops_per_token, parameter_counts
from hornbook.storage.cores import available_cores

KINDS = ("prefill", "decode", "batch")
LLAMA_CPP = {"fp32": "F32", "bf16": "BF16", "int8": "Q8_0"}
"""Precision -> what llama.cpp calls it."""
PRECISIONS = tuple(LLAMA_CPP)
BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
READS = "memory reads"
PRODUCTS = "bf16 products"
BEYOND_CACHES = 64_000_000
"""Below so many bytes, weights may stay in a cache from step to step, and the share of the limit has no floor."""
SPREAD = 0.1
"""Standard deviation of random weights: wide enough that layers, and not the tied head, decide what comes next."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and what is asked of it."""

    table: ModelTable
    vocab_size: int
    prefill_tokens: int = 512
    prompt_tokens: int = 8
    new_tokens: int = 128
    rows: int = 16
    has_floors: bool = True

    @property
    def config(self) -> ModelConfig:
        """The model."""
        return self.table.complete(vocab_size=self.vocab_size)

    @property
    def parameters(self) -> int:
        """Numbers in its weights."""
        return sum(parameter_counts(self.config).values())


SHAPES = {
    "25M": Shape(
        table=ModelTable(n_layers=6, d_model=512, n_heads=8, context_length=1024, norm_eps=1e-6), vocab_size=8192
    ),
    "124M": Shape(
        table=ModelTable(n_layers=12, d_model=768, n_heads=12, context_length=1024, norm_eps=1e-6), vocab_size=50_304
    ),
}
QUICK = Shape(
    table=ModelTable(n_layers=2, d_model=64, n_heads=2, context_length=64, norm_eps=1e-6),
    vocab_size=512,
    prefill_tokens=16,
    new_tokens=8,
    rows=2,
    has_floors=False,
)
"""For trying the command out: seconds, and nothing to reach."""


def decode_cases(
    shapes: Mapping[str, Shape],
    directory: Path,
    *,
    kinds: Sequence[str] = KINDS,
    precisions: Sequence[str] = PRECISIONS,
) -> Iterator[Case]:
    """The cases asked for, shape by shape; models are made in `directory` when their turn comes.

    Raises:
        MissingExtraError: without transformers.
    """
    for name, shape in shapes.items():
        model = random_model(directory / name, "llama", shape.config, initializer_range=SPREAD)
        for precision in precisions:
            files = _Files(model=model, gguf=_gguf_file(model, LLAMA_CPP[precision]))
            for kind in kinds:
                yield _case(kind, name, shape, precision, files)


@dataclass(frozen=True)
class _Files:
    """The same weights in the form of each side."""

    model: Path
    """A Hugging Face directory."""
    gguf: Path | None
    """None without llama.cpp."""


def _gguf_file(model: Path, kind: str) -> Path | None:
    """The weights in the form of llama.cpp, with a tokenizer of bytes and one merge, since it wants one too."""
    if peer_python("xllamacpp") is None:
        return None
    from hornbook.checkpoint.load import Checkpoint
    from hornbook.config.tokenizer import TokenizerConfig
    from hornbook.interop.gguf_export import export_gguf
    from hornbook.interop.hf import load_hf_directory
    from hornbook.tokenizer.tokenizer import Tokenizer

    ours, _ = load_hf_directory(model)
    checkpoint = Checkpoint(
        path=model,
        step=0,
        kind="light",
        model_config=ours.config,
        objective={"kind": "next_token"},
        weights=ours.state_dict(),
        optimizer=None,
        state={},
        tokenizer=Tokenizer.train(
            ["to be or not to be"], TokenizerConfig(vocab_size=260, special_tokens="pretraining")
        ),
    )
    path = model / f"{kind}.gguf"
    export_gguf(checkpoint, path, kind=kind)  # type: ignore[arg-type]
    return path


def _case(kind: str, name: str, shape: Shape, precision: str, files: _Files) -> Case:
    rows = shape.rows if kind == "batch" else 1
    n_prompt, n_new = (shape.prefill_tokens, 1) if kind == "prefill" else (shape.prompt_tokens, shape.new_tokens)
    prompts = np.random.default_rng(1).integers(256, shape.vocab_size, (rows, n_prompt)).tolist()
    settings = {"model": str(files.model), "prompts": prompts, "new_tokens": n_new, "precision": precision}
    what = f"{rows} row{'s' * (rows > 1)}, {n_prompt} tokens read, {n_new} new"
    return Case(
        name=f"{kind} {name}, {precision}",
        note=f"{shape.parameters / 1e6:.1f}M parameters, random weights; {what}",
        unit="tokens",
        amount=n_prompt if kind == "prefill" else rows * n_new,
        equal={"tokens": 0} if precision == "fp32" else {},
        sides=[
            Side(name="hornbook", file="hornbook_generate.py", settings=settings, threads=available_cores()),
            _limit(kind, shape, precision),
            *_transformers(settings),
            *_llama_cpp(settings, files.gguf),
        ],
        bars=_bars(kind, shape, precision) if shape.has_floors else [],
    )


def _limit(kind: str, shape: Shape, precision: str) -> Side:
    cores = available_cores()
    if kind == "prefill":
        each = sum(flops_per_token(shape.config, context=(shape.prefill_tokens + 1) / 2).values())
        head = flops_per_token(shape.config, context=0)["head"]  # of the last token alone
        operations = shape.prefill_tokens * (each - head) + head
        return Side(name=PRODUCTS, file="bf16_products.py", settings={"operations": operations}, threads=cores)
    settings = {"bytes": shape.parameters * BYTES[precision], "times": shape.new_tokens}
    return Side(name=READS, file="memory_reads.py", settings=settings, threads=cores)


def _transformers(settings: Mapping[str, Any]) -> Iterator[Side]:
    """With the cache that grows, and with the static one."""
    python = peer_python("transformers")
    assert python is not None, "the model could not have been made without it"
    dtype = "float32" if settings["precision"] == "fp32" else "bfloat16"
    for cache in ("dynamic", "static"):
        told = {**settings, "dtype": dtype, "cache": cache}
        yield Side(
            name=f"transformers {cache}",
            file="transformers_generate.py",
            settings=told,
            threads=available_cores(),
            python=python,
        )


def _llama_cpp(settings: Mapping[str, Any], gguf: Path | None) -> Iterator[Side]:
    python = peer_python("xllamacpp")
    if gguf is None or python is None:
        return
    told = {**settings, "gguf": str(gguf)}
    yield Side(
        name=f"llama.cpp {gguf.stem}",
        file="llama_cpp_generate.py",
        settings=told,
        threads=available_cores(),
        python=python,
    )


def _bars(kind: str, shape: Shape, precision: str) -> list[Bar]:
    llama_cpp = f"llama.cpp {LLAMA_CPP[precision]}"
    theirs = [f"transformers {cache}" for cache in ("dynamic", "static")]
    match kind, precision:
        case "decode", "fp32":
            bars = [Bar(kind="ratio", peer=peer, value=4.0) for peer in theirs]
        case "decode", "bf16":
            bars = [Bar(kind="ratio", peer=llama_cpp, value=1.0, aim=1.3)]
        case "decode", "int8":
            bars = [Bar(kind="ratio", peer=llama_cpp, value=1.2, aim=2.0)]
        case "batch", "bf16":
            bars = [Bar(kind="ratio", peer=peer, value=2.0) for peer in theirs]
        case _:
            bars = []
    if kind == "decode" and shape.parameters * BYTES[precision] > BEYOND_CACHES:
        bars.append(Bar(kind="share", peer=READS, value=0.80, aim=0.95))
    return bars

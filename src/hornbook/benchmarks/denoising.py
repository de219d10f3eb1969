"""What `hornbook bench decode --diffusion` compares: our block decoder with the plain full-sequence loop of the field.

    same steps         a token a step: what reading less in each step is worth
    four a step        a quarter of the steps, against the loop at a token a step and at four
    exact cache        a block diffusion model, whose cached decoding is exact: the first block's ids are compared
    threshold          a trained model keeps every token that it is sure enough of; what that does to nll is told

The first three are of random weights, with which text has no meaning and speed is the same. Every step of the plain
loop costs the same, so that a block of it makes the steps of its first block of tokens alone, and its seconds count so
many times. All sides decode one row greedily, in the same precision, with as many threads.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hornbook.benchmarks.harness import Bar, Case
from hornbook.benchmarks.side import Side
from hornbook.config.generate import DenoisingConfig
from hornbook.config.model import ModelTable
from hornbook.models.accounting import parameter_counts
from hornbook.storage.cores import available_cores

PLAIN = "plain loop"
KINDS = ("same-steps", "four-a-step", "exact-cache", "threshold")
PRECISIONS = ("fp32", "bf16")
TRAINED_PROMPTS = 4
Cache = Literal["prefix", "dual", "delayed"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is decoded, by a model of which shape."""

    table: ModelTable
    vocab_size: int
    prompt_tokens: int = 128
    new_tokens: int = 256
    block_length: int = 32
    cache: Cache = "delayed"
    """Of the cases where it may approximate; this one reads least."""

    @property
    def words(self) -> str:
        """The shape for people."""
        parameters = sum(parameter_counts(self.table.complete(vocab_size=self.vocab_size)).values())
        return f"{parameters / 1e6:.1f}M parameters, random weights, {self.lengths}"

    @property
    def lengths(self) -> str:
        """The request for people."""
        return f"prompt {self.prompt_tokens}, {self.new_tokens} new tokens"


REQUEST = Request(table=ModelTable(n_layers=6, d_model=512, n_heads=8, d_ff=1536, context_length=512), vocab_size=8192)
"""25 million parameters."""
QUICK = Request(
    table=ModelTable(n_layers=1, d_model=32, n_heads=2, context_length=32),
    vocab_size=64,
    prompt_tokens=8,
    new_tokens=16,
    block_length=8,
)
"""For trying the command out: seconds, and nothing to reach."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A checkpoint with prompts that suit it."""

    checkpoint: Path
    prompts: Sequence[Sequence[int]]
    block_length: int | None
    """Of a block diffusion model."""
    threshold: float


def denoise_cases(
    request: Request,
    *,
    precisions: Sequence[str] = PRECISIONS,
    kinds: Sequence[str] = KINDS,
    trained: Trained | None = None,
    has_floors: bool = True,
) -> Iterator[Case]:
    """The cases asked for, in each precision; `threshold` only with a trained model."""
    for precision in precisions:
        for kind in kinds:
            match kind:
                case "same-steps":
                    floor = [Bar(kind="ratio", peer=PLAIN, value=6, aim=15)] if has_floors else []
                    yield _case(kind, request, precision, a_step=1, bars=floor)
                case "four-a-step":
                    yield _case(kind, request, precision, a_step=4)
                case "exact-cache":
                    blocks = replace(request, cache="prefix")
                    yield _case(kind, blocks, precision, a_step=1, causal_block=request.block_length)
                case "threshold" if trained is not None:
                    floor = [Bar(kind="ratio", peer=PLAIN, value=20, aim=50)] if has_floors else []
                    yield _trained_case(request, precision, trained, floor)


def _case(
    kind: str,
    request: Request,
    precision: str,
    *,
    a_step: int,
    causal_block: int | None = None,
    bars: Sequence[Bar] = (),
) -> Case:
    settings = {
        **_shared(request, precision),
        "model": request.table.complete(vocab_size=request.vocab_size).model_dump(mode="json"),
        "causal_block": causal_block,
    }
    steps = request.new_tokens // a_step
    denoising = {"denoise_steps": steps, "block_length": request.block_length, "cache": request.cache}
    return Case(
        name=f"denoise {kind}, {precision}",
        note=request.words,
        unit="tokens",
        amount=request.new_tokens,
        equal={"first ids": 0} if causal_block and precision == "fp32" else {},
        sides=[_ours(settings, denoising), *_plain(settings, request, a_steps=sorted({1, a_step}))],
        bars=bars,
    )


def _trained_case(request: Request, precision: str, trained: Trained, bars: Sequence[Bar]) -> Case:
    settings = {
        **_shared(request, precision),
        "checkpoint": str(trained.checkpoint),
        "prompts": [list(prompt) for prompt in trained.prompts],
        "causal_block": trained.block_length,
        "judged": True,
    }
    length = trained.block_length or request.block_length
    denoising = {
        "confidence_threshold": trained.threshold,
        "block_length": length,
        "cache": "prefix" if trained.block_length else request.cache,
    }
    return Case(
        name=f"denoise threshold {trained.threshold:g}, {precision}",
        note=f"{trained.checkpoint}, {len(trained.prompts)} prompts one after another, {request.lengths}",
        unit="tokens",
        amount=request.new_tokens * len(trained.prompts),
        sides=[_ours(settings, denoising), *_plain(settings, replace(request, block_length=length), a_steps=[1])],
        bars=bars,
    )


def _shared(request: Request, precision: str) -> dict[str, Any]:
    return {"precision": precision, "prompt_tokens": request.prompt_tokens, "new_tokens": request.new_tokens}


def _ours(settings: Mapping[str, Any], denoising: Mapping[str, Any]) -> Side:
    checked = DenoisingConfig(**denoising)
    told = {**settings, "denoising": checked.model_dump(mode="json")}
    return Side(name="hornbook", file="hornbook_denoise.py", settings=told, threads=available_cores())


def _plain(settings: Mapping[str, Any], request: Request, *, a_steps: Sequence[int]) -> Iterator[Side]:
    """The loop at each number of tokens a step; of several prompts it fills the first block of the first alone."""
    n_prompts = len(settings.get("prompts", [()]))
    for a_step in a_steps:
        told = {
            **settings,
            "block_length": request.block_length,
            "denoise_steps": request.new_tokens // a_step,
            "most_steps": request.block_length // a_step,
        }
        yield Side(
            name=PLAIN if a_step == 1 else f"{PLAIN}, {a_step} a step",
            file="hornbook_plain_denoise.py",
            settings=told,
            threads=available_cores(),
            share=request.block_length / (request.new_tokens * n_prompts),
        )

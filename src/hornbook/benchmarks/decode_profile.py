"""Where the time of a text goes: prompts read, tokens read, the next ones chosen, text made of them.

A prompt of which every text begins at another token keeps a slot from knowing it already, so that each is read anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hornbook.config.generate import GenerateConfig
from hornbook.generation import text as texts
from hornbook.generation.backends import Backend, Span
from hornbook.generation.beam import BeamSearch
from hornbook.generation.canvas_readers import CachedReader
from hornbook.generation.canvas_readers import FreshReader as CanvasFreshReader
from hornbook.generation.denoising import Denoiser
from hornbook.generation.engine import Engine
from hornbook.generation.engines import Engines
from hornbook.generation.kernel_backend import KernelBackend
from hornbook.generation.prompt_ids import encode_prompt
from hornbook.generation.speculation import Speculation
from hornbook.generation.torch_backend import TorchBackend
from hornbook.models.transformer import Transformer
from hornbook.profiling.memory_use import peaks, reset_peaks
from hornbook.profiling.profile import Profile
from hornbook.profiling.ranges import Point, Recorded, module_ranges, ranged
from hornbook.profiling.step_clock import Breakdown, StepClock, device_clock
from hornbook.profiling.trace import traced
from hornbook.tokenizer.tokenizer import Tokenizer

PARTS = ("prefill", "decode", "denoise", "choose", "text")


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A model and what it is asked for."""

    model: Transformer
    tokenizer: Tokenizer
    objective: Mapping[str, object]
    draft: Transformer | None
    prompt: str
    config: GenerateConfig


def points(read: Callable[[Backend, Sequence[Span]], str]) -> list[Point]:
    """The parts of decoding, in all its engines; `read` names what a backend reads."""
    return [
        *(Point(backend, "read", read) for backend in (KernelBackend, TorchBackend)),
        *(Point(reader, "read", "denoise") for reader in (CachedReader, CanvasFreshReader)),
        *(Point(chooser, "step", "choose") for chooser in (Engine, Speculation, Denoiser)),
        Point(BeamSearch, "search", "choose"),
        Point(texts.RowText, "push", "text"),
    ]


def profile_decoding(asked: Spoken, *, repeats: int, out: Path) -> Profile:
    """Profile so many texts after a first one, and write the trace of one more into the directory `out`.

    Raises:
        GenerationError: if the model cannot be asked for that.
    """
    device = asked.model.token_embedding.weight.device
    notes: list[str] = []
    texts_of = _Texts(asked, Engines(notes.append))
    now = device_clock((lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else None)
    texts_of.timed(1, StepClock(parts=PARTS, last="", now=now))
    reset_peaks(device)
    clock = StepClock(parts=PARTS, last="", now=now)
    tokens = texts_of.timed(repeats, clock)
    found = peaks(device)
    with traced(device) as trace:
        texts_of.recorded()
    path = out / "decode-trace.json.gz"
    trace.write(path)
    whole = Breakdown.of(clock.steps)
    return Profile(
        kind="decode",
        subject=f"texts of {asked.config.max_new_tokens} new tokens after {len(texts_of.prompt)} of a prompt",
        unit="text",
        parts=PARTS,
        ranks=(whole,),
        operators=tuple(trace.operators()),
        tokens_per_second=tokens / repeats / whole.step,
        mfu=None,
        peaks=found,
        facts={
            "device": str(device),
            "backend": "; ".join(texts_of.backends) or "torch",
            **({"note": "; ".join(notes)} if notes else {}),
        },
        files=(path,),
    )


class _Texts:
    """Texts one after another, from one prompt turned about."""

    def __init__(self, asked: Spoken, engines: Engines) -> None:
        self.asked, self.engines = asked, engines
        self.prompt = encode_prompt(asked.tokenizer, asked.prompt)
        self.backends: dict[str, None] = {}
        """Which read, in order: with a draft there are two."""
        self._made = 0

    def timed(self, count: int, clock: StepClock) -> int:
        """Make texts, each a step of `clock`, and return how many tokens they have."""
        tokens = 0
        with ranged(points(self._read), clock):
            for _ in range(count):
                tokens += self._make()
                clock.cut()
        return tokens

    def recorded(self) -> None:
        """Make a text with ranges in the trace."""
        ranges = Recorded()
        with ranged(points(self._read), ranges), module_ranges(self.asked.model, ranges, every=False):
            self._make()

    def _read(self, backend: Backend, spans: Sequence[Span]) -> str:
        """A span of many tokens is a prompt, or a guess that is checked."""
        self.backends[f"{backend.name}, {backend.precision}"] = None
        return "prefill" if any(len(span.tokens) > 1 for span in spans) else "decode"

    def _make(self) -> int:
        asked, at = self.asked, self._made % len(self.prompt)
        self._made += 1
        [made] = texts.generate_text(
            asked.model,
            asked.tokenizer,
            [[*self.prompt[at:], *self.prompt[:at]]],
            asked.config,
            objective=asked.objective,
            draft=asked.draft,
            engines=self.engines,
        )
        return len(made.tokens)

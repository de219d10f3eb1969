"""What a demo learns from, with which settings and for how long: everything decided before the road begins.

Training fills the minutes it is given: a short run of the same configuration measures the seconds of a step, and the
number of steps follows. What was measured here is decided once: precision and steps then stand in demo.toml.
"""

import itertools
import math
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hornbook import assemble
from hornbook.config.data import EmbeddedSource, Source
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.config.tokenizer import END_OF_TEXT
from hornbook.data.shards import TokenStream
from hornbook.data.sources import SourceReport, open_source
from hornbook.distributed.device import resolve_device
from hornbook.errors import DataError
from hornbook.profiling.probe import peak_flops
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.console import ConsoleChoice
from hornbook.tracking.jsonl import read_metrics

LEAST_BYTES = 20_000
"""Of text: below this there is neither a vocabulary to learn nor a held-out part to measure on."""
TOKENIZER_BYTES = 2_000_000
"""The tokenizer reads no more than this, which keeps it to seconds."""
MOST_EPOCHS = 30
"""Passes over a small corpus; more would only learn it by heart."""
PROBE_STEPS = 12
MANY_DOCUMENTS = 100
MAX_TOKENS = 8_000_000
"""Of a corpus of many documents, more than a demo can read is not prepared."""
LONGEST_PROMPT = 40
EMBEDDED_PROMPTS = ("Return the", "This module", "If the")

Settings = dict[str, object]
"""Dotted keys of the configuration, and their values."""

_SETTINGS: Settings = {
    "run.name": "run",
    "data.on_error": "skip",
    "model.preset": "cpu-nano",
    "optim.learning_rate": 4e-3,
    "schedule.kind": "wsd",
    "schedule.warmup_fraction": 0.05,
    "schedule.decay_fraction": 0.4,
    "train.tokens_per_step": 2048,
    "train.micro_batch_size": 16,
    "train.eval_tokens": 16_384,
    "checkpoint.full_every": 0,
    "eval.max_tokens": 16_384,
    "eval.batch_size": 32,
    "generate.max_new_tokens": 60,
    "generate.temperature": 0.7,
    "generate.top_p": 0.9,
}

_DIFFUSION: Settings = {
    "objective.kind": "masked_diffusion",
    "objective.min_mask_probability": 0.05,
    "optim.kind": "muon",
    "optim.learning_rate": 0.03,
    "optim.groups.embedding.learning_rate": 0.03,
    "optim.groups.norm.learning_rate": 0.01,
    "train.eval_tokens": 32_768,
    "generate.max_new_tokens": 64,
    "generate.diffusion.block_length": 16,
    "generate.diffusion.remasking": "random",
    "eval.bound.draws": 8,
}
"""What another objective changes; the rest is the same demo. A mask hides most of a text or little of it, so that it
takes more text to say how good a model is. In so few steps AdamW with all mask probabilities from the start learns how
frequent tokens are and nothing of context (docs/log.md). Places are filled at random, because what a model of minutes
is surest of are line breaks: taken first, they leave an empty page."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What a user may choose."""

    minutes: float = 3.0
    """Bounds the training; everything else takes about one more."""
    corpus: tuple[Path, ...] = ()
    """Text, JSON-lines or Parquet files or folders of the user's own; none is the embedded corpus."""
    out_dir: Path = Path("runs")
    seed: int = 1337
    console: ConsoleChoice = "auto"
    diffusion: bool = False
    """By masked diffusion instead of from left to right."""


def configure(settings: Settings) -> Config:
    """The configuration of these settings."""
    return load_config(None, values=settings).config


def choose_source(corpus: Sequence[Path]) -> Settings:
    """The settings of the source that the user's paths mean, judged by the first of them; or of the embedded corpus."""
    if not corpus:
        return {"data.source.kind": "embedded"}
    ends = {".jsonl": "jsonl", ".parquet": "parquet"}
    name = corpus[0].name.removesuffix(".gz").removesuffix(".zst")
    kind = ends.get(Path(name).suffix, "text")
    source: Settings = {"data.source.kind": kind, "data.source.paths": [str(path) for path in corpus]}
    if kind == "text" and corpus[0].is_file():
        with corpus[0].open("rb") as file:
            if END_OF_TEXT.encode() in file.read(65_536):  # many stories in one file, as TinyStories comes
                source["data.source.document_separator"] = END_OF_TEXT
    return source


def settings_of(options: DemoOptions, source: Settings, root: Path, texts: Sequence[bytes]) -> Settings:
    """Everything but the number of steps, for a corpus that begins with `texts`."""
    text_bytes = sum(map(len, texts))
    # About as many merges as the text has evidence for.
    vocab_size = 2048 if text_bytes > 1_000_000 else 1024 if text_bytes > 200_000 else 512
    return {
        **_SETTINGS,
        **(_DIFFUSION if options.diffusion else {}),
        **source,
        **_split_of(len(texts)),
        "data.path": str(root / "data"),
        "tokenizer.path": str(root / "tokenizer"),
        "tokenizer.vocab_size": vocab_size,
        "tokenizer.max_bytes": TOKENIZER_BYTES,
        "run.out_dir": str(root),
        "run.seed": options.seed,
        "train.precision": faster_precision(),
        "tracking.console": options.console,
    }


def _split_of(n_documents: int) -> Settings:
    """Few documents are cut by position: by a hash of each, all text of a single file would fall on one side."""
    if n_documents < MANY_DOCUMENTS:
        return {"data.split": "position"}
    return {"data.split": "documents", "data.max_tokens": MAX_TOKENS}


def faster_precision() -> Literal["fp32", "bf16"]:
    """bf16 where its products are clearly faster than fp32's: many a laptop's processor only imitates them."""
    device = resolve_device("auto")
    bf16, fp32 = peak_flops(device, "bf16"), peak_flops(device, "fp32")
    return "bf16" if bf16 is not None and fp32 is not None and bf16 > 1.3 * fp32 else "fp32"


def first_texts(source: Source) -> list[bytes]:
    """The first documents, as many as the tokenizer reads.

    Raises:
        DataError: there are fewer than LEAST_BYTES.
    """
    texts: list[bytes] = []
    size = 0
    for document in open_source(source, on_error="skip", report=SourceReport()):
        texts.append(document.text)
        size += len(document.text)
        if size >= TOKENIZER_BYTES:
            break
    if size < LEAST_BYTES:
        raise DataError(
            f"the corpus has {size:,} bytes of text, the demo needs at least {LEAST_BYTES:,} (some 3,000 words); "
            "give more files with --corpus, or none for the embedded text"
        )
    return texts


def new_directory(out_dir: Path) -> Path:
    """A directory of this demo alone, named after the time."""
    name = time.strftime("demo-%Y-%m-%d-%H%M%S")
    for attempt in range(1, 100):
        root = out_dir / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            root.mkdir(parents=True)
        except FileExistsError:
            continue
        return root
    raise DataError(f"{out_dir / name}: this directory and 98 like it exist; remove some, or choose another --out")


def prompts_for(source: Source, tokenizer: Tokenizer, held_out: TokenStream) -> list[str]:
    """Openings that suit the text: of the user's own, the first words of three held-out lines, and few letters of long
    ones, since a text with its opening must fit the context."""
    if isinstance(source, EmbeddedSource):
        return list(EMBEDDED_PROMPTS)
    text = tokenizer.decode(held_out.read(0, min(held_out.n_tokens, 4000)).tolist(), skip_special=True)
    lines = [line.split() for line in text.splitlines()]
    openings = [" ".join(words[:3])[:LONGEST_PROMPT] for words in lines if len(words) >= 4] or [text[:12]]
    return list(dict.fromkeys(openings[i * len(openings) // 3] for i in range(3)))


def seconds_per_step(settings: Settings, probe_root: Path, *, minutes: float) -> float:
    """Median time of a step in a short run (a tenth of `minutes` at most) that leaves nothing behind."""
    short = {
        "run.out_dir": str(probe_root),
        "train.steps": PROBE_STEPS,
        "train.max_minutes": minutes / 10,
        "train.log_every": 1,
        "train.eval_every": 0,
        "checkpoint.best": False,
        "tracking.console": "none",
    }
    try:
        probe = assemble.train(configure(settings | short))
        if probe.result.stop_reason == "preempted":
            raise KeyboardInterrupt
        events = read_metrics(probe.run_dir.metrics_file)
    finally:
        shutil.rmtree(probe_root, ignore_errors=True)
    times = [time for event in events if event["event"] == "train" and isinstance(time := event["time"], float)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return statistics.median(gaps) if gaps else probe.result.seconds


def affordable_steps(minutes: float, seconds: float, *, tokens: int, tokens_per_step: int) -> int:
    """Steps that fit 85 % of the minutes (the rest is for validation and samples), and MOST_EPOCHS."""
    affordable = int(0.85 * 60 * minutes / max(seconds, 1e-3))
    useful = math.ceil(MOST_EPOCHS * tokens / tokens_per_step)
    return max(10, min(affordable, useful))


def schedule_of(minutes: float, steps: int, prompts: Sequence[str], *, diffusion: bool = False) -> Settings:
    """The settings that follow from the number of steps."""
    return {
        "train.steps": steps,
        "train.max_minutes": minutes,
        "train.log_every": max(1, steps // 100),
        "train.eval_every": max(1, steps // 8),
        "train.sample_every": max(1, steps // 4),
        "train.sample_prompts": list(prompts[:1]),
        "generate.prompts": list(prompts),
        **({"objective.curriculum_start": 0.3, "objective.curriculum_steps": steps // 2} if diffusion else {}),
    }

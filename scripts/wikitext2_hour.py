"""Train configs/wikitext2-vaswani-hour.toml and configs/wikitext2-hour.toml for an hour each, and compare them.

    python scripts/wikitext2_hour.py FOLDER [--minutes 60]

HORNBOOK_DATA names the folder (default: ../shared/data) of pretrain/wikitext-2 and tokenizer/cl100k_base.tiktoken.
Everything is written to FOLDER: the text cut into articles, the tokenizer, the data, plan.json with the steps that a
probe of this machine says fit into the time, runs/NAME with all checkpoints, log.jsonl with what all commands said,
report.html, and result.md, which is printed at the end. After an interruption the same command goes on from there;
what is whole is not made again.

Both recipes have the same text and vocabulary and as many parameters. The published curve is scratch-former's, whose
setting the first of them is: perplexity of the last token of windows of 257 tokens of the validation text, tokens of
cl100k. The bits per byte beside it are those of as many such tokens as our validation text has.
"""

import argparse
import gzip
import io
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.data.fetch import KNOWN, under_headings
from hornbook.storage.atomic import commit_directory, replace_file
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TEXTS = {"train": "wiki.train.tokens.gz", "validation": "wiki.valid.tokens"}
ARTICLES = Path("data/raw/wikitext-2")
PUBLISHED = {5: 134.39, 10: 85.78, 20: 60.38, 50: 46.59, 100: 38.58, 150: 36.23, 190: 34.387, 200: 34.423}
"""Thousands of steps of 2,560 tokens -> perplexity, from the record of the source's training."""
NOAM_STEPS, NOAM_WARMUP = 200_000, 4000
SHARE_OF_STEPS = 0.98
"""Of the time; the rest is compiling. Validation and saving are not counted."""
POINTS = 10
"""Of each curve."""
COLUMNS = "| nats/token | perplexity | word perplexity | bits/byte |"


@dataclass(frozen=True)
class Recipe:
    """One of the pair."""

    name: str
    tokens_per_step: int
    is_noam: bool

    def settings(self, steps: int) -> list[str]:
        """What the number of steps decides."""
        every = max(1, steps // POINTS)
        settings = {"train.steps": steps, "train.eval_every": every, "checkpoint.light_every": every}
        # Where both are due there is a full one alone, and the curve needs it.
        settings |= {"checkpoint.full_every": 2 * every, "checkpoint.full_keep": POINTS}
        settings |= {"checkpoint.light_keep": 2 * POINTS}
        if self.is_noam:
            settings |= {"schedule.warmup_steps": max(1, round(steps * NOAM_WARMUP / NOAM_STEPS))}
        rate = {"optim.learning_rate": round(math.sqrt(steps / NOAM_STEPS), 6)} if self.is_noam else {}
        return [f"{key}={value}" for key, value in {**settings, **rate}.items()]


RECIPES = (
    Recipe("wikitext2-vaswani-hour", 2560, is_noam=True),
    Recipe("wikitext2-hour", 5120, is_noam=False),
)


def main() -> int:
    """Everything, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, for each of the two; default: 60")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="over both recipes, for a trial"
    )
    args = parser.parse_args()
    texts = Path(os.environ.get("HORNBOOK_DATA", "../shared/data")).resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    cut_into_articles(texts / "pretrain" / "wikitext-2")
    first = str(CONFIGS / f"{RECIPES[0].name}.toml")
    if not Path("tokenizers/wikitext2").exists():
        hornbook("tokenizer", "train", first)
    hornbook("data", "prepare", first)
    steps = planned(args.minutes, args.set)
    for recipe in RECIPES:
        said = f"{steps[recipe.name]:,} steps of {recipe.tokens_per_step:,} tokens"
        print(f"training {recipe.name}: {said}", file=sys.stderr, flush=True)
        train(recipe, [*recipe.settings(steps[recipe.name]), *args.set], resume=True)
    result = "\n".join(page(texts))
    replace_file(Path("result.md"), result + "\n")
    hornbook("report", *(f"runs/{recipe.name}" for recipe in RECIPES), "--out", "report.html")
    print(result)
    return 0


def hornbook(*words: str) -> list[dict[str, Any]]:
    """Run a command here; the events that it printed, which stand in log.jsonl too. It ends this program where it
    fails."""
    log = Path("log.jsonl")
    before = log.stat().st_size if log.exists() else 0
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "hornbook", *words], stdout=file, check=False)
    if done.returncode:
        sys.exit(f"hornbook {' '.join(words)}: ended with status {done.returncode}")
    printed = log.read_bytes()[before:].decode().splitlines()
    return [json.loads(line) for line in printed if line.startswith("{")]


def cut_into_articles(texts: Path) -> None:
    """WikiText-2 as JSON lines, an article each, as `hornbook data fetch wikitext-2-raw` would write them."""
    heading = KNOWN["wikitext-2-raw"].heading
    assert heading is not None
    if ARTICLES.exists():
        return
    with commit_directory(ARTICLES) as temporary:
        for split, name in TEXTS.items():
            data = (texts / name).read_bytes()
            lines = io.StringIO((gzip.decompress(data) if name.endswith(".gz") else data).decode())
            articles = list(under_headings(({"text": line} for line in lines), heading))
            written = "".join(json.dumps(row) + "\n" for row in articles if str(row["text"]).strip())
            (temporary / f"{split}.jsonl.gz").write_bytes(gzip.compress(written.encode(), mtime=0))


def planned(minutes: float, more: list[str]) -> dict[str, int]:
    """Steps of each recipe: from plan.json, or from a probe of some 100,000 tokens, compiled as the run will be."""
    plan = Path("plan.json")
    if plan.exists():
        kept: dict[str, int] = json.loads(plan.read_text(encoding="utf-8"))["steps"]
        return kept
    speeds = {recipe.name: probed(recipe, more) for recipe in RECIPES}
    share = 60 * minutes * SHARE_OF_STEPS
    steps = {each.name: int(speeds[each.name] * share / each.tokens_per_step) for each in RECIPES}
    steps = {name: max(POINTS, count // POINTS * POINTS) for name, count in steps.items()}
    content = {"minutes": minutes, "tokens_per_second": speeds, "steps": steps}
    replace_file(plan, json.dumps(content, indent=1) + "\n")
    return steps


def probed(recipe: Recipe, more: list[str]) -> float:
    """Tokens a second: the median of what ten pieces of a short run say."""
    print(f"probing the speed of {recipe.name}", file=sys.stderr, flush=True)
    shutil.rmtree("probe", ignore_errors=True)
    n = max(20, 100_000 // recipe.tokens_per_step)
    short = [f"train.log_every={n // 10}", "train.eval_every=0", "checkpoint.light_every=0", "checkpoint.full_every=0"]
    train(recipe, [*recipe.settings(n), *short, 'train.compile="on"', *more, 'run.out_dir="probe"'], resume=False)
    events = read_metrics(Path("probe", recipe.name, "metrics.jsonl"))
    speeds = [event["train/tokens_per_second"] for event in events if "train/tokens_per_second" in event]
    shutil.rmtree("probe")
    return round(statistics.median(speeds[1:]), 1)


def train(recipe: Recipe, settings: list[str], *, resume: bool) -> None:
    """Train, or go on, or find it done."""
    given = [word for setting in settings for word in ("--set", setting)]
    hornbook("train", str(CONFIGS / f"{recipe.name}.toml"), *given, *(["--resume"] if resume else []))


def page(texts: Path) -> Iterator[str]:
    """The result as Markdown: both cards, both curves and the published one."""
    runs = {recipe.name: RunDir.open(Path("runs", recipe.name)) for recipe in RECIPES}
    yield from cards(runs)
    for name, run in runs.items():
        yield from curve(name, run)
    yield from published(texts / "tokenizer" / "cl100k_base.tiktoken")


def cards(runs: Mapping[str, RunDir]) -> Iterator[str]:
    """Whole-text perplexity of the last checkpoint of each, by a window that slides by half."""
    yield "| recipe | parameters | steps | tokens | training seconds | tokens/s " + COLUMNS
    yield "| --- " * 10 + "|"
    first, second = runs
    *found, compared = kept_events("compared", "eval", "perplexity", f"runs/{first}", "--compare", f"runs/{second}")
    for (name, run), card in zip(runs.items(), found, strict=True):
        events = read_metrics(run.metrics_file)
        start = next(event for event in events if event["event"] == "start")
        logged = {event["step"]: event for event in events if event["event"] == "train"}
        last, seconds = logged[max(logged)], training_seconds(logged)
        yield (
            f"| {name} | {start['n_parameters']:,} | {last['step']:,} | {last['train/tokens']:,} | {seconds:,.0f} "
            f"| {last['train/tokens'] / seconds:,.0f} | {card['nats_per_token']:.4f} "
            f"| {card['perplexity']:.2f} {between(card, 'perplexity')} | {optional(card.get('word_perplexity'))} "
            f"| {card['bits_per_byte']:.4f} {between(card, 'bits_per_byte')} |"
        )
    yield f"\nOf the validation text, {found[0]['protocol']}.\n"
    yield (
        f"{second} less {first}: {compared['difference']:+.4f} bits/byte "
        f"{between(compared, 'difference')}, on the same blocks of bytes.\n"
    )


def curve(name: str, run: RunDir) -> Iterator[str]:
    """By the source's own protocol, every checkpoint that was kept."""
    yield f"{name}, last-token protocol of the source:\n"
    yield "| step | tokens | validation loss | perplexity | nats/token | bits/byte | tokens scored |"
    yield "| --- " * 7 + "|"
    events = read_metrics(run.metrics_file)
    of_step = {event["step"]: event for event in events if event["event"] == "checkpoint"}
    losses = {event["step"]: event["val/loss"] for event in events if event["event"] == "val"}
    tokens = next(recipe.tokens_per_step for recipe in RECIPES if recipe.name == name)
    for step in sorted(of_step):
        path = run.checkpoints / f"step-{step:08d}"
        if path.exists():
            (card,) = kept_events(f"{name}-{step}", "eval", "perplexity", str(path), "--protocol", "last-token")
            yield (
                f"| {step:,} | {step * tokens:,} | {optional(losses.get(step), 4)} "
                f"| {card['perplexity']:.2f} {between(card, 'perplexity')} "
                f"| {card['nats_per_token']:.3f} | {optional(card.get('bits_per_byte'), 3)} "
                f"| {card['tokens_scored']:,} |"
            )
    yield ""


def kept_events(name: str, *words: str) -> list[dict[str, Any]]:
    """The cards that a command prints, from measured/NAME.json if it ran before."""
    kept = Path("measured", f"{name}.json")
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        events = [event for event in hornbook(*words) if event["event"] in ("eval", "eval_compare")]
        replace_file(kept, json.dumps(events, indent=1) + "\n")
    found: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def published(ranks: Path) -> Iterator[str]:
    """The source's points, and what they are in bits per byte of this text."""
    imported = Path("tokenizers/cl100k")
    if not imported.exists():
        hornbook("tokenizer", "import", str(ranks), str(imported))
    tokenizer = Tokenizer.load(imported)
    with gzip.open(ARTICLES / "validation.jsonl.gz", "rt", encoding="utf-8") as file:
        articles = [json.loads(line)["text"].encode() for line in file]
    n_tokens = len(tokenizer.encode_batch(articles)[0]) + len(articles)  # end of text after each
    n_bytes = sum(map(len, articles))
    yield f"scratch-former as published, the same protocol; {n_tokens:,} cl100k tokens of {n_bytes:,} bytes:\n"
    yield "| step | tokens | perplexity of a cl100k token | bits/byte |"
    yield "| --- " * 4 + "|"
    for thousands, perplexity in PUBLISHED.items():
        bits = math.log2(perplexity) * n_tokens / n_bytes
        yield f"| {1000 * thousands:,} | {2560 * 1000 * thousands:,} | {perplexity} | {bits:.3f} |"


def training_seconds(logged: Mapping[int, Mapping[str, Any]]) -> float:
    """Of all steps, compiling included; validation, saving and starting are not in it."""
    seconds, before = 0.0, 0
    for step in sorted(logged):
        event = logged[step]
        tokens, compiling = event["train/tokens"] - before, event.get("train/compile_seconds", 0.0)
        tokens -= event["train/tokens"] / step if compiling else 0  # that step is in the time of compiling
        seconds += compiling + tokens / event.get("train/tokens_per_second", math.inf)
        before = event["train/tokens"]
    return seconds


def between(card: Mapping[str, Any], name: str) -> str:
    """The interval of a number, where it is known."""
    low, high = card.get(f"{name}_low"), card.get(f"{name}_high")
    return "" if low is None or high is None else f"({low:.4g} to {high:.4g})"


def optional(value: float | None, digits: int = 1) -> str:
    """A number that a card may lack."""
    return "" if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())

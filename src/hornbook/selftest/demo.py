"""The whole life of a small model from nothing: text, tokenizer, shards, training, perplexity, generated text.

It calls the rooms that the verbs call, in the order in which a user would, and tells of each stage as it ends.
Everything of one demo lies in one new directory:

    OUT/demo-2026-07-04-120000/   demo.toml  tokenizer/  data/  run/
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hornbook import assemble
from hornbook.config.dump import to_toml
from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.prepare import PrepareProgress, prepare
from hornbook.data.shards import TokenStream
from hornbook.distributed.device import resolve_device
from hornbook.evaluation.card import EvaluationCard
from hornbook.evaluation.diffusion_bound import evaluate_bound
from hornbook.evaluation.perplexity import evaluate_perplexity
from hornbook.generation.text import generate_text
from hornbook.models.transformer import Transformer
from hornbook.selftest.plan import (
    DemoOptions,
    Settings,
    affordable_steps,
    choose_source,
    configure,
    first_texts,
    new_directory,
    prompts_for,
    schedule_of,
    seconds_per_step,
    settings_of,
)
from hornbook.storage.atomic import replace_file
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tokenizer.train import TrainProgress
from hornbook.tracking.jsonl import read_metrics
from hornbook.tracking.plot import LossCurves, plot_text, save_plot
from hornbook.tracking.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage that has ended: its name, what to tell a person, and the numbers for a program."""

    name: str
    words: str
    numbers: Mapping[str, object] = field(default_factory=dict)


Tell = Callable[[Stage], None]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Where everything lies, and how the perplexity of held-out text changed."""

    root: Path
    run_dir: RunDir
    config: Config
    settings: Settings
    """What the configuration was made of."""
    model: Transformer
    before: EvaluationCard
    after: EvaluationCard
    is_finished: bool
    """False when a signal stopped the training."""


def run_demo(options: DemoOptions, tell: Tell) -> DemoResult:
    """Live the whole life once, in a new directory below `options.out_dir`.

    Raises:
        DataError: the corpus is missing, unreadable or too small.
    """
    source = choose_source(options.corpus)
    texts = first_texts(configure(source).data.source)
    root = new_directory(options.out_dir)
    settings = settings_of(options, source, root, texts)
    config = configure(settings)
    tokenizer = _train_tokenizer(config, texts, tell)
    dataset = _prepare(config, tokenizer, tell)
    held_out = dataset.split("valid")
    prompts = prompts_for(config.data.source, tokenizer, held_out)
    seconds = seconds_per_step(settings, root / "probe", minutes=options.minutes)
    tokens, per_step = dataset.split("train").n_tokens, config.positions_per_step
    steps = affordable_steps(options.minutes, seconds, tokens=tokens, tokens_per_step=per_step)
    tell(_probed(seconds, steps))
    settings = settings | schedule_of(options.minutes, steps, prompts, diffusion=options.diffusion)
    config = configure(settings)
    replace_file(root / "demo.toml", to_toml(config))

    before = _score(config, _untrained(config, tokenizer), tokenizer, held_out)
    tell(_scored("before", "untrained", before))
    trained = assemble.train(config)
    after = _score(config, trained.model, tokenizer, held_out)
    tell(_scored("after", f"after {trained.result.state.step:,} steps", after))
    _generate(config, trained.model, tokenizer, tell)
    _plot(trained.run_dir, tell)
    return DemoResult(
        root=root,
        run_dir=trained.run_dir,
        config=config,
        settings=settings,
        model=trained.model,
        before=before,
        after=after,
        is_finished=trained.result.stop_reason != "preempted",
    )


def _train_tokenizer(config: Config, texts: Sequence[bytes], tell: Tell) -> Tokenizer:
    with Progress("tokenizer", console=config.tracking.console) as progress:

        def show(at: TrainProgress) -> None:
            progress.update(at.done, at.total, phase=at.phase)

        tokenizer = Tokenizer.train(texts, config.tokenizer, progress=show)
    tokenizer.save(config.tokenizer.path)
    size = sum(map(len, texts))
    words = f"Tokenizer: {tokenizer.vocab_size:,} tokens learnt from {size / 1e6:.2g} MB of text"
    tell(Stage(name="tokenizer", words=words, numbers={"vocab_size": tokenizer.vocab_size, "text_bytes": size}))
    return tokenizer


def _prepare(config: Config, tokenizer: Tokenizer, tell: Tell) -> Dataset:
    with Progress("data", unit="bytes", console=config.tracking.console) as progress:

        def show(at: PrepareProgress) -> None:
            progress.update(at.text_bytes, at.total_bytes, documents=at.documents, tokens=at.tokens)

        dataset = prepare(config.data, tokenizer, progress=show)
    counts = {name: dataset.split(name).n_tokens for name in dataset.splits}
    shown = ", ".join(f"{count:,} tokens to {name}" for name, count in counts.items())
    tell(Stage(name="data", words=f"Data: {shown}", numbers={"tokens": counts}))
    return dataset


def _probed(seconds: float, steps: int) -> Stage:
    words = f"Probe: {seconds:.3f} s a step, so {steps:,} steps in about {steps * seconds / 60:.1f} minutes"
    return Stage(name="probe", words=words, numbers={"seconds_per_step": seconds, "steps": steps})


def _untrained(config: Config, tokenizer: Tokenizer) -> Transformer:
    model = Transformer(config.model.complete(vocab_size=tokenizer.vocab_size), seed=config.run.seed)
    return model.to(resolve_device(config.run.device))


def _score(config: Config, model: Transformer, tokenizer: Tokenizer, held_out: TokenStream) -> EvaluationCard:
    if config.objective.kind == "next_token":
        return evaluate_perplexity(model, tokenizer, held_out, config.eval, data=held_out.name)
    objective = config.objective.model_dump(mode="json")
    return evaluate_bound(model, tokenizer, held_out, config.eval, objective=objective, data=held_out.name)


def _scored(name: str, when: str, card: EvaluationCard) -> Stage:
    at_most = "at most " if card.suffix else ""
    bits = "" if card.bits_per_byte is None else f", {at_most}{card.bits_per_byte:.3f} bits per byte"
    numbers = {
        f"perplexity{card.suffix}": card.perplexity,
        f"bits_per_byte{card.suffix}": card.bits_per_byte,
        "tokens_scored": card.tokens_scored,
    }
    words = f"Perplexity of held-out text, {when}: {at_most}{card.perplexity:,.1f}{bits}"
    return Stage(name=name, words=words, numbers=numbers)


def _generate(config: Config, model: Transformer, tokenizer: Tokenizer, tell: Tell) -> None:
    model.eval()
    prompts = config.generate.prompts
    seeds = range(config.run.seed, config.run.seed + len(prompts))  # one seed would make texts of one rhythm
    objective = config.objective.model_dump(mode="json")
    for made in generate_text(model, tokenizer, prompts, config.generate, objective=objective, seeds=seeds):
        words = f"\n--- {made.prompt!r} goes on:\n{made.prompt}{made.text}"
        tell(Stage(name="generate", words=words, numbers={"prompt": made.prompt, "output": made.text}))


def _plot(run_dir: RunDir, tell: Tell) -> None:
    curves = LossCurves.of(read_metrics(run_dir.metrics_file))
    files = save_plot(curves, run_dir.plots, title=str(run_dir.root))
    words = "\n".join(["", plot_text(curves), *map(str, files), ""])
    tell(Stage(name="plot", words=words, numbers={"files": files}))

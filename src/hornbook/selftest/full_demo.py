"""The whole life of a chat model: the demo's own, then answers, then preferences, then a talk, on small tasks.

    OUT/demo-2026-07-04-120000/   demo.toml  tokenizer/  data/  run/    the demo
                                  sft.toml   sft-data/   sft/           right answers to tasks, from run/
                                  dpo.toml   dpo-data/   dpo/           right answers beside wrong ones, from sft/
                                  report.html

The tasks (reverse or copy a word, sort its digits) have one right answer each, so that what was learnt can be counted.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hornbook import assemble
from hornbook.assemble import TrainedRun
from hornbook.config.dump import to_toml
from hornbook.config.generate import EvalConfig
from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.tasks import task_of
from hornbook.data.tuning import prepare_tuning
from hornbook.evaluation.candidate import Candidate, nats_of
from hornbook.evaluation.exact_match import exact_match
from hornbook.evaluation.prompts import Conversation, read_conversations
from hornbook.generation.text import generate_text
from hornbook.models.transformer import Transformer
from hornbook.reporting.page import page
from hornbook.reporting.record import read_runs
from hornbook.selftest.demo import DemoResult, Stage, Tell, run_demo
from hornbook.selftest.plan import DemoOptions, Settings, configure, schedule_of, seconds_per_step
from hornbook.storage.atomic import replace_file
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics

Tuning = Literal["sft", "dpo"]

SHARES = {"run": 0.25, "sft": 0.6, "dpo": 0.15}
"""Of the minutes."""
MOST_STEPS = {"sft": 4000, "dpo": 60}
"""More would teach nothing new; of preferences, more makes right answers improbable, too."""
EXAMINED = 200
"""Held-out tasks that are answered and counted."""

_TASKS: Settings = {
    "data.source.kind": "tasks",
    "data.source.tasks": ["reverse", "copy", "sort"],
    "data.source.min_length": 4,
    "data.source.max_length": 6,
    "data.valid_fraction": 0.05,
    "optim.learning_rate": 3e-3,
    "train.sequences_per_step": 32,
    "train.micro_batch_size": 32,
    "generate.temperature": 0.0,
    "generate.max_new_tokens": 16,
}
_TUNING: Mapping[Tuning, Settings] = {
    "sft": {**_TASKS, "data.stage": "sft"},
    "dpo": {**_TASKS, "data.stage": "dpo", "objective.kind": "preference", "optim.learning_rate": 1e-4},
}
_OF_TEXT = ("data.source.", "data.split", "data.max_tokens", "train.tokens_per_step", "train.sample_")
"""Settings of the base model that mean nothing here."""


@dataclass(frozen=True, kw_only=True)
class FullResult:
    """What a whole life leaves."""

    base: DemoResult
    runs: tuple[RunDir, ...]
    """Of the stages that were begun: run, sft, dpo."""
    sft_steps: int
    """0 if that was not begun."""
    is_finished: bool
    """False when a signal stopped the last of them."""

    @property
    def report(self) -> Path:
        """One page of all runs, once all are finished."""
        return self.base.root / "report.html"


def run_full_demo(options: DemoOptions, tell: Tell) -> FullResult:
    """Live the whole life once, in a new directory below `options.out_dir`.

    Raises:
        DataError: as `run_demo`.
    """
    base = run_demo(replace(options, minutes=options.minutes * SHARES["run"]), tell)
    runs, finished = [base.run_dir], base.is_finished
    exam: list[Conversation] = []
    sft_steps = 0
    stages: tuple[Tuning, ...] = ("sft", "dpo")
    for name in stages if finished else ():
        config = _plan(base, runs[-1], name, options.minutes * SHARES[name], tell)
        if name == "sft":
            exam, sft_steps = _exam(config), config.train.steps
            tell(_examined("base", base.model, config, exam))
        trained = assemble.train(config)
        runs.append(trained.run_dir)
        finished = trained.result.stop_reason != "preempted"
        if not finished:
            break
        tell(_examined(name, trained.model, config, exam))
        if name == "dpo":
            tell(_preferred(trained))
            _talk(config, trained, exam, tell)
    result = FullResult(base=base, runs=tuple(runs), sft_steps=sft_steps, is_finished=finished)
    if finished:
        replace_file(result.report, page(read_runs([run.root for run in runs])))
        words = f"Report: {result.report} shows the curves of all three runs"
        tell(Stage(name="report", words=words, numbers={"file": result.report}))
    return result


def _plan(base: DemoResult, start: RunDir, name: Tuning, minutes: float, tell: Tell) -> Config:
    """The configuration of a stage, its data prepared and its steps counted; also written as NAME.toml."""
    kept = {key: value for key, value in base.settings.items() if not key.startswith(_OF_TEXT)}
    settings: Settings = {
        **kept,
        **_TUNING[name],
        "run.name": name,
        "data.path": str(base.root / f"{name}-data"),
        "model.init_from": str(start.root),
    }
    config = configure(settings)
    dataset = prepare_tuning(config, Tokenizer.load(config.tokenizer.path))
    seconds = seconds_per_step(settings, base.root / "probe", minutes=minutes)
    steps = max(10, min(MOST_STEPS[name], int(0.85 * 60 * minutes / max(seconds, 1e-3))))
    config = configure(settings | schedule_of(minutes, steps, ()) | {"train.sample_every": 0})
    replace_file(base.root / f"{name}.toml", to_toml(config))
    documents = {split: dataset.split(split).n_documents for split in dataset.splits}
    what = {"sft": "Tasks and their answers", "dpo": "Right answers and wrong ones"}[name]
    words = (
        f"{what}: {documents['train']:,} to learn from, {documents.get('valid', 0):,} held out; "
        f"{steps:,} steps in about {steps * seconds / 60:.1f} minutes"
    )
    numbers = {"documents": documents, "seconds_per_step": seconds, "steps": steps}
    tell(Stage(name=f"{name}-data", words=words, numbers=numbers))
    return config


def _exam(config: Config) -> list[Conversation]:
    """Some held-out tasks with their answers."""
    held_out = Dataset.open(config.data.path).split("valid")
    return list(itertools.islice(read_conversations(held_out), EXAMINED))


def _examined(name: str, model: Transformer, config: Config, exam: Sequence[Conversation]) -> Stage:
    """How a model does in the exam."""
    tokenizer = Dataset.open(config.data.path).tokenizer()
    candidate = Candidate(model=model, tokenizer=tokenizer, objective=config.objective.model_dump(mode="json"))
    settings = EvalConfig(batch_size=EXAMINED)
    nats = float(nats_of(candidate, exam, settings).sum()) / sum(int(each.trained.sum()) for each in exam)
    found = exact_match(candidate, exam, settings, config.generate)
    when = {"base": "before any is learnt", "sft": "after answers", "dpo": "after preferences"}[name]
    each = ", ".join(f"{task} {count.right}/{count.n}" for task, count in found.tasks.items())
    words = f"Tasks never seen, {when}: {found.all.right} of {found.all.n} right ({each}); {nats:.3f} nats a token"
    numbers = {"right": found.all.right, "asked": found.all.n, "nats_per_token": nats}
    return Stage(name=f"exam-{name}", words=words, numbers=numbers)


def _preferred(trained: TrainedRun) -> Stage:
    """How often the right answer gained on the wrong one, in the last validation."""
    *_, last = (event for event in read_metrics(trained.run_dir.metrics_file) if event["event"] == "val")
    numbers = {name: last[f"val/rewards/{name}"] for name in ("accuracy", "margin")}
    words = (
        f"Pairs never seen: the right answer gained on the wrong one in {numbers['accuracy']:.1%}, "
        f"by {numbers['margin']:.2f} on average"
    )
    return Stage(name="preferences", words=words, numbers=numbers)


def _talk(config: Config, trained: TrainedRun, exam: Sequence[Conversation], tell: Tell) -> None:
    """One prompt of each task, as `hornbook chat` would answer it."""
    tokenizer = trained.tokenizer
    asked = {task_of(tokenizer.decode(each.prompt)): each for each in reversed(exam)}
    trained.model.eval()
    made = generate_text(trained.model, tokenizer, [each.prompt for each in asked.values()], config.generate)
    for each, answer in zip(asked.values(), made, strict=True):
        prompt = tokenizer.decode(each.prompt, skip_special=True)
        words = f"\n> {prompt}\n{answer.text}"
        tell(Stage(name="chat", words=words, numbers={"prompt": prompt, "output": answer.text}))

"""`hornbook eval`: how surprised a model is by a text, with a card that says how that was measured.

    perplexity    of a model that names the next token; exact
    bound         of a diffusion model; at most
    answers       of a tuned model: held-out answers, likelihood and exact match
    preference    of a tuned model: held-out pairs of answers, against a reference
    samples       of any model: what the texts that it writes are made of
    harness       questions with choices and last words, from local files, by lm-eval or our own scorer

Without --config the configuration of the checkpoint's own run counts, but for its tracking.console and for settings of
[eval] that exclude a flag or are of another measure, so that `hornbook eval perplexity RUN` scores the validation split
that the run was validated on, whole.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import eval_harness, eval_perplexity, eval_samples, eval_tuned, from_checkpoint
from hornbook.cli.eval_card import keep

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.evaluation.card import EvaluationCard

FLAGS = ("checkpoint", "text", "split", "window", "stride", "batch_size", "max_tokens")
"""Settings of [eval] that have a flag of their own."""
BOUND_FLAGS = ("bound.estimator", "bound.draws", "bound.seed", "bound.prompt", "bound.answer")
"""Those of `eval bound` alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook eval` takes."""
    measures = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    perplexity = measures.add_parser(
        "perplexity",
        help="perplexity by token and word and bits per byte, under a stated protocol, with an interval",
        description="Perplexity by token and word and bits per byte, under a stated protocol, with an interval. By "
        "default a strided sliding window: every token is scored once.",
    )
    _add_text_arguments(perplexity, stride="half the window; 1 is exact, slow", batch="windows")
    eval_perplexity.add_arguments(perplexity)
    bound = measures.add_parser(
        "bound",
        help="at most how large perplexity and bits per byte of a diffusion model are",
        description="An upper bound on perplexity and bits per byte of a diffusion model: every token is hidden and "
        "measured, over several ways to hide the others; or of one answer to a prompt.",
    )
    _add_text_arguments(bound, stride="the window, so that each starts cold", batch="readings")
    estimators = ("fixed_count", "bernoulli", "exact")
    bound.add_argument("--estimator", dest="bound.estimator", choices=estimators, help="default: fixed_count")
    bound.add_argument("--draws", dest="bound.draws", type=int, metavar="N", help="readings a window; default: 16")
    bound.add_argument(
        "--seed", dest="bound.seed", type=int, metavar="SEED", help="the same seed hides the same tokens"
    )
    bound.add_argument("--prompt", dest="bound.prompt", metavar="TEXT", help="what stands before --answer, visible")
    bound.add_argument("--answer", dest="bound.answer", metavar="TEXT", help="measure this text and no split")
    eval_tuned.add_arguments(measures)
    eval_samples.add_arguments(measures)
    eval_harness.add_arguments(measures)


def _add_text_arguments(parser: argparse.ArgumentParser, *, stride: str, batch: str) -> None:
    """What every measure takes: a model, a text, and how to read it."""
    from_checkpoint.add_checkpoint_arguments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--text", nargs="+", metavar="FILE", help="score these text files, not a prepared split")
    what.add_argument("--split", choices=("train", "valid", "test"), help="of the data set at data.path")
    parser.add_argument("--data", metavar="DATASET", help="the prepared data set; default: data.path")
    parser.add_argument("--window", type=int, metavar="TOKENS", help="default: the model's context_length")
    parser.add_argument("--stride", type=int, metavar="TOKENS", help=f"default: {stride}")
    parser.add_argument("--batch-size", type=int, metavar=batch.upper(), help=f"{batch} at a time; changes speed only")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="score the first N tokens")


def run(args: argparse.Namespace) -> int:
    """Evaluate; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.config.generate import refuse_perplexitys_own
    from hornbook.evaluation.noised_scorer import check_measure

    config = _settings(args, args.checkpoint)
    if maybe_print(args, config):
        return 0
    if args.measure == "perplexity" and eval_perplexity.is_of_several(args):
        eval_perplexity.run_several(args, config, functools.partial(_settings, args))
        return 0
    if args.measure != "perplexity":
        refuse_perplexitys_own(config.eval)
    if args.measure in eval_tuned.FLAGS:
        opened, card = eval_tuned.measure(args, config)
        keep(opened, card, config)
        return 0
    if args.measure in ("samples", "harness"):
        opened, measured = (eval_samples if args.measure == "samples" else eval_harness).measure(args, config)
        keep(opened, measured, config)
        return 0
    opened = from_checkpoint.open_model(config.eval.checkpoint, table="eval", best=args.best, config=config)
    check_measure(args.measure, opened.objective)
    is_answer = args.measure == "bound" and config.eval.bound.answer is not None
    keep(opened, _answer_card(opened, config) if is_answer else _text_card(args.measure, opened, config), config)
    return 0


def _text_card(measure: str, opened: from_checkpoint.OpenedModel, config: Config) -> EvaluationCard:
    from hornbook.evaluation.diffusion_bound import evaluate_bound
    from hornbook.evaluation.perplexity import evaluate_perplexity
    from hornbook.evaluation.streams import open_stream, open_truth
    from hornbook.tracking.progress import Progress

    stream, data = open_stream(config, opened.tokenizer)
    evaluate = (
        functools.partial(evaluate_bound, objective=opened.objective) if measure == "bound" else evaluate_perplexity
    )
    with Progress(f"eval {measure}", unit="tokens", console=config.tracking.console) as progress:
        return evaluate(
            opened.model,
            opened.tokenizer,
            stream,
            config.eval,
            data=data,
            checkpoint=str(opened.path),
            step=opened.step,
            truth=open_truth(config),
            progress=progress.update,
        )


def _answer_card(opened: from_checkpoint.OpenedModel, config: Config) -> EvaluationCard:
    from hornbook.evaluation.answer_bound import evaluate_answer

    return evaluate_answer(
        opened.model,
        opened.tokenizer,
        config.eval,
        objective=opened.objective,
        checkpoint=str(opened.path),
        step=opened.step,
    )


def _not_of_the_run(args: argparse.Namespace, file: Path) -> list[str]:
    """Settings of a run's own file that say nothing of this evaluation, or exclude its flags."""
    from hornbook.config.generate import PERPLEXITYS_OWN
    from hornbook.config.load import written_layer
    from hornbook.config.perplexity import STRIDED

    keys = ["tracking.console"]  # how training spoke says nothing of now
    if args.measure != "perplexity":
        keys += [f"eval.{name}" for name in PERPLEXITYS_OWN]
    elif args.protocol is not None:
        keys += ["eval.stride"] if args.protocol not in STRIDED else []
        keys += ["eval.last_token_batch"] if args.protocol != "last-token" else []
    if (window := getattr(args, "window", None)) is not None:
        own = written_layer(file).get(("eval", "stride"))
        keys += ["eval.stride"] if own is not None and isinstance(own.value, int) and own.value > window else []
    if getattr(args, "bound.answer", None) is not None:
        keys += ["eval.window", "eval.stride", "eval.max_tokens", "eval.text"]
    if getattr(args, "split", None) or getattr(args, "data", None):
        keys.append("eval.text")  # which would go first
    return keys


def _settings(args: argparse.Namespace, checkpoint: str | None) -> Config:
    """The configuration for one checkpoint: without --config that of its own run.

    Raises:
        ConfigError: for flags that exclude each other, or whatever is wrong in the file.
    """
    from hornbook.errors import ConfigError

    if getattr(args, "text", None) and args.data is not None:
        raise ConfigError("--text and --data: a text is scored, or a data set; leave one of them out")
    args = argparse.Namespace(**{**vars(args), "checkpoint": checkpoint})
    leaving_out: list[str] = []
    if args.config is None and checkpoint is not None:
        home = from_checkpoint.find_run(Path(checkpoint))
        if home is not None and home.config_file.is_file():
            args.config = str(home.config_file)
            leaving_out = _not_of_the_run(args, home.config_file)
    data = {} if getattr(args, "data", None) is None else {"data.path": args.data}
    flags = FLAGS + (BOUND_FLAGS if args.measure == "bound" else eval_perplexity.FLAGS)
    own = {**eval_tuned.FLAGS, "samples": eval_samples.FLAGS, "harness": eval_harness.FLAGS}
    return from_checkpoint.load_settings(args, "eval", own.get(args.measure, flags), data, leaving_out=leaving_out)

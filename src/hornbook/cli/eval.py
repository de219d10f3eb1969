"""`hornbook eval`: how surprised a model is by a text, with a card that says how that was measured.

    perplexity    of a model that names the next token; exact
    bound         of a diffusion model; at most
    answers       of a tuned model: held-out answers, likelihood and exact match
    preference    of a tuned model: held-out pairs of answers, against a reference

Without --config the configuration of the checkpoint's own run counts, its tracking.console aside, so that `hornbook
eval perplexity RUN` scores the validation split that the run was validated on, whole.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import eval_tuned, from_checkpoint

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.evaluation.card import Card, EvaluationCard
    from hornbook.storage.run_dir import RunDir

FLAGS = ("checkpoint", "text", "split", "window", "stride", "batch_size", "max_tokens")
"""Settings of [eval] that have a flag of their own."""
BOUND_FLAGS = ("bound.estimator", "bound.draws", "bound.seed", "bound.prompt", "bound.answer")
"""Those of `eval bound` alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook eval` takes."""
    measures = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    perplexity = measures.add_parser(
        "perplexity",
        help="strided sliding-window perplexity and bits per byte",
        description="Strided sliding-window perplexity and bits per byte: every token is scored once.",
    )
    _add_text_arguments(perplexity, stride="half the window; 1 is exact, slow", batch="windows")
    kinds = ("float32", "bfloat16", "int8")
    perplexity.add_argument("--precision", choices=kinds, help="of the weights, as decoding rounds them")
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


def _add_text_arguments(parser: argparse.ArgumentParser, *, stride: str, batch: str) -> None:
    """What every measure takes: a model, a text, and how to read it."""
    from_checkpoint.add_checkpoint_arguments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--text", nargs="+", metavar="FILE", help="score these text files, not a prepared split")
    what.add_argument("--split", choices=("train", "valid", "test"), help="of the data set at data.path")
    parser.add_argument("--window", type=int, metavar="TOKENS", help="default: the model's context_length")
    parser.add_argument("--stride", type=int, metavar="TOKENS", help=f"default: {stride}")
    parser.add_argument("--batch-size", type=int, metavar=batch.upper(), help=f"{batch} at a time; changes speed only")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="score the first N tokens")


def run(args: argparse.Namespace) -> int:
    """Evaluate; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.errors import ConfigError
    from hornbook.evaluation.noised_scorer import check_measure

    config = _settings(args)
    if maybe_print(args, config):
        return 0
    if args.measure != "perplexity" and config.eval.precision != "float32":
        raise ConfigError(
            f"eval.precision = {config.eval.precision} has an effect only in `hornbook eval perplexity`; leave it out"
        )
    if args.measure in eval_tuned.FLAGS:
        opened, card = eval_tuned.measure(args, config)
        _keep(opened, card, config)
        return 0
    opened = from_checkpoint.open_model(config.eval.checkpoint, table="eval", best=args.best, config=config)
    check_measure(args.measure, opened.objective)
    is_answer = args.measure == "bound" and config.eval.bound.answer is not None
    _keep(opened, _answer_card(opened, config) if is_answer else _text_card(args.measure, opened, config), config)
    return 0


def _keep(opened: from_checkpoint.OpenedModel, card: Card, config: Config) -> None:
    """Write the card into its run, show it, and tell the run's trackers."""
    written = None if opened.run is None else write_card(opened.run, card)
    _tell(card, config, written)
    _log(opened, config, card)


def _text_card(measure: str, opened: from_checkpoint.OpenedModel, config: Config) -> EvaluationCard:
    from hornbook.evaluation.diffusion_bound import evaluate_bound
    from hornbook.evaluation.perplexity import evaluate_perplexity
    from hornbook.evaluation.streams import open_stream
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


def _settings(args: argparse.Namespace) -> Config:
    if args.config is None and args.checkpoint is not None:
        home = from_checkpoint.find_run(Path(args.checkpoint))
        if home is not None and home.config_file.is_file():
            args.config = str(home.config_file)
            args.overrides = ['tracking.console="auto"', *args.overrides]  # how training spoke says nothing of now
    if args.measure in eval_tuned.FLAGS:
        data = {} if args.data is None else {"data.path": args.data}
        return from_checkpoint.load_settings(args, "eval", eval_tuned.FLAGS[args.measure], data)
    flags = FLAGS + (BOUND_FLAGS if args.measure == "bound" else ("precision",))
    return from_checkpoint.load_settings(args, "eval", flags)


def _tell(card: Card, config: Config, written: Path | None) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    emit("eval", console=config.tracking.console, measure=card.measure, file=written, **card.values())
    if speaks_to_people(config.tracking.console):
        from rich.console import Console

        Console().print(card.table())
        if written is not None:
            print(f"written to {written}")


def _log(opened: from_checkpoint.OpenedModel, config: Config, card: Card) -> None:
    from hornbook.cli.run_events import RunEvents

    events = RunEvents(opened.run, config.tracking, step=opened.step)
    events.log("eval", {"measure": card.measure, **card.values()})
    events.close()


def write_card(run: RunDir, card: Card) -> Path | None:
    """Write the card as RUN/evals/MEASURE-step-N-[WINDOW-STRIDE-]DATA.json; None, with a note, if that fails.

    The same measurement of the same checkpoint replaces its file; another one has another name.
    """
    from hornbook.storage.atomic import replace_file
    from hornbook.storage.digest import bytes_sha256
    from hornbook.storage.disk import StorageError

    data = bytes_sha256(card.identity.encode())[:8]
    parts = (card.measure, "step", f"{card.step or 0:08d}", *map(str, card.place), data)
    path = run.evals / f"{'-'.join(parts)}.json"
    try:
        run.evals.mkdir(exist_ok=True)
        replace_file(path, card.to_json())
    except (OSError, StorageError) as error:
        from_checkpoint.note(f"note: the card is not kept: {error}")
        return None
    return path
